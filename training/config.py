"""One experiment: a frozen dataclass read from a small YAML file; unknown names in the file are an error."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from CTForgeryScanLib.errors import InputError
from training.crops import Mix

_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    tuple[str, ...]: "a list of texts, [A, B]",
    Mix: "a table of settings",
}


@dataclass(frozen=True)
class FalseAlarms:
    """False alarms that an operating point allows among 100 untouched scans and among 100 untouched slices."""

    in_100_scans: float
    in_100_slices: float


@dataclass(frozen=True)
class Config:
    """How a model is made."""

    name: str
    folds: str
    """The file of patient folds, beside the configuration."""
    never_train: tuple[str, ...] = ()
    """Patients that no fold trains on."""
    width: int = 32
    half_turn: bool = False
    """Whether the trained detector also sees every window turned by half (``LocalDetector``)."""
    made_sites: int = 0
    """Sites that are forged in each untouched series to train on (``made_slices``)."""
    generators: bool = False
    """Whether CT-GANs of ours (``--generators``) paint every other of them."""
    start_from: str | None = None
    """The model whose training this one goes on from (``--start``), fold by fold."""
    steps: int = 1500
    learning_rate: float = 4e-3
    weight_decay: float = 1e-2
    hard_after: float = 1 / 3
    """Part of the training after which only the worst ``hard_part`` of the negative windows count."""
    hard_part: float = 1 / 8
    average_after: float = 1.0
    """Part of the training after which the learning rate stays where it is and the weights of all steps are averaged
    (Izmailov et al., UAI 2018): what is trained depends less on its last draws. 1 averages none.
    """
    auxiliary: float = 0.3
    """Weight of the self-blending task beside the genuine one."""
    seed: int = 1
    false_alarms: dict[str, FalseAlarms] = field(
        default_factory=lambda: {"standard": FalseAlarms(1, 0.5), "sensitive": FalseAlarms(5, 2.0)}
    )
    """What each operating point of the model may cost; the first is the default."""
    mix: Mix = field(default_factory=Mix)


def read_settings(path: Path) -> dict[str, Any]:
    """The settings in a YAML file; raises InputError when it cannot be read."""
    try:
        settings: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"The configuration '{path}' cannot be read ({error.strerror}): give an existing file."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"The configuration '{path}' is no YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(settings, dict):
        raise InputError(f"The configuration '{path}' holds no settings: give a file like ctgan-v2.yaml.")
    return settings


def as_json(config: Any) -> dict[str, Any]:
    """A configuration, a dataclass, as JSON gives it back: to compare with one that was written."""
    read: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return read


def completed(written: Mapping[str, Any]) -> dict[str, Any]:
    """A ``Config`` that ``as_json`` gave when it had fewer settings: by default the later ones change nothing."""
    now = as_json(Config("", ""))
    return {**now, **written, "mix": {**now["mix"], **written.get("mix", {})}}


def check_names(path: Path, given: Collection[str], known: Collection[str], needed: Collection[str]) -> None:
    """Raises InputError that names settings of the file which the program does not know, or those that are missing."""
    for names, words in ((set(given) - set(known), "unknown"), (set(needed) - set(given), "missing")):
        if names:
            raise InputError(
                f"The configuration '{path}' has {words} settings ({', '.join(sorted(names))}): correct them."
            )


def check_types(path: Path, given: Mapping[str, Any], kind: type) -> None:
    """Raises InputError for a setting of the dataclass ``kind`` that is text where it wants a number, and the like."""
    hints = get_type_hints(kind)
    for name, value in given.items():
        wanted = hints.get(name)
        if wanted not in _WORDS:
            continue
        if not _is_a(value, wanted):
            raise InputError(
                f"In the configuration '{path}' {name} is {value!r}, not {_WORDS[wanted]}: correct it "
                "(1e-3 is text in YAML, 1.0e-3 a number)."
            )


def _is_a(value: Any, wanted: Any) -> bool:
    if wanted is Mix:
        return isinstance(value, dict)
    if wanted == tuple[str, ...]:
        # Text alone would be taken apart into its letters.
        return isinstance(value, list) and all(isinstance(text, str) for text in value)
    # A number without a fraction is a float too; True is an int in Python, but nobody means it as one.
    right = isinstance(value, (int, float) if wanted is float else wanted)
    return right and isinstance(value, bool) == (wanted is bool)


def read_config(path: Path) -> Config:
    """Read a configuration; raises InputError for a missing file, an unknown setting or one of another type."""
    given = read_settings(path)
    check_types(path, given, Config)
    of_mix = [f"mix.{name}" for name in given.get("mix", {})]
    known = [*(f.name for f in fields(Config)), *(f"mix.{f.name}" for f in fields(Mix))]
    check_names(path, [*given, *of_mix], known, ("name", "folds"))
    check_types(path, given.get("mix", {}), Mix)
    mix = Mix(**given.pop("mix", {}))
    never = tuple(given.pop("never_train", ()))
    if "false_alarms" in given:
        given["false_alarms"] = _false_alarms(path, given["false_alarms"])
    return Config(**given, mix=mix, never_train=never)


def _false_alarms(path: Path, given: Any) -> dict[str, FalseAlarms]:
    names = [f.name for f in fields(FalseAlarms)]
    if not isinstance(given, dict) or not given or any(not isinstance(v, dict) for v in given.values()):
        raise InputError(
            f"In the configuration '{path}' false_alarms is {given!r}: "
            f"give each operating point's {' and '.join(names)}."
        )
    for point in given.values():
        check_names(path, point, names, names)
        check_types(path, point, FalseAlarms)
    return {name: FalseAlarms(**point) for name, point in given.items()}
