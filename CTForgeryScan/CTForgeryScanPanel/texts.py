"""The words of the panel: so they can be translated, and every place says the same."""

from dataclasses import dataclass

from slicer.i18n import tr as _

from CTForgeryScanLib import scene
from CTForgeryScanPanel.scanjob import ScanState

DISCLAIMER = _(
    "Research software for integrity triage: not a diagnosis, and no proof that a scan is untouched."
)

REASONS = {
    "lossy": _("lossy compression"),
    "processed": _("processed after reconstruction"),
    "not_ct": _("not a CT"),
    "not_axial": _("slices are not axial"),
    "constant": _("all voxels are equal"),
    "eight_bit": _("8-bit values"),
    "no_air": _("no air or lung"),
    "no_lung": _("no lung"),
    "histogram_gaps": _("rescaled values"),
    "no_noise": _("no noise"),
    "smoothed": _("smoothed"),
    "resampled": _("resampled"),
    "blurred_border": _("blurred border"),
    "too_little_lung": _("too little lung"),
}
"""Why a CT cannot be assessed, in two words; the result has the sentence."""

SOURCES = {
    "cascade": _("heatmap"),
    "copied_noise": _("copied noise"),
    "copy_move": _("copied lung"),
    "added_noise": _("added noise"),
}
"""What found a region, in two words."""

SCORE_TIP = _(
    "How rare such a place is: the share of untouched scans in which no place is as suspicious. At 0.99 one untouched"
    " scan in 100 shows as much. It is not the probability that the place is forged."
)


@dataclass(frozen=True)
class StateLook:
    """How the panel looks in a state: its words, the button's, and which widgets can be used."""

    words: str
    button: str
    buttonEnabled: bool
    inputsEnabled: bool
    progressVisible: bool


STATES = {
    ScanState.IDLE: StateLook(_("Ready."), _("Scan"), True, True, False),
    ScanState.STARTING: StateLook(
        _("Handing the CT over and loading the model…"), _("Cancel"), True, False, True
    ),
    ScanState.SCANNING: StateLook(_("Scanning…"), _("Cancel"), True, False, True),
    ScanState.IMPORTING: StateLook(_("Importing the result…"), _("Cancel"), False, False, True),
    ScanState.CANCELLING: StateLook(_("Cancelling…"), _("Cancelling…"), False, False, True),
    # Why a scan failed is said of its own CT; of the others there is nothing to say.
    ScanState.FAILED: StateLook(_("Ready."), _("Scan"), True, True, False),
}


def progressText(job):
    """What the progress bar says: "12 of 26 slices, 0:05 left", then "evidence: 40 %, 0:03 left"."""
    if job.secondsLeft is None:
        return _("starting")
    minutes, seconds = divmod(round(job.secondsLeft), 60)
    if job.evidenceShare is not None:
        return _("evidence: {percent:.0f} %, {minutes}:{seconds:02d} left").format(
            percent=100 * job.evidenceShare, minutes=minutes, seconds=seconds
        )
    return _("{done} of {of} slices, {minutes}:{seconds:02d} left").format(
        done=job.done, of=job.of, minutes=minutes, seconds=seconds
    )


def verdictText(result):
    """The verdict in a few words: "Suspicious: 2 regions", "Not assessable: lossy compression"."""
    if result["verdict"] == "no_tampering_found":
        first, stop = result["parameters"]["slices"]
        count = result["input"]["shape"][0]
        if stop - first == count:
            return _("No tampering found")
        return _("No tampering found in slices {first}–{last} of {count}").format(
            first=first, last=stop - 1, count=count
        )
    if result["verdict"] == "not_assessable":
        why = [REASONS.get(r["code"], r["code"]) for r in result["reasons"] if r["severity"] == "refuse"]
        return _("Not assessable: {why}").format(why=", ".join(why))
    count = len(result["regions"])
    if count == 0:
        return _("Suspicious")
    return _("Suspicious: 1 region") if count == 1 else _("Suspicious: {count} regions").format(count=count)


def notes(volume, result):
    """Sentences that speak against trusting the scan, or that say how it went."""
    changed = (
        () if scene.is_as_scanned(volume) else (_("The CT was changed since this scan: scan it again."),)
    )
    return [
        *changed,
        *_sameSite(result),
        *_flaggedAlone(result),
        *(reason["text"] for reason in result["reasons"]),
        *_notMade(result),
        *result["input"]["notes"],
        *result["provenance"]["notes"],
    ]


def _sameSite(result):
    """That regions which overlap may be one place, which several tests found."""
    regions = result["regions"]
    if any(_overlap(a, b) for n, a in enumerate(regions) for b in regions[:n]):
        yield _("Regions overlap: one place, found by several tests, may be the same forgery.")


def _overlap(a, b):
    ranges = zip(a["extent_ijk"], b["extent_ijk"], strict=True)
    return all(first <= other_last and other <= last for (first, last), (other, other_last) in ranges)


def _flaggedAlone(result):
    """What slices mean that are flagged though no region holds them."""
    regions = [region["slices"] for region in result["regions"]]
    alone = sum(s["flagged"] and not any(a <= s["k"] <= b for a, b in regions) for s in result["slices"])
    if alone and (result["verdict"] == "no_tampering_found" or regions):
        yield _(
            "Slices flagged alone: {count}. Their neighbours do not agree on a place, so they make no region."
            " That happens in untouched scans too; look at them."
        ).format(count=alone)


def _notMade(result):
    """Why tests that look for traces in the voxels could not be made, each reason once."""
    yield from dict.fromkeys(
        evidence["reason"]
        for evidence in result["evidence"]
        if not evidence["applicable"] and evidence["test"] in SOURCES
    )


def centreText(volume, region):
    """Where the centre of a region lies in the world, as the crosshair says it: R, A, S in mm."""
    return ", ".join(f"{x:.1f}" for x in scene.to_world(volume, scene.centre_ras(volume, region)))


def scoreText(region):
    """Three digits, which sort as they read; nothing is certain."""
    return f"{region['score']:.3f}" if region["score"] < 0.9995 else "> 0.999"


def sourceText(region):
    return SOURCES.get(region["source"], region["source"])


def sizeText(region):
    return " × ".join(f"{mm:.0f}" for mm in region["extent_mm"])


def slicesText(region):
    return "{}–{}".format(*region["slices"])


def regionText(volume, region):
    """A region in one line."""
    text = _(
        "Region {id} ({source}): score {score}, slices {slices}, centre (R, A, S in mm) {centre}, size {size} mm"
    )
    return text.format(
        id=region["id"],
        source=sourceText(region),
        score=scoreText(region),
        slices=slicesText(region),
        centre=centreText(volume, region),
        size=sizeText(region),
    )


def summary(volume, result):
    """The result as text, to be pasted into a report or a mail."""
    made = result["provenance"]
    lines = [f"{volume.GetName()}: {verdictText(result)}", *notes(volume, result)]
    lines += [evidence["text"] for evidence in found(result)]
    flagged = sum(s["flagged"] for s in result["slices"])
    if result["slices"]:
        lines.append(
            _("{flagged} of {all} slices flagged").format(flagged=flagged, all=len(result["slices"]))
        )
    lines += [regionText(volume, region) for region in result["regions"]]
    lines += [
        _("CTForgeryScan {version}, model {model} ({hash}), {device}").format(
            version=made["version"],
            model=made["model"],
            hash=made["model_sha256"]["detector.safetensors"][:12],
            device=made["device"],
        ),
        _("SHA-256 of the CT: {hash}").format(hash=made["input_sha256"]),
        DISCLAIMER,
    ]
    return "\n".join(lines) + "\n"


def found(result):
    """The evidence tests that found something."""
    return [evidence for evidence in result["evidence"] if evidence["found"]]
