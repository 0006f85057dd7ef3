"""One experiment of ``train_windows``: the paper's recipe (Section 4.1) as a dataclass, read from a YAML file."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from CTForgeryScanLib.errors import InputError
from training.config import check_names, check_types, read_settings

NETWORKS = ("paper", "xception", "resnet50")
PRECISIONS = ("float32", "float16", "bfloat16")


@dataclass(frozen=True)
class WindowsConfig:
    """How a detector is trained on windows, or on whole slices; the defaults are the paper's."""

    name: str
    folds: str
    """The file of patient folds, beside the configuration."""
    never_train: tuple[str, ...] = ()
    """Patients that no fold trains on."""
    network: str = "paper"
    whole: bool = False
    """Whole slices instead of windows: −SW of the paper's network, "-W" of the others."""
    width: int = 32
    """Filters of the paper network's first convolution; the following settings are also its alone."""
    attention: bool = True
    selu: bool = True
    dct: bool = False
    dropout: float = 0.5
    site_negatives: int = 10
    """n: how many of an untouched slice's 25 windows lie about one place, as the forged ones do."""
    passes: int = 1
    """How often an epoch shows every forged slice. The paper has 13,700; few slices make epochs of few steps."""
    epochs: int = 30
    patience: int = 3
    """Epochs without a better validation accuracy after which the training ends."""
    batch: int = 56
    learning_rate: float = 5e-4
    decay: float = 0.85
    decay_steps: int = 600
    weight_decay: float = 1e-4
    batch_norm_decay: float = 0.95
    """The part of the running statistics that a step keeps; torch's momentum is 1 minus it."""
    norm_batches: int = 0
    """Batches over which batch norm's statistics are taken anew before each validation; with 0, as in the paper, those
    of training run on. They lag behind the weights, which in epochs of a few dozen steps makes a good network guess."""
    precision: str = "float32"
    """float16 (with a scaled loss; on CUDA only) and bfloat16 (not on CPUs that imitate it) are mixed precision."""
    seed: int = 1

    def learning_rate_at(self, step: int) -> float:
        """Times ``decay`` after every ``decay_steps`` steps."""
        return self.learning_rate * self.decay ** (step // self.decay_steps)


def read_windows_config(path: Path) -> WindowsConfig:
    """Read a configuration; raises InputError for a missing file or settings that the program does not know."""
    given = read_settings(path)
    check_names(path, given, [f.name for f in fields(WindowsConfig)], ("name", "folds"))
    check_types(path, given, WindowsConfig)
    config = WindowsConfig(**given | {"never_train": tuple(given.get("never_train", ()))})
    for name, value, known in (
        ("network", config.network, NETWORKS),
        ("precision", config.precision, PRECISIONS),
    ):
        if value not in known:
            raise InputError(
                f"The configuration '{path}' has the unknown {name} '{value}': use {', '.join(known)}."
            )
    return config
