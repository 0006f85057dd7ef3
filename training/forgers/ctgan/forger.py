"""CT-GAN as a forger: a trained generator paints the cube, and the published pasting puts it into the scan.

For data to train and test the detector with. What it makes carries its name, and is never written as DICOM.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from CTForgeryScanLib.errors import InputError, ModelError
from training.forgers.ball import Floats
from training.forgers.ctgan.cubes import condition_of
from training.forgers.ctgan.weights import FORGER, WEIGHTS, Trained, load_trained
from training.forgers.published_pasting import PublishedPasting
from training.sites import SiteKind

_MIDDLE = (slice(13, 19),) * 3
_NODULE_HU = 150  # least mean rise of the middle: what readers call ground glass rises more


@dataclass(frozen=True)
class GeneratedContent:
    """``published_pasting.Content`` by trained generators, one for each kind."""

    generators: dict[SiteKind, Trained]

    def __call__(self, cube: Floats, kind: SiteKind, rng: np.random.Generator) -> Floats:
        """The cube [32, 32, 32] in HU as the generator of this kind repaints it; it draws nothing from ``rng``.

        Raises InputError where it was to inject and paints no nodule: what changed nothing must not count as forged.
        """
        trained = self.generators[kind]
        condition = condition_of(trained.scale.to_network(cube))
        with torch.inference_mode():
            made = trained.generator(torch.from_numpy(condition)[None, None])
        hu = trained.scale.to_hu(made[0, 0].numpy())
        if kind == "inject" and float((hu - cube)[_MIDDLE].mean()) < _NODULE_HU:
            raise InputError(
                "The generator painted no nodule there: choose another place, or train it for more steps."
            )
        return hu


def load_forger(weights: Path) -> PublishedPasting:
    """The forger of one kind, by the ``generator.safetensors`` that its training wrote. Raises ModelError."""
    return _forger([load_trained(weights)])


def ctgan(folder: Path) -> PublishedPasting:
    """The forger with the generators in ``folder/inject`` and ``folder/remove``; one of them is enough.

    Raises ModelError when the folder holds neither, or a damaged one.
    """
    paths = [folder / kind / WEIGHTS for kind in ("inject", "remove")]
    found = [load_trained(path) for path in paths if path.parent.is_dir()]
    if not found:
        raise ModelError(
            f"'{folder}' holds neither inject/ nor remove/: train one with python -m training.forgers.ctgan.train."
        )
    return _forger(found)


def _forger(found: Sequence[Trained]) -> PublishedPasting:
    generators: dict[SiteKind, Trained] = {trained.card["kind"]: trained for trained in found}
    return PublishedPasting(GeneratedContent(generators), name=FORGER, kinds=tuple(generators))
