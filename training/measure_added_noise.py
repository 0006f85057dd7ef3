"""Do genuine CT-GAN slices carry noise that was added, and does ``added_noise`` see it in a slice alone?

``python -m training.measure_added_noise --data DIR`` prints, for every genuine slice, the standard deviation of the
finest detail of even lung within 12 pixels of the site and beyond 60, and the excess at the site; then how many
genuine slices of each kind and how many untouched ones reach the test's threshold. The test itself asks for the median
over five slices, which single slices have not: what is counted here is a slice's own, and stricter for no one.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from CTForgeryScanLib.evidence.added_noise import NOT_JUDGED, TEST, find_excess, finest_detail
from CTForgeryScanLib.evidence.noise import LungNoise, lung_noise
from CTForgeryScanLib.evidence.thresholds import load_threshold
from CTForgeryScanLib.volume import Volume
from training.data import Slice, SliceSite, read_slices
from training.evaluate import SITE_PX

_AT_SITE_PX, _FAR_PX = 12, 60
_ENOUGH = 60  # pixels of even lung
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


if __name__ == "__main__":
    main()
