"""What --dry-run predicts: how long a step will take as asked, and how best to use more devices."""

import math
from dataclasses import replace

from rich import box
from rich.table import Table

from models.cost_profile import CostProfile
from models.partition import COST_PARTITIONS, PARTITIONS
from models.step_time import StepCosts, critical_path, paper_sum, simulate
from models.tearing import paper_n_coarse_units
from orchestrator.config import Options
from orchestrator.costs import Costs
from orchestrator.plan import Plan, distinct, sizes_text, tear_as_asked
from orchestrator.trial import Job

DEVICES = (3, 4, 8, 16, 32, 64)
"""Numbers of devices for which the best way to tear a network is sought."""


def forecast(plan: Plan, costs: Costs, options: Options) -> list[Table]:
    """Two tables for each torn network of the plan: its step as asked, and the best on more devices."""
    families: dict[tuple[object, ...], list[Job]] = {}
    for job in distinct(plan.jobs):
        config = job.config
        if config.strategy in ("parareal", "serial") and config.n_subnetworks > 1:
            key = (job.tearing.network.name, config.dataset, config.batch_size, config.preprocess)
            families.setdefault((*key, config.coarse, config.precision), []).append(job)
    return [
        table
        for jobs in families.values()
        for table in (
            _as_asked(jobs, plan, costs, options),
            _recommendation(jobs[0], costs, options),
        )
    ]


def step_seconds(
    costs: StepCosts, *, n_cores: int | None = None, bandwidth: float = math.inf, latency: float = 0.0
) -> float:
    """Simulated seconds a step, where one follows the other without a pause between them."""
    n_steps = 4
    return (
        simulate(costs, n_cores=n_cores, bandwidth=bandwidth, latency=latency, n_steps=n_steps)[-1].end
        / n_steps
    )


def _as_asked(jobs: list[Job], plan: Plan, costs: Costs, options: Options) -> Table:
    """Predictions for the plan's own trials, on the devices there are."""
    first = jobs[0]
    on_cores = first.resources.device == "cpu"
    n_cores = int(plan.available.cpus) if on_cores else None
    profile = _profile(first, costs, [job.config.n_coarse_units for job in jobs])
    serial = _serial(profile)
    table = _table(
        f"{first.tearing.network.name}, batch {first.config.batch_size}: predicted step, "
        f"{1e3 * serial:.1f} ms in one piece",
        ["N", "partition", "units", "paper's sum", "critical path", "speed-up"],
        f"on {n_cores} cores" if on_cores else "with links",
    )
    for job in jobs:
        step = profile.step_costs(job.tearing.sizes, job.config.n_coarse_units)
        path = critical_path(step)
        here = step_seconds(
            step,
            n_cores=n_cores,
            bandwidth=1e9 * options.link_bandwidth,
            latency=1e-6 * options.link_latency,
        )
        table.add_row(
            str(job.config.n_subnetworks),
            job.config.partition,
            sizes_text(job.tearing.sizes),
            f"{1e3 * paper_sum(step):.1f} ms",
            f"{1e3 * path:.1f} ms",
            f"{serial / path:.2f}×",
            f"{1e3 * here:.1f} ms",
        )
    return table


def _recommendation(job: Job, costs: Costs, options: Options) -> Table:
    """The N and partition with the shortest predicted step, by number of devices."""
    config, network = job.config, job.tearing.network
    links = f"{options.link_bandwidth:g} GB/s and {options.link_latency:g} µs"
    table = _table(f"best with links of {links}", ["devices", "N", "partition", "step", "speed-up"])
    follows_n = config.coarse == "units" and config.n_coarse_units == paper_n_coarse_units(
        config.n_subnetworks
    )
    ns = [n for n in range(2, max(DEVICES)) if n <= network.n_units]
    n_coarse_units = {n: paper_n_coarse_units(n) if follows_n else config.n_coarse_units for n in ns}
    profile = _profile(job, costs, set(n_coarse_units.values()))
    best: tuple[float, int, str] | None = None
    for n in ns:
        for partition in (*PARTITIONS, *COST_PARTITIONS):
            asked = replace(config, n_subnetworks=n, partition=partition, n_coarse_units=n_coarse_units[n])
            try:
                tearing = tear_as_asked(asked, network, profile)
            except ValueError:  # such as an uneven number that the paper's rule cannot share out
                continue
            seconds = step_seconds(
                profile.step_costs(tearing.sizes, n_coarse_units[n]),
                bandwidth=1e9 * options.link_bandwidth,
                latency=1e-6 * options.link_latency,
            )
            best = min(best, (seconds, n, partition)) if best else (seconds, n, partition)
        if best and n + 1 in DEVICES:
            seconds, n_best, partition = best
            table.add_row(
                str(n + 1),
                str(n_best),
                partition,
                f"{1e3 * seconds:.1f} ms",
                f"{_serial(profile) / seconds:.2f}×",
            )
    return table


def _profile(job: Job, costs: Costs, n_coarse_units: list[int] | set[int]) -> CostProfile:
    return costs.profile(job.config, job.tearing.network, job.resources, n_coarse_units)


def _serial(profile: CostProfile) -> float:
    """Seconds of a step of the untorn network."""
    return critical_path(profile.step_costs((profile.n_units,), 1))


def _table(title: str, columns: list[str], *more: str) -> Table:
    table = Table(title=title, box=box.SIMPLE, padding=0, show_edge=False)
    for column in (*columns, *more):
        table.add_column(column, justify="left" if column in ("partition", "units") else "right")
    return table
