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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import update_bn

from CTForgeryScanLib.errors import InputError
from training.checkpoint import Checkpoint
from training.command import run_command
from training.data import read_slices
from training.detectors.networks import build_network, read_trained_config, save_network
from training.detectors.scorers import forged_logits, probability
from training.distributed import ALONE, Group, process_group
from training.experiment import arguments
from training.metrics_log import MetricsLog
from training.precision import mixed_precision
from training.slices import Slice
from training.splits import check_folds, digest, read_folds
from training.windows_config import WindowsConfig, read_windows_config
from training.windows_dataset import TrainingSamples

_PANELS = {
    "loss": ("training_loss", "validation_loss"),
    "validation": ("accuracy", "auc"),
    "learning rate": ("learning_rate",),
}


@dataclass
class _Standing:
    """How good the best epoch was and how many epochs ago, which decides when to stop."""

    best_accuracy: float = 0.0
    epochs_since: int = 0


def train(
    training: Sequence[Slice],
    validation: Sequence[Slice],
    config: WindowsConfig,
    folder: Path,
    group: Group = ALONE,
) -> nn.Module:
    """The weights of the epoch with the best accuracy on the windows of ``validation``'s patients.

    Resumes from ``folder``'s checkpoint. Raises InputError for a checkpoint of another configuration, a loss that is
    not finite, data of one class, or a batch or precision that the processes cannot do; what is there stays.
    """
    trainer = _Trainer(config, group)
    network, best = trainer.network, copy.deepcopy(trainer.network)
    checkpoint = Checkpoint(
        folder / "checkpoint.safetensors", config, network=network, best=best, optimizer=trainer.optimizer
    )
    resumed = checkpoint.load()
    standing = _Standing(**resumed.notes.get("standing", {}))
    if resumed.step:
        trainer.scaler.load_state_dict(resumed.notes["scaler"])
    samples, judged = _samples(training, config), _samples(validation, config)
    steps = trainer.steps_of(samples)
    log = None
    if group.is_first:
        log = MetricsLog(folder, _PANELS, first=resumed.step, last=config.epochs * steps)
    done = resumed.step // steps
    while done < config.epochs and standing.epochs_since < config.patience:
        loss = trainer.epoch(samples, done)
        done += 1
        figures = group.from_first(_validate(network, judged, config) if log else [0.0, 0.0, 0.0])
        values = dict(zip(("validation_loss", "accuracy", "auc"), figures, strict=True))
        standing.epochs_since += 1
        if values["accuracy"] > standing.best_accuracy:
            standing = _Standing(values["accuracy"])
            best.load_state_dict(network.state_dict())
        if log:
            rate = config.learning_rate_at(done * steps - 1)
            log.write(done * steps, {"training_loss": loss, "learning_rate": rate, **values})
            checkpoint.save(done * steps, standing=vars(standing), scaler=trainer.scaler.state_dict())
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


class _Trainer:
    """The network with what moves its weights. An epoch depends on the seed and its number alone."""

    def __init__(self, config: WindowsConfig, group: Group) -> None:
        group.check(config.batch)
        if config.precision == "float16" and group.device.type != "cuda":
            raise InputError("Training in float16 needs CUDA: set precision to bfloat16 or float32.")
        torch.manual_seed(config.seed)
        self.config, self.group = config, group
        self.network = build_network(config).to(group.device)
        # The L2 penalty is on kernels, not on biases or batch norm, as TensorFlow's regularizers are set.
        parameters = list(self.network.parameters())
        kernels: dict[str, Any] = {"params": [p for p in parameters if p.ndim > 1]}
        others: dict[str, Any] = {"params": [p for p in parameters if p.ndim <= 1]}
        kernels["weight_decay"] = config.weight_decay
        self.optimizer = torch.optim.Adam([kernels, others], lr=config.learning_rate)
        self.scaler = torch.amp.GradScaler(group.device.type, enabled=config.precision == "float16")
        self.spread = group.spread(self.network)

    def steps_of(self, samples: TrainingSamples) -> int:
        """Whole batches in an epoch; raises InputError when there is none."""
        steps = len(samples.epoch(0)) // self.config.batch
        if steps == 0:
            raise InputError(
                f"An epoch holds less than one batch of {self.config.batch}: lower batch or raise passes."
            )
        return steps

    def epoch(self, samples: TrainingSamples, number: int) -> float:
        """Train through one epoch; returns the mean loss."""
        self.network.train()
        rows, batch = samples.epoch(number), self.config.batch
        steps = len(rows) // batch
        shares = [rows[i * batch : (i + 1) * batch][self.group.share()] for i in range(steps)]
        losses = [self._step(*samples.cut(share), number * steps + i) for i, share in enumerate(shares)]
        if self.config.norm_batches:
            last = shares[-self.config.norm_batches :]
            update_bn((self._to_device(samples.cut(share)[0]) for share in last), self.network)
        return float(np.mean(losses))

    def _to_device(self, images: NDArray[np.int16]) -> Tensor:
        return torch.from_numpy(images).to(self.group.device).float()[:, None]

    def _step(self, images: NDArray[np.int16], labels: NDArray[np.int64], step: int) -> float:
        config, device = self.config, self.group.device
        # Dropout, too, depends on seed, step and process alone.
        seeds = np.random.SeedSequence([config.seed, step, self.group.rank])
        torch.manual_seed(int(seeds.generate_state(1)[0]))
        hu = self._to_device(images)
        with mixed_precision(device, config.precision):
            logits = self.spread(hu)
        loss = functional.cross_entropy(logits.float(), torch.from_numpy(labels).to(device))
        mean = float(self.group.mean(loss))
        if not np.isfinite(mean):
            raise InputError(
                f"The loss is not finite at step {step}: lower learning_rate in the configuration."
            )
        for part in self.optimizer.param_groups:
            part["lr"] = config.learning_rate_at(step)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return mean


def _validate(network: nn.Module, judged: TrainingSamples, config: WindowsConfig) -> list[float]:
    """Loss, accuracy and AUC on the same windows or slices every time."""
    rows = judged.epoch(0)
    logits = [
        forged_logits(network, judged.cut(rows[start : start + config.batch])[0], precision=config.precision)
        for start in range(0, len(rows), config.batch)
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
    path = args.config.parent / config.folds
    fold_of, slices = read_folds(path), read_slices(args.data, frozenset(config.never_train))
    config = replace(config, folds=digest(fold_of))  # what it is known by: the file may be dealt anew
    check_folds(fold_of, slices, path)
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
    run_command(main)
