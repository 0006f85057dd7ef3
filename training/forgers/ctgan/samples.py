"""Pictures of what a generator makes while it learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from training.forgers.ctgan.cubes import Scale, Singles, condition_of

_LUNG_WINDOW = (-1350.0, 150.0)
_ZOOM = 4


def draw_samples(path: Path, real: Singles, made: Singles, scale: Scale) -> None:
    """Middle slices of cubes as networks see them: real, what the generator was given of these, what it made."""
    rows = [
        np.concatenate([scale.to_hu(cube[cube.shape[0] // 2]) for cube in cubes], axis=1)
        for cubes in (real, condition_of(real), made)
    ]
    low, high = _LUNG_WINDOW
    grey = (np.clip((np.concatenate(rows) - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    size = (grey.shape[1] * _ZOOM, grey.shape[0] * _ZOOM)
    Image.fromarray(grey).resize(size, Image.Resampling.NEAREST).save(path)
