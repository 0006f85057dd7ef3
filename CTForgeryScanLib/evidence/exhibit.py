"""What a picture shows of a copy: site and source side by side, and the noise of both."""

from __future__ import annotations

import numpy as np

from CTForgeryScanLib.evidence.finding import Exhibit
from CTForgeryScanLib.evidence.noise import LungNoise, about
from CTForgeryScanLib.evidence.published_block import Kji
from CTForgeryScanLib.volume import Volume


def exhibit(volume: Volume, noise: LungNoise, site: Kji, source: Kji, side: int) -> Exhibit:
    """Site and source, centres [k, j, i] of boxes of ``side`` voxels, in the slice in which most of both is even lung.

    A mirrored or turned source is shown as it is in the scan.
    """
    by = site[0] - source[0]
    first = max(0, by, site[0] - side // 2)
    stop = min(len(volume.hu), len(volume.hu) + by, site[0] - side // 2 + side)
    here, there = noise.about(*site[1:], side), noise.about(*source[1:], side)
    even = (here[first:stop] != 0) & (there[first - by : stop - by] != 0)
    k = first + int(np.argmax(np.count_nonzero(even, axis=(1, 2))))
    return Exhibit(
        (site[2], site[1], k),
        (source[2], source[1], k - by),
        about(volume.hu[k], *site[1:], side, -1000),
        about(volume.hu[k - by], *source[1:], side, -1000),
        here[k],
        there[k - by],
    )
