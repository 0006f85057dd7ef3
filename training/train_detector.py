"""Train the local detector: one fold, several, or the final weights on all patients.

``python -m training.train_detector --config CONFIG.yaml --data DIR --runs RUNS --fold 0 1 2 3 4 all``

or ``torchrun --nproc-per-node N -m training.train_detector …`` on N GPUs. Each fold's folder gets
``detector.safetensors``, ``metrics.csv``, ``tensorboard/``, ``curves.png`` and, while it runs,
``checkpoint.safetensors``: a killed training goes on from there when the same command is given again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, update_bn

from CTForgeryScanLib.detector import LocalDetector
from CTForgeryScanLib.errors import InputError
from CTForgeryScanLib.models import DETECTOR
from training.checkpoint import Checkpoint
from training.command import run_command
from training.config import Config, as_json
from training.crops import GENUINE, TASKS, CropSampler
from training.distributed import ALONE, Group, process_group
from training.experiment import arguments, read_experiment
from training.hard_places import mark_hard_places
from training.made_slices import made_slices, pastings
from training.metrics_log import MetricsLog
from training.out_of_fold import load_detector
from training.precision import mixed_precision
from training.slices import Slice
from training.tensor_file import read_header
from training.whole_file import whole

_CHECKPOINT_EVERY = 250
_LOG_EVERY = 50
_NORM_STEPS = 50  # batches of which batch norms take the means and variances for averaged weights
_HEADS = ("head.2.weight", "head.2.bias")  # one row for each task
_PANELS = {
    "loss": ("genuine_positive", "genuine_negative"),
    "loss of the auxiliary task": ("blended_positive", "blended_negative"),
}


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
    weights = logits.new_tensor([1.0, 1.0] + [auxiliary, auxiliary] * (target.shape[1] - 1))
    return (torch.stack(parts) * weights).sum() / weights.sum(), [p.item() for p in parts]


def train(
    slices: Sequence[Slice],
    config: Config,
    folder: Path,
    group: Group = ALONE,
    start: dict[str, Tensor] | None = None,
) -> LocalDetector:
    """Train on all ``slices``; resumes from ``folder``'s checkpoint; returns the detector with one head.

    ``start`` are the weights of a detector with one head to begin with.

    Several processes share each batch. The worst windows are then chosen in each share, so the weights differ a
    little from those that one process trains; where the shares differ by one crop, all still count the same.
    """
    group.check(config.mix.total, evenly=False)
    torch.manual_seed(config.seed)
    network = LocalDetector(config.width, TASKS, config.half_turn).to(group.device)
    if start:
        _begin_with(network, start)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    averaged = AveragedModel(network)
    checkpoint = Checkpoint(
        folder / "checkpoint.safetensors", config, network=network, averaged=averaged, optimizer=optimizer
    )
    first = checkpoint.load().step
    log = MetricsLog(folder, _PANELS, first=first, last=config.steps) if group.is_first else None
    sampler = CropSampler(slices, config.mix, config.seed)
    sums = [0.0] * (2 * TASKS)
    spread = group.spread(network)
    network.train()
    for step in range(first, config.steps):
        hu, target = (torch.from_numpy(a[group.share()]).to(group.device) for a in sampler.batch(step))
        with mixed_precision(group.device):
            logits = spread(hu)
        hard_part = config.hard_part if step >= config.hard_after * config.steps else 1.0
        loss, losses = training_loss(logits.float(), target, hard_part, config.auxiliary)
        if not torch.isfinite(group.mean(loss)):
            raise InputError(
                f"The loss is not finite at step {step}: lower learning_rate in the configuration."
            )
        optimizer.param_groups[0]["lr"] = learning_rate(step, config)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        if step >= config.average_after * config.steps:
            averaged.update_parameters(network)
        sums = [a + b for a, b in zip(sums, losses, strict=True)]
        if log and (step + 1) % _LOG_EVERY == 0:
            names = [name for of_panel in _PANELS.values() for name in of_panel]
            log.write(step + 1, {name: s / _LOG_EVERY for name, s in zip(names, sums, strict=True)})
            sums = [0.0] * (2 * TASKS)
        if log and (step + 1) % _CHECKPOINT_EVERY == 0:
            checkpoint.save(step + 1)
    if log:
        log.close()
    if averaged.n_averaged > 0:
        network.load_state_dict(averaged.module.state_dict())
        # What batch norms measured along the way is not what they would of the averaged weights.
        later = range(config.steps, config.steps + _NORM_STEPS)
        update_bn((torch.from_numpy(sampler.batch(step)[0]) for step in later), network, group.device)
    return _one_head(network, config)


def learning_rate(step: int, config: Config) -> float:
    """Up to ``config.learning_rate`` over the first 15 % of the steps and down to 0, both along half a cosine.

    It stays where it is from the step on from which weights are averaged.
    """
    step = min(step, round(config.average_after * config.steps))
    peak = 0.15 * config.steps
    phase = step / peak - 1 if step < peak else (step - peak) / (config.steps - peak)
    return config.learning_rate * (1 + math.cos(math.pi * phase)) / 2


def _begin_with(network: LocalDetector, start: dict[str, Tensor]) -> None:
    """Take the trunk and the head of the genuine task from a detector with one head; other heads stay random."""
    own = network.state_dict()
    if own.keys() != start.keys() or any(own[name].shape[1:] != v.shape[1:] for name, v in start.items()):
        raise InputError(
            "The detector to start from has another shape than this configuration's: use its own."
        )
    with torch.no_grad():
        for name, values in start.items():
            if name in _HEADS:
                own[name][GENUINE : GENUINE + 1] = values
            else:
                own[name].copy_(values)


def _one_head(network: LocalDetector, config: Config) -> LocalDetector:
    """The detector that is shipped: the trunk and the head of the genuine task."""
    alone = LocalDetector(config.width, half_turn=config.half_turn)
    kept = {k: v.contiguous() for k, v in network.state_dict().items()}
    for name in _HEADS:
        kept[name] = kept[name][GENUINE : GENUINE + 1].clone()
    alone.load_state_dict(kept)
    return alone.eval()


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments("Train the local detector, fold by fold and on all patients.")
    parser.add_argument(
        "--fold",
        nargs="+",
        default=["all"],
        help="folds to leave out, one training each; 'all' leaves none out",
    )
    parser.add_argument("--generators", type=Path, help="folder with CT-GANs in inject/ and remove/")
    parser.add_argument("--start", type=Path, help="--runs of the training that this one goes on from")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    torch.backends.cudnn.deterministic = True
    experiment = read_experiment(args)
    for needed, given, option in (
        (experiment.config.generators, args.generators, "--generators"),
        (experiment.config.start_from is not None, args.start, "--start"),
    ):
        if needed != (given is not None):
            raise InputError(f"{args.config} {'needs' if needed else 'has no use for'} {option}.")
    forgers = pastings(args.generators)
    with process_group(args.device) as group:
        for fold in _checked(args.fold, experiment.fold_of):
            folder = args.runs / f"fold-{fold}"
            trained = folder / DETECTOR
            if trained.exists():
                load_detector(trained, experiment.training)
                # Those that were trained before this was noted say nothing of their slices.
                if read_header(trained).get("slices", experiment.data) != experiment.data:
                    raise InputError(
                        f"'{trained}' was trained on other slices than '{args.data}' holds: give another --runs."
                    )
                print(f"{folder} is done")
                continue
            folder.mkdir(parents=True, exist_ok=True)
            kept = [
                s for s in experiment.slices if fold == "all" or experiment.fold_of[s.patient] != int(fold)
            ]
            made = made_slices(
                kept,
                forgers,
                experiment.config.made_sites,
                experiment.config.seed,
                experiment.config.mix.starved,
            )
            start = None
            if args.start:
                before = load_detector(args.start / folder.name / DETECTOR)
                _check_start(args.start / folder.name / DETECTOR, experiment.training)
                start = before.state_dict()
                if experiment.config.mix.hard:
                    kept = mark_hard_places(kept, before)
            detector = train([*kept, *made], experiment.training, folder, group, start)
            if group.is_first:
                facts = {
                    "config": json.dumps(detector.config),
                    "training": json.dumps(as_json(experiment.training)),
                    "slices": experiment.data,
                }
                with whole(trained) as part:
                    save_file(detector.state_dict(), part, facts)
                (folder / "checkpoint.safetensors").unlink(missing_ok=True)


def _checked(asked: Sequence[str], fold_of: Mapping[str, int]) -> Sequence[str]:
    """Raises InputError for a fold that the patients were not dealt into."""
    known = [*map(str, sorted(set(fold_of.values()))), "all"]
    if unknown := set(asked) - set(known):
        raise InputError(f"There is no fold {', '.join(sorted(unknown))}: give some of {', '.join(known)}.")
    return asked


def _check_start(path: Path, training: Config) -> None:
    """Raises InputError for a detector that is not the one to go on from, or that saw patients who are left out."""
    before = json.loads(read_header(path)["training"])
    wanted = as_json(training)
    for what, known, needed in (
        ("another model", before["name"], wanted["start_from"]),
        ("other folds", before["folds"], wanted["folds"]),
        ("other patients", before["never_train"], wanted["never_train"]),
    ):
        if known != needed:
            raise InputError(
                f"'{path}' is of {what} than this configuration goes on from: give another --start."
            )


if __name__ == "__main__":
    run_command(main)
