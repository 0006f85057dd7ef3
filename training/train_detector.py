"""Train the local detector: one fold, several, or the final weights on all patients.

``python -m training.train_detector --config CONFIG.yaml --data DIR --runs RUNS --fold 0 1 2 3 4 all``

Each fold's folder gets ``detector.safetensors``, ``metrics.csv`` and, while it runs, ``checkpoint.safetensors``: a
killed training goes on from there when the same command is given again.
"""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from CTForgeryScanLib.detector import LocalDetector
from CTForgeryScanLib.errors import InputError
from training.config import Config
from training.crops import GENUINE, TASKS, CropSampler
from training.data import Slice
from training.experiment import arguments, read_experiment
from training.made_slices import made_slices

_CHECKPOINT_EVERY = 250


def training_loss(
    logits: Tensor, target: Tensor, hard_part: float, auxiliary: float
) -> tuple[Tensor, list[float]]:
    """Weighted mean over the tasks of the cross-entropies of positive windows and of the worst negative windows.

    ``logits`` and ``target`` are [N, tasks, R, C]; targets of −1 do not count; ``hard_part`` = 1 takes all negatives.
    Also returned, for the log: [positive, negative] of each task.
    """
    parts: list[Tensor] = []
    for task in range(target.shape[1]):
        of_task, wanted = logits[:, task], target[:, task]
        positive = functional.softplus(-of_task[wanted == 1])
        negative = functional.softplus(of_task[wanted == 0])
        worst = negative.topk(max(1, int(hard_part * negative.numel()))).values
        parts += [positive.mean() if positive.numel() else logits.sum() * 0, worst.mean()]
    # The second task only shapes the trunk; at full weight it, which is the harder, would rule it.
    weights = torch.tensor([1.0, 1.0] + [auxiliary, auxiliary] * (target.shape[1] - 1))
    return (torch.stack(parts) * weights).sum() / weights.sum(), [p.item() for p in parts]


def train(slices: Sequence[Slice], config: Config, folder: Path) -> LocalDetector:
    """Train on all ``slices``; resumes from ``folder``'s checkpoint; returns the detector with one head."""
    torch.manual_seed(config.seed)
    network = LocalDetector(config.width, TASKS, config.half_turn)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    state = _State(folder / "checkpoint.safetensors", config, network, optimizer)
    first = state.load()
    _forget_after(folder / "metrics.csv", first)
    sampler = CropSampler(slices, config.mix, config.seed)
    started, sums = time.monotonic(), [0.0] * (2 * TASKS)
    network.train()
    for step in range(first, config.steps):
        hu, target = (torch.from_numpy(a) for a in sampler.batch(step))
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(hu)
        hard_part = config.hard_part if step >= config.hard_after * config.steps else 1.0
        loss, parts = training_loss(logits.float(), target, hard_part, config.auxiliary)
        if not torch.isfinite(loss):
            raise InputError(
                f"The loss is not finite at step {step}: lower learning_rate in the configuration."
            )
        optimizer.param_groups[0]["lr"] = learning_rate(step, config)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        sums = [a + b for a, b in zip(sums, parts, strict=True)]
        if (step + 1) % 50 == 0:
            _log(folder, step + 1, [s / 50 for s in sums], started, first, config.steps)
            sums = [0.0] * (2 * TASKS)
        if (step + 1) % _CHECKPOINT_EVERY == 0:
            state.save(step + 1)
    return _one_head(network, config)


def learning_rate(step: int, config: Config) -> float:
    """Up to ``config.learning_rate`` over the first 15 % of the steps and down to 0, both along half a cosine."""
    peak = 0.15 * config.steps
    phase = step / peak - 1 if step < peak else (step - peak) / (config.steps - peak)
    return config.learning_rate * (1 + math.cos(math.pi * phase)) / 2


def _one_head(network: LocalDetector, config: Config) -> LocalDetector:
    """The detector that is shipped: the trunk and the head of the genuine task."""
    alone = LocalDetector(config.width, half_turn=config.half_turn)
    kept = {k: v.contiguous() for k, v in network.state_dict().items()}
    for name in ("head.2.weight", "head.2.bias"):
        kept[name] = kept[name][GENUINE : GENUINE + 1].clone()
    alone.load_state_dict(kept)
    return alone.eval()


def _log(folder: Path, step: int, means: list[float], started: float, first: int, of: int) -> None:
    new = not (folder / "metrics.csv").exists()
    with (folder / "metrics.csv").open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(
                ["step", "genuine_positive", "genuine_negative", "blended_positive", "blended_negative"]
            )
        writer.writerow([step, *(f"{m:.4f}" for m in means)])
    left = (time.monotonic() - started) / (step - first) * (of - step)
    print(
        f"{folder.name}: step {step}/{of}, losses {' '.join(f'{m:.3f}' for m in means)}, {left / 60:.1f} min left",
        flush=True,
    )


def _forget_after(metrics: Path, step: int) -> None:
    """Drop the rows that a killed training logged after its last checkpoint; they will be logged again."""
    if metrics.exists():
        header, *rows = metrics.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [row for row in rows if int(row.split(",")[0]) <= step]
        metrics.write_text("".join([header, *kept]), encoding="utf-8")


class _State:
    """Everything that a killed training needs to go on, in one safetensors file (data, never code)."""

    def __init__(
        self,
        path: Path,
        config: Config,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        self.path, self.config = path, json.dumps(asdict(config), sort_keys=True)
        self.network, self.optimizer = network, optimizer

    def save(self, step: int) -> None:
        tensors = {f"network/{k}": v.contiguous() for k, v in self.network.state_dict().items()}
        for i, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{i}/{k}": v.contiguous() for k, v in values.items()}
        whole = self.path.with_suffix(".part")
        save_file(
            {k: v.clone() for k, v in tensors.items()}, whole, {"step": str(step), "config": self.config}
        )
        whole.replace(self.path)

    def load(self) -> int:
        """Restore the checkpoint and return its step; 0 where there is none."""
        if not self.path.exists():
            return 0
        with safe_open(self.path, "pt") as file:
            metadata = file.metadata()
        if metadata["config"] != self.config:
            raise InputError(f"'{self.path}' is of another configuration: give another --runs, or remove it.")
        tensors = load_file(self.path)
        weights = {k.removeprefix("network/"): v for k, v in tensors.items() if k.startswith("network/")}
        self.network.load_state_dict(weights)
        state = self.optimizer.state_dict()
        for key, value in tensors.items():
            kind, _, rest = key.partition("/")
            if kind == "optimizer":
                index, _, field = rest.partition("/")
                state["state"].setdefault(int(index), {})[field] = value
        self.optimizer.load_state_dict(state)
        return int(metadata["step"])


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments("Train the local detector, fold by fold and on all patients.")
    parser.add_argument(
        "--fold",
        nargs="+",
        default=["all"],
        help="folds to leave out, one training each; 'all' leaves none out",
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    experiment = read_experiment(args)
    for fold in args.fold:
        folder = args.runs / f"fold-{fold}"
        if (folder / "detector.safetensors").exists():
            print(f"{folder} is done")
            continue
        folder.mkdir(parents=True, exist_ok=True)
        kept = [s for s in experiment.slices if fold == "all" or experiment.fold_of[s.patient] != int(fold)]
        made = made_slices(kept, experiment.config.made_sites, experiment.config.seed)
        detector = train([*kept, *made], experiment.config, folder)
        save_file(
            detector.state_dict(), folder / "detector.safetensors", {"config": json.dumps(detector.config)}
        )
        (folder / "checkpoint.safetensors").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
