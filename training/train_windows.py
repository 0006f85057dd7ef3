"""Train the paper's network, its ablations and its baselines on windows or whole slices, by the paper's recipe.

``python -m training.train_windows --config training/configs/paper.yaml --data DIR --runs RUNS --fold 0 1 2 3 4``, or
``torchrun --nproc-per-node N -m training.train_windows …`` on N GPUs.

A fold is held out; the next one's patients decide when to stop. Each fold's folder gets ``detector.safetensors``,
``metrics.csv``, ``tensorboard/``, ``curves.png`` and, while it runs, ``checkpoint.safetensors``: a killed training goes
on from its last epoch when the same command is given again.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from torch import nn
from torch.nn import functional

from CTForgeryScanLib.errors import InputError
from training.checkpoint import Checkpoint
from training.data import Slice, read_slices
from training.detectors.networks import build_network, read_trained_config, save_network
from training.detectors.scorers import forged_logits, probability
from training.distributed import Group, process_group
from training.experiment import arguments, run
from training.metrics_log import MetricsLog
from training.splits import read_folds
from training.windows_config import WindowsConfig, read_windows_config
from training.windows_dataset import TrainingSamples

_PANELS = {
    "loss": ("training_loss", "validation_loss"),
    "validation": ("accuracy", "auc"),
    "learning rate / 1e-3": ("learning_rate",),
}
_VALIDATION_BATCH = 64


@dataclass
class Standing:
    """How good the best epoch was and how many epochs ago, which decides when to stop."""

    best_accuracy: float = 0.0
    epochs_since: int = 0


def train(
    training: Sequence[Slice],
    validation: Sequence[Slice],
    config: WindowsConfig,
    folder: Path,
    group: Group,
) -> nn.Module:
    """The weights of the epoch with the best accuracy on the windows of ``validation``'s patients.

    Resumes from ``folder``'s checkpoint. Raises InputError for a checkpoint of another configuration, a loss that is
    not finite, data of one class, or a batch or precision that the processes cannot do; what is there stays.
    """
    group.check(config.batch)
    if config.precision == "float16" and group.device.type != "cuda":
        raise InputError("Training in float16 needs CUDA: set precision to bfloat16 or float32.")
    torch.manual_seed(config.seed)
    network = build_network(config).to(group.device)
    best = copy.deepcopy(network)
    optimizer = torch.optim.Adam(_parameter_groups(network, config.weight_decay), lr=config.learning_rate)
    scaler = torch.amp.GradScaler(group.device.type, enabled=config.precision == "float16")
    checkpoint = Checkpoint(
        folder / "checkpoint.safetensors", config, network=network, best=best, optimizer=optimizer
    )
    resumed = checkpoint.load()
    standing = Standing(**resumed.notes.get("standing", {}))
    scaler.load_state_dict(resumed.notes.get("scaler", {}))
    samples, judged = _samples(training, config), _samples(validation, config)
    steps = len(samples.epoch(0)) // config.batch
    if steps == 0:
        raise InputError(
            f"An epoch holds less than one batch of {config.batch}: lower batch or raise passes."
        )
    log = None
    if group.is_first:
        log = MetricsLog(folder, _PANELS, first=resumed.step, last=config.epochs * steps)
    spread = group.spread(network)
    epoch = resumed.step // steps
    while epoch < config.epochs and standing.epochs_since < config.patience:
        loss = _one_epoch(spread, optimizer, scaler, samples, epoch, steps, config, group)
        epoch += 1
        figures = group.from_first(_validate(network, judged) if log else [0.0, 0.0, 0.0])
        values = dict(zip(("validation_loss", "accuracy", "auc"), figures, strict=True))
        standing.epochs_since += 1
        if values["accuracy"] > standing.best_accuracy:
            standing = Standing(values["accuracy"])
            best.load_state_dict(network.state_dict())
        if log:
            rate = 1e3 * config.learning_rate_at(epoch * steps - 1)
            log.write(epoch * steps, {"training_loss": loss, "learning_rate": rate, **values})
            checkpoint.save(epoch * steps, standing=vars(standing), scaler=scaler.state_dict())
    if log:
        log.close()
    return best.eval()


def _samples(slices: Sequence[Slice], config: WindowsConfig) -> TrainingSamples:
    return TrainingSamples(
        slices,
        whole=config.whole,
        site_negatives=config.site_negatives,
        passes=config.passes,
        seed=config.seed,
    )


def _parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """The L2 penalty is on kernels, not on biases or batch norm, as TensorFlow's regularizers are set."""
    kernels = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": kernels, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _one_epoch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    samples: TrainingSamples,
    epoch: int,
    steps: int,
    config: WindowsConfig,
    group: Group,
) -> float:
    """Mean training loss."""
    network.train()
    rows = samples.epoch(epoch)
    total = 0.0
    for step in range(epoch * steps, (epoch + 1) * steps):
        # Dropout, too, depends on seed, step and process alone.
        seeds = np.random.SeedSequence([config.seed, step, group.rank])
        torch.manual_seed(int(seeds.generate_state(1)[0]))
        start = (step - epoch * steps) * config.batch
        images, labels = samples.cut(rows[start : start + config.batch][group.share()])
        hu = torch.from_numpy(images).to(group.device).float()[:, None]
        mixed = config.precision != "float32"
        with torch.autocast(group.device.type, getattr(torch, config.precision), enabled=mixed):
            logits = network(hu)
        loss = functional.cross_entropy(logits.float(), torch.from_numpy(labels).to(group.device))
        mean = float(group.mean(loss))
        if not np.isfinite(mean):
            raise InputError(
                f"The loss is not finite at step {step}: lower learning_rate in the configuration."
            )
        for part in optimizer.param_groups:
            part["lr"] = config.learning_rate_at(step)
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        total += mean
    return total / steps


def _validate(network: nn.Module, judged: TrainingSamples) -> list[float]:
    """Loss, accuracy and AUC on the same windows or slices every time."""
    rows = judged.epoch(0)
    logits = [
        forged_logits(network, judged.cut(rows[start : start + _VALIDATION_BATCH])[0])
        for start in range(0, len(rows), _VALIDATION_BATCH)
    ]
    p, forged = probability(np.concatenate(logits)).astype(np.float64), rows[:, 3] == 1
    return [
        float(log_loss(forged, p)),
        float(accuracy_score(forged, p > 0.5)),
        float(roc_auc_score(forged, p)),
    ]


def split(
    slices: Sequence[Slice], fold_of: dict[str, int], fold: int
) -> tuple[list[Slice], list[Slice], list[Slice]]:
    """Slices to train on, to validate on (the next fold's patients) and to test on (the fold's own), by patient."""
    following = (fold + 1) % (max(fold_of.values()) + 1)
    kept: list[Slice] = []
    validation: list[Slice] = []
    test: list[Slice] = []
    for s in slices:
        of = fold_of[s.patient]
        (test if of == fold else validation if of == following else kept).append(s)
    return kept, validation, test


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments("Train a detector of the paper's tables, fold by fold.")
    parser.add_argument(
        "--fold", nargs="+", type=int, default=[0], help="folds to hold out, one training each"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    torch.backends.cudnn.deterministic = True
    config = read_windows_config(args.config)
    fold_of = read_folds(args.config.parent / config.folds)
    slices = read_slices(args.data, frozenset(config.never_train))
    with process_group(args.device) as group:
        for fold in args.fold:
            folder = args.runs / f"fold-{fold}"
            if _is_done(folder / "detector.safetensors", config):
                print(f"{folder} is done")
                continue
            folder.mkdir(parents=True, exist_ok=True)
            training, validation, _ = split(slices, fold_of, fold)
            best = train(training, validation, config, folder, group)
            if group.is_first:
                save_network(best, config, folder / "detector.safetensors")
                (folder / "checkpoint.safetensors").unlink(missing_ok=True)


def _is_done(path: Path, config: WindowsConfig) -> bool:
    if path.exists() and read_trained_config(path) != config:
        raise InputError(f"'{path}' is of another configuration: give another --runs, or remove it.")
    return path.exists()


if __name__ == "__main__":
    run(main)
