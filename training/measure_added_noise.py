"""Do genuine CT-GAN slices carry noise that was added, and does ``added_noise`` see it in a slice alone?

``python -m training.measure_added_noise --data DIR`` prints, for every genuine slice, the standard deviation of the
finest detail of even lung within 12 pixels of the site and beyond 60, and the excess at the site; then how many
genuine slices of each kind and how many untouched ones reach the test's threshold. The test itself asks for the median
over five slices, which single slices have not: what is counted here is a slice's own.

CT-GAN's program copies its noise from one block of the scan, so that two removals of one scan would have the same. Last
it is printed how much those of the genuine slices correlate, and those of ours by the published pasting.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CTForgeryScanLib.evidence.added_noise import NOT_JUDGED, TEST, find_excess, finest_detail
from CTForgeryScanLib.evidence.noise import LungNoise, about, lung_noise
from CTForgeryScanLib.evidence.thresholds import load_threshold
from CTForgeryScanLib.volume import Volume, load_volume
from training.command import run_command
from training.data import forged_slices, read_slices
from training.evaluate import SITE_PX
from training.forgers.published_pasting import PublishedPasting, procedural_content
from training.lung_sites import forged_at_random, random_lung_place
from training.slices import Slice, SliceSite

_AT_SITE_PX, _FAR_PX = 12, 60
_ENOUGH = 60  # pixels of even lung
_SITE_SIDE, _SHIFT = 49, 3  # pixels
_OURS = "LIDC-IDRI-0002"
_SPREAD = 1.4826  # standard deviation of a normal distribution over its median absolute deviation


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Look for added noise in genuine CT-GAN slices.")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with ctgan/, pristine_slices/ and ct/"
    )
    args = parser.parse_args(argv)
    threshold = load_threshold(TEST).threshold
    reached: Counter[str] = Counter()
    judged: Counter[str] = Counter()
    print("| slice | kind | at the site, HU | far from it, HU | excess at the site |\n|---|---|---|---|---|")
    for s in read_slices(args.data):
        volume = Volume(s.hu[None], np.diag([s.spacing_mm, s.spacing_mm, 1.0, 1.0]), s.name)
        noise = lung_noise(volume, lambda share: None)
        if noise is None:
            continue
        excess = excess_in(volume, noise, s.forged[0] if s.forged else None)
        judged[s.kind] += excess > NOT_JUDGED
        reached[s.kind] += excess >= threshold
        if s.forged:
            at_site, far = detail_hu(s, noise)
            print(f"| {s.name} | {s.kind} | {at_site:.1f} | {far:.1f} | {excess:.2f} |", flush=True)
    for kind, count in judged.items():
        print(f"{kind}: {reached[kind]} of {count} slices reach {threshold}")
    print("finest detail of two removals of a scan, highest correlation within 3 pixels:")
    for words, slices in (
        ("genuine", forged_slices(args.data / "ctgan")),
        ("ours", _some_of_ours(args.data)),
    ):
        likeness = shared_detail([s for s in slices if s.kind == "remove"])
        print(
            f"{words}: {len(likeness)} pairs, median {np.median(likeness):.2f}, highest {max(likeness):.2f}"
        )


def excess_in(volume: Volume, noise: LungNoise, site: SliceSite | None) -> float:
    """The highest excess in a volume of one slice, about the site where one is given."""
    found = find_excess(volume, noise, lambda share: None)
    values = found.values[0]
    if site is not None:
        rows, columns = np.indices(values.shape)
        j, i = found.pixel(rows, columns)
        values = np.where(np.hypot(j - site.y, i - site.x) <= SITE_PX, values, NOT_JUDGED)
    return float(values.max())


def detail_hu(s: Slice, noise: LungNoise) -> tuple[float, float]:
    """Standard deviation of the finest detail of even lung at the site and far from it; NaN with too little lung."""
    _, j, i = noise.first_kji
    flat = np.zeros(s.hu.shape, bool)
    flat[j : j + noise.white.shape[1], i : i + noise.white.shape[2]] = noise.white[0] != 0
    detail = np.abs(finest_detail(s.hu))
    rows, columns = np.indices(s.hu.shape)
    away = np.min([np.hypot(rows - site.y, columns - site.x) for site in s.forged], axis=0)
    parts = (detail[flat & near] for near in (away <= _AT_SITE_PX, away >= _FAR_PX))
    at_site, far = (_SPREAD * float(np.median(p)) if len(p) >= _ENOUGH else np.nan for p in parts)
    return at_site, far


def shared_detail(slices: Sequence[Slice]) -> list[float]:
    """For each two slices of a scan, the highest correlation of their sites' finest detail in lung."""
    of_scan: dict[str, list[NDArray[np.float32]]] = defaultdict(list)
    for s in slices:
        site = s.forged[0]
        hu = about(s.hu, round(site.y), round(site.x), _SITE_SIDE, 0)
        lung = ndimage.uniform_filter(np.clip(hu, -1024, -400).astype(np.float32), 3) < -740
        of_scan[s.patient].append(np.clip(finest_detail(hu), -60, 60) * lung)
    likeness = []
    for details in of_scan.values():
        for one, other in combinations(details, 2):
            padded = [np.pad(d, _SITE_SIDE // 2) for d in (one, other)]
            product = np.fft.irfft2(np.fft.rfft2(padded[0]).conj() * np.fft.rfft2(padded[1]), padded[0].shape)
            near = np.roll(product, (_SHIFT, _SHIFT), (0, 1))[: 2 * _SHIFT + 1, : 2 * _SHIFT + 1]
            likeness.append(float(near.max() / np.sqrt((one**2).sum() * (other**2).sum() + 1e-9)))
    return likeness


def _some_of_ours(data: Path) -> list[Slice]:
    """Slices of one series in which CT-GAN's published pasting removed something at different places."""
    volume = load_volume(data / "ct" / _OURS)
    made = []
    for n in range(4):
        rng = np.random.default_rng(n)
        place = partial(random_lung_place, volume, rng, inside=True)
        forged, site = forged_at_random(volume, PublishedPasting(procedural_content), "remove", rng, place)
        x, y, k = site.voxel
        forged_site = SliceSite(x, y, forged.metadata["block_voxels"], 0.0, "remove")
        made.append(
            Slice(f"ours/{n}", _OURS, _OURS, k, forged.hu[k], volume.spacing_mm[0], forged=(forged_site,))
        )
    return made


if __name__ == "__main__":
    run_command(main)
