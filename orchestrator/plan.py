"""From a sweep to jobs that are known to be possible: everything is checked before anything starts."""

import itertools
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from rich import box
from rich.table import Table
from torch import nn

from models.cost_profile import CostProfile
from models.feedforward import FeedForward
from models.partition import COST_PARTITIONS
from models.registry import build_network
from models.tearing import Tearing, plan_tearing
from orchestrator.config import PIPELINES, TORN, Options, Sweep, TrialConfig
from orchestrator.costs import Costs
from orchestrator.data.datasets import ImageData, load_dataset
from orchestrator.devices import Available, GangResources, gang_resources, n_gpus, settle_devices
from orchestrator.storage.store import Store
from orchestrator.trial import Job

DataKey = tuple[str, int | None, int | None]
"""What identifies the images of a trial: data set, training subset, validation subset."""


def data_key(config: TrialConfig) -> DataKey:
    """The key of a trial's images in :attr:`Plan.data`."""
    return config.dataset, config.train_subset, config.validation_subset


@dataclass(frozen=True)
class Plan:
    """A sweep, checked.

    Attributes:
        jobs: every trial of the sweep, ready to run.
        data: the images, loaded once for all trials that use them.
        available: devices there are.
    """

    jobs: list[Job]
    data: dict[DataKey, ImageData]
    available: Available


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
            driver_shares_gpu=options.driver_shares_gpu,
            gpus_per_actor=options.gpus_per_actor,
        )
        for config in configs
    )
    devices = settle_devices(options.devices, n_devices=largest, available=available)
    if devices == "cpu":
        _refuse_what_needs_gpus(configs, options, available, largest)
    data: dict[DataKey, ImageData] = {}
    checked: list[tuple[TrialConfig, FeedForward, GangResources, Tearing | None]] = []
    for config in configs:
        key = data_key(config)
        if key not in data:
            data[key] = load_dataset(
                config.dataset,
                data_dir=options.data_dir,
                train_subset=config.train_subset,
                validation_subset=config.validation_subset,
            )
        images = data[key]
        if config.batch_size > len(images.train_images):
            raise ValueError(
                f"--batch-size {config.batch_size} is more than the {len(images.train_images)} training "
                f"images of {config.dataset}: lower it"
            )
        resources = gang_resources(
            config.n_subnetworks,
            devices=devices,
            cpus_per_actor=options.cpus_per_actor,
            available=available,
            strategy=config.strategy,
            driver_shares_gpu=options.driver_shares_gpu,
            gpus_per_actor=options.gpus_per_actor,
            cuda_ipc=options.cuda_ipc,
        )
        network = describe(config, images)
        by_cost = config.partition in COST_PARTITIONS and costs is not None
        tearing = None if by_cost else tear_as_asked(config, network)
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
            tearing = tear_as_asked(config, network, profile)
        jobs.append(Job(config, cast(Tearing, tearing), resources, data[data_key(config)].n_classes))
    return Plan(jobs, data, available)


def _refuse_what_needs_gpus(
    configs: Sequence[TrialConfig], options: Options, available: Available, largest: int
) -> None:
    """See that a sweep on processor cores asks for nothing that GPUs alone have.

    Raises:
        ValueError: it does; ``largest`` is how many its largest trial would need.
    """
    asked = {
        "--graphs True": any(config.graphs for config in configs),
        # On cores it would be float32 under another name.
        "--precision tf32": any(config.precision == "tf32" for config in configs),
        "--cuda-ipc": options.cuda_ipc,
    }
    for option in (option for option, is_asked in asked.items() if is_asked):
        if options.devices == "cpu":
            raise ValueError(f"{option} needs GPUs, not --devices cpu: leave out one of them")
        raise ValueError(
            f"{option} needs GPUs, {largest} for the largest trial, there are {available.gpus:g}: leave it "
            "out, or see what fits with --devices cuda"
        )


def describe(config: TrialConfig, images: ImageData) -> FeedForward:
    """The trial's network for these images, known to run."""
    network = build_network(
        config.network,
        input_shape=images.input_shape,
        n_classes=images.n_classes,
        seed=config.seed,
        **config.network_options,
    )
    _ = network.trace  # names a component that cannot be built or run
    return network


def tear_as_asked(config: TrialConfig, network: FeedForward, costs: CostProfile | None = None) -> Tearing:
    """The trial's network, torn; for strategies that train the network itself, with nothing at the cuts."""
    torn = config.strategy in TORN
    tearing = plan_tearing(
        network,
        1 if config.strategy == "data_parallel" else config.n_subnetworks,
        partition=config.partition,
        n_coarse_units=config.n_coarse_units,
        preprocess=config.preprocess if torn else nn.Identity,
        coarse=config.coarse if torn else nn.Identity,
        costs=costs,
        seed=config.seed,
    )
    # Counting builds every C^j and F^j once: a pair of shapes that nothing joins shows here.
    _ = tearing.n_parameters
    return tearing


def pending(jobs: list[Job], store: Store) -> list[Job]:
    """The jobs whose result the store does not hold yet; a diverged trial would diverge again."""
    return [job for job in jobs if store.status(job.config.trial_id) not in ("finished", "diverged")]


def untimed(jobs: list[Job], store: Store) -> list[Job]:
    """One job for each distinct torn network whose components have not been timed yet.

    Seeds and training settings make no difference to a component's time.
    """
    timed: set[tuple[object, ...]] = set()
    chosen: dict[tuple[object, ...], Job] = {}
    for job in jobs:
        config = job.config
        if config.strategy not in TORN:
            continue
        key = (
            *(
                config.dataset,
                config.network,
                config.depth,
                config.width,
                config.batch_size,
                config.precision,
                config.channels_last,
                config.compiled,
                config.graphs,
            ),
            *(job.tearing.sizes, config.coarse, config.n_coarse_units, config.preprocess),
        )
        if any(row["mode"] == "virtual" for row in store.read("timings", config.trial_id)):
            timed.add(key)
        chosen.setdefault(key, job)
    return [job for key, job in chosen.items() if key not in timed]


def plan_table(plan: Plan, store: Store | None) -> Table:
    """The plan for a reader: a row for each distinct trial but for its seed."""
    there = f"{plan.available.cpus:g} cores, {plan.available.gpus:g} GPUs"
    table = Table(title=f"{len(plan.jobs)} trials on {there}", box=box.SIMPLE, padding=0, show_edge=False)
    for column in ("network", "data set"):
        table.add_column(column, overflow="fold")  # of any length
    several = len({job.config.strategy for job in plan.jobs if job.config.n_subnetworks > 1}) > 1
    if several:
        table.add_column("strategy", no_wrap=True)
    for column in ("N", "units", "N_c", "parameters", "an actor ≤", "devices", "done"):
        table.add_column(column, no_wrap=True, justify="left" if column in ("units", "devices") else "right")
    for jobs in _by_seed(plan.jobs):
        config, tearing, resources = jobs[0].config, jobs[0].tearing, jobs[0].resources
        each = f"{resources.gpus:g} GPU" if resources.gpus else f"{resources.cpus:g} CPU"
        torn = config.n_subnetworks > 1 and config.strategy in TORN
        table.add_row(
            tearing.network.name,
            config.dataset,
            *([config.strategy] if several else []),
            str(config.n_subnetworks),
            textwrap.fill(sizes_text(tearing.sizes), 12),
            str(config.n_coarse_units) if torn else "–",
            f"{tearing.n_parameters:,}",
            f"{_largest_share(jobs[0]):,}",
            f"{resources.n_places} × {each}",
            f"{0 if store is None else len(jobs) - len(pending(jobs, store))}/{len(jobs)}",
        )
    return table


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
