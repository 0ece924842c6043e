"""What --dry-run predicts: what components cost, how long a step takes, what more devices would bring."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from models.cost_profile import IMPOSSIBLE, CostProfile
from models.feedforward import Shape
from models.partition import COST_PARTITIONS, PARTITIONS
from models.step_time import Cost, StepCosts, critical_path, paper_sum, simulate
from models.tearing import paper_n_coarse_units
from orchestrator.config import TORN, Options, TrialConfig
from orchestrator.costs import Costs, key_of
from orchestrator.devices import n_gpus
from orchestrator.plan import Plan, distinct
from orchestrator.trial import Job

DEVICES = (3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64)
"""Numbers of devices that are considered, beside the number that there are."""


class Choice(NamedTuple):
    """A way to tear a network, and the seconds of a step that it is predicted to take."""

    seconds: float
    n_subnetworks: int
    partition: str


def forecast(plan: Plan, costs: Costs, options: Options) -> list[RenderableType]:
    """For each torn network of the plan: its components, a step as asked, and what is recommended.

    What ``costs`` does not hold yet is measured.
    """
    families: dict[str, list[Job]] = {}
    for job in distinct(plan.jobs):
        if job.config.strategy in TORN and job.config.n_subnetworks > 1 and job.config.n_replicas == 1:
            key = key_of(job.config, job.tearing.network, job.resources)
            families.setdefault(key, []).append(job)
    parts: list[RenderableType] = []
    for jobs in families.values():
        config, network, resources = jobs[0].config, jobs[0].tearing.network, jobs[0].resources
        there = int(plan.available.gpus if resources.gpus else plan.available.cpus)
        ns = sorted({n_devices - 1 for n_devices in (*DEVICES, there) if n_devices > 2})
        follow = _n_coarse_units(config)
        asked = {job.config.n_coarse_units for job in jobs}
        profile = costs.profile(config, network, resources, asked | {follow(n) for n in ns})
        linked = partial(
            step_seconds, bandwidth=1e9 * options.link_bandwidth, latency=1e-6 * options.link_latency
        )
        used = {job.config.n_subnetworks: _n_used(job, there, options) for job in jobs}
        where = f"on {there} {'GPUs' if resources.gpus else 'cores'}"
        if 0 < resources.gpus < 1:
            where = f"{resources.gpus:g} GPU each"
        parts += [
            _heading(
                f"{network.name}, batch {config.batch_size} on {resources.device}: what components cost, "
                f"in ms forth and back; C {_ms(profile.preprocess.total)}, h {_ms(profile.postprocess.total)}"
            ),
            components_table(profile),
            _heading(f"A step as asked, in ms; N = 1: {_ms(serial_seconds(profile))}"),
            asked_table(jobs, profile, linked, used, where),
        ]
        for n_iterations in sorted({job.config.n_iterations for job in jobs}):
            iterated = f" with K = {n_iterations} iterations" * (n_iterations > 1)
            parts += [
                _heading(
                    f"The best{iterated} for up to {max(ns) + 1} devices, one of them the driver's, with "
                    f"links of {options.link_bandwidth:g} GB/s and {options.link_latency:g} µs, in ms"
                ),
                choices_table(profile, recommend(profile, ns, follow, linked, n_iterations)),
            ]
    return parts


def step_seconds(
    costs: StepCosts, *, n_cores: int | None = None, bandwidth: float = math.inf, latency: float = 0.0
) -> float:
    """Simulated seconds a step, where one follows the other without a pause between them."""
    n_steps = 4
    spans = simulate(costs, n_cores=n_cores, bandwidth=bandwidth, latency=latency, n_steps=n_steps)
    return spans[-1].end / n_steps


def recommend(
    profile: CostProfile,
    ns: Iterable[int],
    n_coarse_units: Callable[[int], int],
    seconds: Callable[[StepCosts], float],
    n_iterations: int = 1,
) -> Iterator[Choice]:
    """The best partition for each N at which a step is shorter than with all smaller ones, 1 included."""
    shortest = serial_seconds(profile)
    for n in (n for n in ns if n >= n_iterations):
        choices = []
        for partition in (*PARTITIONS, *COST_PARTITIONS):
            try:
                sizes = (
                    PARTITIONS[partition](profile.n_units, n)
                    if partition in PARTITIONS
                    else COST_PARTITIONS[partition](profile, n, n_coarse_units(n))
                )
            except ValueError:  # such as a number of units that the paper's rule cannot share out
                continue
            costs = profile.step_costs(sizes, n_coarse_units(n), n_iterations)
            choices.append(Choice(seconds(costs), n, partition))
        best = min(choices, key=lambda choice: choice.seconds, default=None)
        if best and best.seconds < shortest:
            shortest = best.seconds
            yield best


def serial_seconds(profile: CostProfile) -> float:
    """A step of the network in one piece."""
    return critical_path(profile.step_costs((profile.n_units,), 1))


def components_table(profile: CostProfile) -> Table:
    """What components cost: a row for each pair of shapes that units lead between, first unit first."""
    units: dict[tuple[Shape, Shape], list[Cost]] = {}
    for jump, cost in zip(pairwise(profile.shapes), profile.units, strict=True):
        units.setdefault(jump, []).append(cost)
    n_coarse_units = sorted({n for _, _, n in profile.coarse})
    coarse = [f"F^j\nN_c={n}" if n else "F^j" for n in n_coarse_units]
    table = _table("from", "to", "units", "a unit", "C^j", *coarse)
    for (reads, returns), costs in units.items():
        table.add_row(
            *("×".join(map(str, shape)) for shape in (reads, returns)),
            str(len(costs)),
            _ms(sum(cost.total for cost in costs) / len(costs)),
            _ms(profile.interface_preprocess.get(reads, IMPOSSIBLE).total),
            *(_ms(profile.coarse.get((reads, returns, n), IMPOSSIBLE).total) for n in n_coarse_units),
        )
    return table


def asked_table(
    jobs: Iterable[Job],
    profile: CostProfile,
    seconds: Callable[..., float],
    n_devices: Mapping[int, int],
    where: str,
) -> Table:
    """A step of each way in which the plan tears a network; by N, ``n_devices`` it is computed on."""
    ways = {
        (job.tearing.sizes, job.config.n_coarse_units, job.config.n_iterations): job.config.partition
        for job in jobs
    }
    iterated = any(n_iterations > 1 for _, _, n_iterations in ways)
    columns = ["N", *["K"] * iterated, "N_c", "partition"]
    table = _table(*columns, "paper's sum", "critical path", "speed-up", where)
    for (sizes, n_coarse_units, n_iterations), partition in ways.items():
        costs = profile.step_costs(sizes, n_coarse_units, n_iterations)
        path = critical_path(costs)
        table.add_row(
            *(str(len(sizes)), *[str(n_iterations)] * iterated, str(n_coarse_units), partition),
            *(_ms(paper_sum(costs)), _ms(path), f"{serial_seconds(profile) / path:.2f}×"),
            _ms(seconds(costs, n_cores=n_devices[len(sizes)])),
        )
    return table


def choices_table(profile: CostProfile, choices: Iterable[Choice]) -> Table:
    """What :func:`recommend` says, by the number of devices that it takes: N and the driver's."""
    table = _table("devices", "N", "partition", "step", "speed-up")
    table.add_row("1", "1", "–", _ms(serial_seconds(profile)), "1.00×")
    for seconds, n, partition in choices:
        speed_up = f"{serial_seconds(profile) / seconds:.2f}×"
        table.add_row(str(n + 1), str(n), partition, _ms(seconds), speed_up)
    return table


def _n_used(job: Job, there: int, options: Options) -> int:
    """Of the devices there are, how many a gang of the trial's N computes on."""
    if not job.resources.gpus:
        return there
    needed = n_gpus(
        job.config.n_subnetworks,
        "parareal",
        driver_shares_gpu=options.driver_shares_gpu,
        gpus_per_actor=options.gpus_per_actor,
    )
    return min(there, needed)


def _n_coarse_units(config: TrialConfig) -> Callable[[int], int]:
    """N_c for other N: by the paper's rule where the trial follows it, else the trial's own."""
    if config.n_coarse_units == paper_n_coarse_units(config.n_subnetworks):
        return paper_n_coarse_units
    return lambda n_subnetworks: config.n_coarse_units


def _heading(text: str) -> Text:
    return Text(f"\n{text}\n", "bold")


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.2f}" if math.isfinite(seconds) else "–"


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE, padding=0, show_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column in ("from", "to", "partition") else "right")
    return table
