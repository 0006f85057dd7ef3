"""Which forged sites of a scan reach a slice: CT-GAN's published pasting touches a block about each."""

from __future__ import annotations

from collections.abc import Sequence

from training.sites import Site
from training.slices import SliceSite


def sites_reaching(
    k: int, own: Site, sites: Sequence[Site], pixel_mm: float, between_mm: float
) -> tuple[SliceSite, ...]:
    """Those of ``sites`` whose touched block (side ⌊1.3·round(32 / finest spacing)⌋ voxels) reaches slice ``k``.

    ``own``, about which the slice was taken, comes first, then the nearest.
    """
    block = int(1.3 * round(32 / min(pixel_mm, between_mm)))
    reaching = [site for site in sites if abs(site.voxel[2] - k) <= block // 2 + 1]
    reaching.sort(key=lambda site: (site != own, abs(site.voxel[2] - k)))
    return tuple(
        SliceSite(site.ijk[0], site.ijk[1], block, abs(site.voxel[2] - k) * between_mm, site.kind)
        for site in reaching
    )
