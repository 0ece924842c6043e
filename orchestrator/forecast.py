"""What --dry-run predicts: what components cost, how long a step takes, what more devices would bring."""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple

from rich import box
from rich.table import Table

from models.cost_profile import CostProfile
from models.feedforward import Shape
from models.partition import COST_PARTITIONS, PARTITIONS
from models.step_time import Cost, StepCosts, critical_path, paper_sum, simulate
from models.tearing import paper_n_coarse_units
from orchestrator.config import TORN, Options, TrialConfig
from orchestrator.costs import Costs
from orchestrator.plan import Plan, distinct
from orchestrator.trial import Job

DEVICES = (3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64)
"""Numbers of devices that are considered, beside the number that there are."""


class Choice(NamedTuple):
    """A way to tear a network, and the seconds of a step that it is predicted to take."""

    seconds: float
    n_subnetworks: int
    partition: str


def forecast(plan: Plan, costs: Costs, options: Options) -> list[Table]:
    """Three tables for each torn network of the plan: its components, its steps as asked, recommendations.

    What ``costs`` does not hold yet is measured.
    """
    families: dict[str, list[Job]] = {}
    for job in distinct(plan.jobs):
        if job.config.strategy in TORN and job.config.n_subnetworks > 1:
            key = costs.key(job.config, job.tearing.network, job.resources)
            families.setdefault(key, []).append(job)
    tables = []
    for jobs in families.values():
        config, network, resources = jobs[0].config, jobs[0].tearing.network, jobs[0].resources
        there = int(plan.available.gpus if resources.gpus else plan.available.cpus)
        ns = [n_devices - 1 for n_devices in sorted({*DEVICES, max(there, DEVICES[0])})]
        follow = _n_coarse_units(config)
        asked = {job.config.n_coarse_units for job in jobs}
        profile = costs.profile(config, network, resources, asked | {follow(n) for n in ns})
        linked = partial(
            step_seconds, bandwidth=1e9 * options.link_bandwidth, latency=1e-6 * options.link_latency
        )
        here = linked if resources.gpus else partial(linked, n_cores=there)
        links = f"links of {options.link_bandwidth:g} GB/s and {options.link_latency:g} µs"
        tables += [
            components_table(f"{network.name}, batch {config.batch_size}", profile),
            asked_table(jobs, profile, here, "with links" if resources.gpus else f"on {there} cores"),
            choices_table(profile, recommend(profile, ns, follow, linked), links),
        ]
    return tables


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
) -> Iterator[Choice]:
    """The best partition for each N at which a step is shorter than with all smaller ones, 1 included."""
    shortest = serial_seconds(profile)
    for n in ns:
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
            costs = profile.step_costs(sizes, n_coarse_units(n))
            if math.isfinite(critical_path(costs)):  # else there is no C^j or F^j for a cut
                choices.append(Choice(seconds(costs), n, partition))
        best = min(choices, default=None)
        if best and best.seconds < shortest:
            shortest = best.seconds
            yield best
