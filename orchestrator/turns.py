"""Steps of a network in one piece and torn, measured in turns: the turns rows of the timings frame.

Trials run one after the other, and a machine's speed may change by a factor of two between them. Here the two
gangs of a comparison are there at once, and each trains a short epoch in its turn, round by round: ratios
within a round do not depend on the minute.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import ray
from ray.exceptions import RayTaskError
from ray.util.placement_group import placement_group, remove_placement_group
from rich.console import Console

from orchestrator.actors.gang import Gang, GangError
from orchestrator.config import Options, TrialConfig
from orchestrator.data.datasets import Data
from orchestrator.devices import GangResources
from orchestrator.plan import DataKey, data_key
from orchestrator.storage.store import Row, Store
from orchestrator.trial import Job, labels

STEPS = 10
"""Training steps of each gang in each round, and before the first one."""

Pair = tuple[Job, Job]
"""Trials to be compared: of a network in one piece, and of the same torn."""

_TEARING = {"n_subnetworks", "strategy", "partition", "preprocess", "coarse", "n_coarse_units"}
_TRAINING = {"seed", "epochs", "learning_rate", "schedule", "milestones", "momentum", "weight_decay"}
_NO_MATTER = {*_TEARING, *_TRAINING}
"""Options in which the two of a pair may differ: what a step does, they do not change."""


def pairs(jobs: Iterable[Job], n_cores: float) -> list[Pair]:
    """Every distinct torn network of a sweep with the same in one piece.

    Only on processors, whose speed varies, where both compute with one thread an actor and there is a core
    for each subnetwork.
    """
    serial: dict[tuple[object, ...], Job] = {}
    torn: dict[tuple[object, ...], Job] = {}
    for job in jobs:
        config, resources = job.config, job.resources
        alike = resources.device == "cpu" and resources.threads == 1 and config.n_subnetworks <= n_cores
        if not alike or not config.epochs:
            continue
        if config.n_subnetworks == 1:
            serial.setdefault(_network(config), job)
        elif config.strategy == "parareal":
            how = (job.tearing.sizes, config.preprocess, config.coarse, config.n_coarse_units)
            torn.setdefault((_network(config), how), job)
    return [(serial[network], job) for (network, _), job in torn.items() if network in serial]


def _network(config: TrialConfig) -> tuple[object, ...]:
    return tuple(value for name, value in vars(config).items() if name not in _NO_MATTER)


def uncompared(jobs: Iterable[Job], store: Store, n_cores: float) -> list[Pair]:
    """Those :func:`pairs` that have not been measured yet."""
    return [pair for pair in pairs(jobs, n_cores) if not _rows(store, pair[1])]


def run_turns(
    asked: list[Pair], data: dict[DataKey, Data], store: Store, options: Options, console: Console
) -> None:
    """Measure each pair in as many rounds as components are measured, and store the rows."""
    named = labels(job for pair in asked for job in pair)
    for pair in asked:
        one, torn = (named[job.config.trial_id] for job in pair)
        steps = f"steps of {torn} and of {one} in turns"
        console.print(steps, highlight=False, markup=False, soft_wrap=True)
        first = 1 + max((row["repeat"] for job in pair for row in _rows(store, job)), default=-1)
        try:
            seconds = _measure(pair, data[data_key(pair[1].config)], options)
        except (GangError, RayTaskError) as error:  # no reason to lose the rest
            console.print(f"{steps}: not measured: {error}", highlight=False, markup=False, soft_wrap=True)
            continue
        for job, of_job in zip(pair, seconds, strict=True):
            trial_id = job.config.trial_id
            rows = [
                {
                    "trial_id": trial_id,
                    "mode": "turns",
                    "component": "step",
                    "subnetwork": 0,
                    "direction": "wall",
                    "seconds": one,
                    "repeat": first + turn,
                    "batch_size": job.config.batch_size,
                    "device": "cpu",
                }
                for turn, one in enumerate(of_job)
            ]
            store.write("timings", trial_id, store.read("timings", trial_id) + rows)


def _rows(store: Store, job: Job) -> list[Row]:
    """What of the job has been measured in turns."""
    return [row for row in store.read("timings", job.config.trial_id) if row["mode"] == "turns"]


def _measure(pair: Pair, data: Data, options: Options) -> list[list[float]]:
    """Seconds of a step of both jobs in each round."""
    n_images = STEPS * pair[0].config.batch_size
    few = replace(
        data,
        train_inputs=data.train_inputs[:n_images],
        train_targets=data.train_targets[:n_images],
        validation_inputs=data.validation_inputs[:1],
        validation_targets=data.validation_targets[:1],
    )
    seconds: list[list[float]] = [[], []]
    with ExitStack() as stack:
        images = ray.put(few)
        gangs = [stack.enter_context(_gang(job, images, options.timeout)) for job in pair]
        for turn in range(1 + options.timing_repeats):
            for gang, of_job in zip(gangs, seconds, strict=True):
                reports = gang.run_epoch(1 + turn).values()
                slowest = max(reports, key=lambda report: report.seconds)
                of_job.append(slowest.seconds / len(slowest.step_seconds))
    return [of_job[1:] for of_job in seconds]  # in the first round they got warm


@contextmanager
def _gang(job: Job, images: "ray.ObjectRef[Data]", timeout: float) -> Iterator[Gang]:
    """A gang beside another on the same cores: only one of them is at work at a time."""
    resources = GangResources(job.resources.n_actors, "cpu", cpus=0.01, gpus=0)
    group = placement_group(resources.bundles)
    try:
        with Gang(job.config, job.tearing, images, resources, group) as gang:
            gang.connect(timeout)
            yield gang
    finally:
        remove_placement_group(group)
