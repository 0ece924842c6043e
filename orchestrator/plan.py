"""From a sweep to jobs that are known to be possible: everything is checked before anything starts."""

import itertools
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import pandas as pd
from ray import cloudpickle
from rich.console import Group
from rich.text import Text
from torch import Tensor, nn

from analysis import summary
from analysis.configuration import short_labels
from models.cost_profile import CostProfile
from models.diagnosis import least_variety
from models.feedforward import FeedForward
from models.partition import COST_PARTITIONS
from models.registry import NETWORKS
from models.task import Classification, build_task
from models.tearing import Tearing, plan_tearing
from orchestrator.actors.synchronised import check_synchronisable
from orchestrator.config import PIPELINES, TORN, Options, Sweep, TrialConfig, config_columns
from orchestrator.costs import Costs
from orchestrator.data.batches import Batches
from orchestrator.data.data import Data
from orchestrator.data.datasets import load_dataset
from orchestrator.data.source import Reading
from orchestrator.devices import (
    Available,
    GangResources,
    gang_resources,
    n_gpus,
    one_thread,
    refuse_what_needs_gpus,
    settle_devices,
)
from orchestrator.initial import initial_weights, weights_fingerprint
from orchestrator.one_process import untorn
from orchestrator.own_code import fingerprint
from orchestrator.reason import reason
from orchestrator.storage.store import Store
from orchestrator.terminal import Rows
from orchestrator.trial import Job, data_columns
from orchestrator.tryout import try_network, try_tearing

MOST_INPUTS = 32
"""That tell what C^j makes of them."""

DataKey = tuple[str, int | None, int | None, Reading]
"""What identifies the images of a trial: data set, training and validation subset, how it is understood."""


def data_key(config: TrialConfig) -> DataKey:
    """The key of a trial's images in :attr:`Plan.data`."""
    return config.dataset, config.train_subset, config.validation_subset, config.reading


@dataclass(frozen=True)
class Plan:
    """A sweep, checked.

    Attributes:
        jobs: every trial of the sweep, ready to run.
        data: the images, loaded once for all trials that use them.
        available: devices there are.
    """

    jobs: list[Job]
    data: dict[DataKey, Data]
    available: Available


@one_thread()
def make_plan(sweep: Sweep, options: Options, available: Available, costs: Costs | None = None) -> Plan:
    """Load the data, describe the networks, tear them, and see that everything fits.

    Args:
        sweep: what is asked.
        options: how to run it.
        available: devices there are.
        costs: where partitions by cost take theirs from; without it they are refused.

    Raises:
        ValueError: anything that cannot work, with what to do about it.
    """
    configs = sweep.trials()
    largest = max(
        n_gpus(
            config.n_subnetworks,
            config.strategy,
            n_replicas=config.n_replicas,
            driver_shares_gpu=options.driver_shares_gpu,
            gpus_per_actor=options.gpus_per_actor,
        )
        for config in configs
    )
    devices = settle_devices(options.devices, n_devices=largest, available=available)
    if devices == "cpu":
        refuse_what_needs_gpus(configs, options, available, largest)
    data: dict[DataKey, Data] = {}
    networks: dict[tuple[object, ...], FeedForward] = {}
    tearings: dict[tuple[object, ...], Tearing] = {}
    tried: set[tuple[object, ...]] = set()

    def torn(config: TrialConfig, network: FeedForward, profile: CostProfile | None = None) -> Tearing:
        key = tuple((vars(config) | {"seed": _seed_of_network(config)}).values())
        if key not in tearings:
            tearings[key] = tear_as_asked(config, network, profile, devices=devices)
        return replace(tearings[key], seed=config.seed)

    checked: list[tuple[TrialConfig, FeedForward, GangResources, Tearing | None]] = []
    for config in configs:
        key = data_key(config)
        if key not in data:
            data[key] = load_dataset(
                config.dataset,
                data_dir=options.data_dir,
                train_subset=config.train_subset,
                validation_subset=config.validation_subset,
                reading=config.reading,
                skip_broken=options.skip_broken,
                address=options.address,
            )
        images = data[key]
        if config.batch_size > len(images.train_inputs):
            raise ValueError(
                f"--batch-size {config.batch_size} is more than the {len(images.train_inputs)} training "
                f"samples of {config.dataset}: lower it"
            )
        resources = gang_resources(
            config.n_subnetworks,
            devices=devices,
            cpus_per_actor=options.cpus_per_actor,
            available=available,
            strategy=config.strategy,
            n_replicas=config.n_replicas,
            driver_shares_gpu=options.driver_shares_gpu,
            gpus_per_actor=options.gpus_per_actor,
            cuda_ipc=options.cuda_ipc,
        )
        # One for all trials that differ in how it is torn and trained.
        named = (
            *(key, config.network),
            config.depth,
            config.width,
            *(_seed_of_network(config), config.task, config.label_smoothing, config.splits_batches),
        )
        if named not in networks:
            networks[named] = describe(config, images)
        network = networks[named]
        if (asked := (named, config.precision, config.channels_last)) not in tried:
            try_network(config, network, images, devices)
            tried.add(asked)
        by_cost = config.partition in COST_PARTITIONS and costs is not None
        tearing = None if by_cost else torn(config, network)
        checked.append((config, network, resources, tearing))
    jobs = []
    for config, network, resources, tearing in checked:
        n_coarse_units = {
            other.n_coarse_units
            for other in configs
            if other.coarse == config.coarse and other.strategy in TORN and other.n_subnetworks > 1
        }
        if tearing is None and costs is not None:
            # Only now, when all else is known to be possible: measuring takes time.
            profile = costs.profile(config, network, resources, n_coarse_units)
            tearing = torn(config, network, profile)
        known = data_columns(data[data_key(config)], config, network.task)
        known["code_fingerprint"] = fingerprint(config.network, config.task)
        known["data_code_fingerprint"] = fingerprint(config.dataset)
        tearing = cast(Tearing, tearing)
        weights = initial_weights(config, tearing, accept_changed_code=options.accept_changed_code)
        known["initial_fingerprint"] = weights_fingerprint(weights)
        if config.strategy in TORN and config.n_iterations < config.n_subnetworks:  # there are C^j that count
            known["variety"] = least_variety(tearing, first_inputs(config, data[data_key(config)]))
        jobs.append(Job(config, tearing, resources, known, weights))
    return Plan(jobs, data, available)


def _seed_of_network(config: TrialConfig) -> int | None:
    """None of our own networks, which are factories: their weights come when they are built."""
    return None if config.network in NETWORKS else config.seed


def first_inputs(config: TrialConfig, data: Data) -> Tensor:
    """The first inputs that a trial reads, (at most MOST_INPUTS, *input_shape)."""
    size = min(MOST_INPUTS, config.batch_size)
    return Batches(data, batch_size=size, seed=config.seed).train(1, 0)[0]


def describe(config: TrialConfig, data: Data) -> FeedForward:
    """The trial's network for these data, known to run."""
    network = untorn(
        config,
        input_shape=data.input_shape,
        n_classes=data.n_outputs(build_task(config.task, label_smoothing=config.label_smoothing)),
        vocabulary=data.vocabulary,
    )
    task = network.task
    # The first to ask for the shapes: names a component that cannot be built or run.
    try:
        returned = network.trace.output_shape
    except ValueError as error:
        if not data.remarks:
            raise
        raise ValueError(f"{error} ({data.name}: {data.remarks[0]})") from error
    for targets in data.targets():
        task.check(returned, targets)
    if isinstance(task, Classification):
        data.check_classes()
    if config.splits_batches and not task.is_mean(returned, next(data.targets())):
        who = (
            f"--n-replicas {config.n_replicas}" if config.n_replicas > 1 else f"--strategy {config.strategy}"
        )
        raise ValueError(
            f"{who} takes the loss of a batch as the mean of its samples' losses, "
            f"which that of --task {config.task} is not: use parareal or serial, or make it such a mean"
        )
    factories = ("the factory of C^j", network.interface_preprocess), ("the factory of F^j", network.coarse)
    for what, source in (*network.components(), *factories):
        try:
            cloudpickle.dumps(source)
        except Exception as error:  # whatever a user's object does
            raise ValueError(f"{what} cannot be sent to another process: {reason(error)}") from error
    return network


def tear_as_asked(
    config: TrialConfig, network: FeedForward, costs: CostProfile | None = None, *, devices: str = "cpu"
) -> Tearing:
    """The trial's network, torn, and tried; where strategies train it as it is, with nothing at the cuts."""
    torn = config.strategy in TORN
    exact = config.n_iterations == config.n_subnetworks  # no C^j, j > 1, and no F^j is ever used
    tearing = plan_tearing(
        network,
        1 if config.strategy == "data_parallel" else config.n_subnetworks,
        partition=config.partition,
        n_coarse_units=config.n_coarse_units,
        n_iterations=config.n_iterations,
        preprocess=config.preprocess if torn else nn.Identity,
        coarse=config.coarse if torn else nn.Identity,
        costs=costs,
        seed=config.seed,
    )
    # Counting builds every C^j and F^j once: a pair of shapes that nothing joins shows here.
    _ = tearing.n_parameters
    tearing.check(torn=torn and not exact, n_iterations=config.n_iterations)
    one_after_the_other = config.strategy in PIPELINES or config.n_iterations > 1
    if one_after_the_other and config.n_subnetworks > 1:
        network.check_gradient(after=tearing.units(2).start)
    elif config.strategy == "data_parallel":
        _ = network.uses_all  # before it goes to actors that want to know
    try_tearing(config, tearing, devices)
    if config.batch_norm == "synchronised":
        check_synchronisable(tearing)
    return tearing


def pending(jobs: list[Job], store: Store) -> list[Job]:
    """The jobs whose result the store does not hold, or no more; a diverged trial would diverge again."""
    statuses = store.values("trials", "status", [job.config.trial_id for job in jobs])
    ended = {trial_id for trial_id, status in statuses.items() if status in (["finished"], ["diverged"])}
    epochs = store.values("epochs", "epoch", ended)

    def is_done(config: TrialConfig) -> bool:
        there = {*epochs.get(config.trial_id, ())}
        # Where the loss was not finite, that epoch is the last.
        last = config.epochs if statuses.get(config.trial_id) == ["finished"] else max(there, default=1)
        return config.trial_id in ended and there >= set(range(1, last + 1))

    return [job for job in jobs if not is_done(job.config)]


def untimed(jobs: list[Job], store: Store) -> list[Job]:
    """One job for each distinct torn network whose components have not been timed yet.

    Seeds and training settings make no difference to a component's time.
    """
    modes = store.values("timings", "mode", [job.config.trial_id for job in jobs])
    timed: set[tuple[object, ...]] = set()
    chosen: dict[tuple[object, ...], Job] = {}
    for job in jobs:
        config = job.config
        if config.strategy not in TORN or config.n_replicas > 1:  # components are those of one replica
            continue
        key = (
            *(
                *(config.dataset, config.image_size, config.image_mode),
                config.network,
                config.depth,
                config.width,
                config.batch_size,
                config.precision,
                config.channels_last,
                config.compiled,
                config.graphs,
                config.n_iterations,  # not of the components, but of the critical path
            ),
            *(job.tearing.sizes, config.coarse, config.n_coarse_units, config.preprocess),
        )
        if "virtual" in modes.get(config.trial_id, ()):
            timed.add(key)
        chosen.setdefault(key, job)
    return [job for key, job in chosen.items() if key not in timed]


SHOWN = {
    "trials": "{}",
    "units": "units {}",
    "N_c": "N_c = {}",
    "parameters": "{} parameters",
    "an actor ≤": "{} at most in an actor",
    "devices": "on {}",
    "done": "{} done",
}
"""Columns of the plan, and what is said where there is no room for one."""


def plan_table(plan: Plan, store: Store | None) -> Group:
    """The plan for a reader: what the data sets are, and a row for each distinct trial but for its seed."""
    groups = _by_seed(plan.jobs)
    trials = pd.DataFrame([_columns(jobs[0]) for jobs in groups], dtype=object)
    left = {id(job) for job in (plan.jobs if store is None else pending(plan.jobs, store))}
    cells = []
    for label, jobs in zip(short_labels(trials), groups, strict=True):
        config, tearing, resources = jobs[0].config, jobs[0].tearing, jobs[0].resources
        each = f"{resources.gpus:g} GPU" if resources.gpus else f"{resources.cpus:g} CPU"
        torn = config.n_subnetworks > 1 and config.strategy in TORN
        cells.append(
            (
                label,
                textwrap.fill(sizes_text(tearing.sizes), 12),
                str(config.n_coarse_units) if torn else "–",
                f"{tearing.n_parameters:,}",
                f"{_largest_share(jobs[0]):,}",
                f"{resources.n_places} × {each}",
                f"{sum(id(job) not in left for job in jobs)}/{len(jobs)}",
            )
        )
    networks = ", ".join(dict.fromkeys(job.tearing.network.name for job in plan.jobs))
    there = f"{plan.available.cpus:g} cores, {plan.available.gpus:g} GPUs"
    return Group(
        Text(f"{networks}: {len(plan.jobs)} trials on {there}", "bold"),
        *map(Text, summary.data_sets(trials)),
        *(Text(f"{images.name}: {remark}") for images in plan.data.values() for remark in images.remarks),
        Rows(SHOWN, cells, left=["units", "devices"]),
    )


def _columns(job: Job) -> dict[str, object]:
    """What the store will say of a trial's network and data."""
    sizes = " ".join(map(str, job.tearing.sizes))
    return {
        "trial_id": job.config.trial_id,
        "partition_sizes": sizes,
        **config_columns(job.config),
        **job.data,
    }


def distinct(jobs: list[Job]) -> list[Job]:
    """One of all jobs that differ in the seed alone."""
    return [group[0] for group in _by_seed(jobs)]


def _by_seed(jobs: list[Job]) -> list[list[Job]]:
    """Jobs that differ in the seed alone together."""
    groups: dict[tuple[object, ...], list[Job]] = {}
    for job in jobs:
        values = vars(job.config) | {"seed": None}
        groups.setdefault(tuple(values.values()), []).append(job)
    return list(groups.values())


def _largest_share(job: Job) -> int:
    """Number of parameters of the actor that trains most."""
    tearing = job.tearing
    if tearing.n_subnetworks == 1 or job.resources.n_actors == 1:
        return tearing.n_parameters
    driver = sum(tearing.coarse_parameters) + tearing.network.trace.postprocess_parameters
    shares = list(map(sum, zip(tearing.preprocess_parameters, tearing.subnetwork_parameters, strict=True)))
    if job.config.strategy in PIPELINES:
        *shares, last = shares
        return max(*shares, last + driver)  # h is the last stage's
    return max(driver, *shares)


def sizes_text(sizes: Sequence[int]) -> str:
    """Partition sizes for a reader: 5 × 56 + 53."""
    return " + ".join(
        f"{number} × {size}" if (number := len(list(run))) > 1 else str(size)
        for size, run in itertools.groupby(sizes)
    )
