"""What --dry-run predicts: what components cost, how long a step takes, what D devices would bring."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from math import isfinite, nan
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.console import RenderableType
from rich.text import Text

from models.cost_profile import IMPOSSIBLE, CostProfile
from models.feedforward import Shape
from models.footprint import Footprint
from models.schedules import gang_seconds
from models.simulation import Machine
from models.step_time import Cost, critical_path, paper_sum
from models.tearing import interface_factories, paper_n_coarse_units
from models.ways import Interfaces, Way, Ways
from orchestrator.config import TORN, Options, TrialConfig
from orchestrator.costs import Costs, key_of
from orchestrator.devices import n_gpus
from orchestrator.plan import Plan, distinct
from orchestrator.storage.files import expanded
from orchestrator.terminal import Rows
from orchestrator.trial import Job

DEVICES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
"""Numbers of devices that are considered, beside the number that there are."""
SHOWN = (2, 4, 8, 16, 32, 64)
"""Of these, which have a column."""

COARSE = {"units": "paper's F", "shortcut": "shortcut"}
"""F^j in words; both are considered, whatever is asked."""


def forecast(plan: Plan, costs: Costs, options: Options) -> list[RenderableType]:
    """For each network of the plan: its components, a step as asked, and what so many devices would buy.

    What ``costs`` does not hold yet is measured.
    """
    asked: dict[str, dict[str, list[Job]]] = defaultdict(lambda: defaultdict(list))
    for job in distinct(plan.jobs):
        if job.config.strategy in TORN and job.config.n_subnetworks > 1 and job.config.n_replicas == 1:
            kinds = asked[_key(job, preprocess="auto", coarse="units")]
            kinds[_key(job)].append(job)
    parts: list[RenderableType] = []
    for kinds in asked.values():
        interfaces = []
        of_coarse = Counter(jobs[0].config.coarse for jobs in kinds.values())
        for jobs in kinds.values():
            config = jobs[0].config
            several = f" with {config.preprocess}" * (of_coarse[config.coarse] > 1)
            n_coarse_units = {job.config.n_coarse_units for job in jobs}
            kind = _interfaces(jobs[0], costs, n_coarse_units, COARSE[config.coarse] + several)
            interfaces.append(kind)
            parts += _as_asked(jobs, plan, kind.shares.at(config.batch_size), options)
        for coarse in COARSE.keys() - of_coarse:
            other = replace(
                jobs[0], config=replace(config, coarse=coarse, preprocess="auto", n_coarse_units=0)
            )
            interfaces.append(_interfaces(other, costs, (), COARSE[coarse]))
        jobs = [job for jobs in kinds.values() for job in jobs]
        parts += _what_devices_buy(jobs, plan, options, interfaces)
    return parts


def serial_seconds(profile: CostProfile) -> float:
    """A step of the network in one piece."""
    return critical_path(profile.step_costs((profile.n_units,), 1))


def _key(job: Job, **changes: Any) -> str:
    return key_of(replace(job.config, **changes), job.tearing.network, job.resources)


# A step as asked


def _as_asked(
    jobs: Sequence[Job], plan: Plan, profile: CostProfile, options: Options
) -> list[RenderableType]:
    config, resources = jobs[0].config, jobs[0].resources
    there = _n_devices(plan, jobs[0])
    where = f"on {there} {'GPUs' if resources.gpus else 'cores'}"
    if 0 < resources.gpus < 1:
        where = f"{resources.gpus:g} GPU each"
    used = {job.config.n_subnetworks: _n_used(job, there, options) for job in jobs}
    name, ends = jobs[0].tearing.network.name, (profile.preprocess, profile.postprocess)
    return [
        _heading(
            f"{name}, batch {config.batch_size} on {resources.device}: what components cost, in ms forth and "
            "back; C {}, h {}".format(*(_ms(cost.total) for cost in ends))
        ),
        components_table(profile),
        _heading(f"A step as asked, in ms; N = 1: {_ms(serial_seconds(profile))}"),
        asked_table(jobs, profile, _machine(options), used, where),
    ]


def components_table(profile: CostProfile) -> Rows:
    """What components cost: a row for each pair of shapes that units lead between, first unit first."""
    units: dict[tuple[Shape, Shape], list[Cost]] = {}
    for jump, cost in zip(pairwise(profile.shapes), profile.units, strict=True):
        units.setdefault(jump, []).append(cost)
    n_coarse_units = sorted({n for _, _, n in profile.coarse})
    columns = {"units from to": "", "how many": "{} of them", "each": "{} each", "C^j": "C^j {}"}
    columns |= {
        f"F^j\nN_c={n}" if n else "F^j": f"F^j {{}}{f' for N_c = {n}' * (n > 0)}" for n in n_coarse_units
    }
    cells = [
        (
            " → ".join("×".join(map(str, shape)) for shape in (reads, returns)),
            str(len(costs)),
            _ms(sum(cost.total for cost in costs) / len(costs)),
            _ms(profile.interface_preprocess.get(reads, IMPOSSIBLE).total),
            *(_ms(profile.coarse.get((reads, returns, n), IMPOSSIBLE).total) for n in n_coarse_units),
        )
        for (reads, returns), costs in units.items()
    ]
    return Rows(columns, cells)


def asked_table(
    jobs: Iterable[Job], profile: CostProfile, machine: Machine, n_devices: Mapping[int, int], where: str
) -> Rows:
    """A step of each way in which the plan tears a network; by N, ``n_devices`` it is computed on."""
    ways = {
        (job.tearing.sizes, job.config.n_coarse_units, job.config.n_iterations): job.config.partition
        for job in jobs
    }
    columns = {
        "partition": "",
        "N_c": "N_c = {}",
        "paper's\nsum": "paper's sum {}",
        "critical\npath": "critical path {}",
        "speed-up": "speed-up {}",
        where: f"{{}} {where}",
    }
    cells = []
    for (sizes, n_coarse_units, n_iterations), partition in ways.items():
        costs = profile.step_costs(sizes, n_coarse_units, n_iterations)
        path = critical_path(costs)
        iterated = f", K = {n_iterations}" * (n_iterations > 1)
        here = replace(machine, n_cores=n_devices[len(sizes)])
        cells.append(
            (
                f"N = {len(sizes)}{iterated}, {partition}",
                str(n_coarse_units),
                *(_ms(paper_sum(costs)), _ms(path), f"{serial_seconds(profile) / path:.2f}×"),
                _ms(gang_seconds(costs, here)),
            )
        )
    return Rows(columns, cells)


def _n_devices(plan: Plan, job: Job) -> int:
    return int(plan.available.gpus if job.resources.gpus else plan.available.cpus)


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


# What D devices buy


def _what_devices_buy(
    jobs: Sequence[Job], plan: Plan, options: Options, interfaces: Sequence[Interfaces]
) -> list[RenderableType]:
    config, there = jobs[0].config, _n_devices(plan, jobs[0])
    ways = Ways(
        config.batch_size,
        tuple(interfaces),
        _machine(options),
        config.compute(torch.device("cpu")).weight_dtype.itemsize,
        2 if config.optimizer == "adamw" else int(config.momentum > 0),
        tuple(sorted({1, *(job.config.n_iterations for job in jobs)})),
    )
    found = [way for d in sorted({*DEVICES, there} - {0}) for way in ways.on(d)]
    if options.forecast is not None:
        name = f"{jobs[0].tearing.network.name}-batch-{config.batch_size}"
        _write(found, ways.serial, expanded(options.forecast), name)
    return [
        _heading(
            f"What D devices buy: how many times as fast as on one ({_ms(ways.serial.seconds)} ms), with "
            f"links of {options.link_bandwidth:g} GB/s and {options.link_latency:g} µs"
        ),
        speed_up_table(found, ways.serial, there),
        _heading("Each way at its fastest; of one device, of the busiest, what it holds and sends in a step"),
        best_table(found),
        Text(f"\n{results_text(found)}"),
    ]


def speed_up_table(ways: Iterable[Way], serial: Way, there: int) -> Rows:
    """Ways down, numbers of devices across."""
    numbers = sorted({*SHOWN, there} - {0, 1})
    cells = []
    for name, by_number in _by_name(way for way in ways if way.n_devices in numbers).items():
        speed_ups = (serial.seconds / by_number[d].seconds if d in by_number else nan for d in numbers)
        cells.append((name, *(f"{one:.2f}×" if isfinite(one) else "–" for one in speed_ups)))
    return Rows({"": ""} | {f"D = {d}": f"{{}} on {d}" for d in numbers}, cells)


def best_table(ways: Iterable[Way]) -> Rows:
    """Of each way the number of devices with the shortest step."""
    columns = {
        "": "",
        "devices": "D = {}",
        "of them": "{}",
        "step\n(ms)": "a step of {} ms",
        "memory\n(MiB)": "{} MiB of memory",
        "sent\n(MiB)": "{} MiB sent",
    }
    cells = []
    for name, by_number in _by_name(ways).items():
        best = min(by_number.values(), key=lambda way: way.seconds)
        sizes = (f"{size / 2**20:.0f}" for size in (best.memory_bytes, best.sent_bytes))
        cells.append((name, str(best.n_devices), best.how, _ms(best.seconds), *sizes))
    return Rows(columns, cells, left=["of them"])


def results_text(ways: Iterable[Way]) -> str:
    """What each way trains."""
    results: dict[str, list[str]] = defaultdict(list)
    for name, by_number in _by_name(ways).items():
        results[next(iter(by_number.values())).result].append(name.split(",")[0])
    return "\n".join(f"{', '.join(dict.fromkeys(names))}: {result}." for result, names in results.items())


def _by_name(ways: Iterable[Way]) -> dict[str, dict[int, Way]]:
    """By name and number of devices."""
    found: dict[str, dict[int, Way]] = defaultdict(dict)
    for way in ways:
        found[way.name][way.n_devices] = way
    return found


def _write(ways: Sequence[Way], serial: Way, folder: Path, network: str) -> None:
    """All numbers, and the figure."""
    from analysis.devices import draw_devices  # long to import: for those who ask for it

    folder.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(ways, columns=Way._fields).assign(
        speed_up=[serial.seconds / way.seconds for way in ways]
    )
    frame.to_csv(folder / f"{network}.csv", index=False)
    draw_devices({network: frame}).savefig(folder / f"{network}.png", dpi=150)


def _interfaces(job: Job, costs: Costs, n_coarse_units: Collection[int], name: str) -> Interfaces:
    """The trial's C^j and F^j, and what they cost with the whole batch and its parts."""
    config, network = job.config, job.tearing.network
    follow = _n_coarse_units(config)
    shares = costs.shares(
        config,
        network,
        job.resources,
        {*n_coarse_units, *map(follow, range(2, max(DEVICES)))},
        _share_sizes(job),
    )
    factories = interface_factories(network, preprocess=config.preprocess, coarse=config.coarse)
    return Interfaces(
        name, shares, Footprint(network, *factories, config.compute(torch.device("cpu"))), follow
    )


def _share_sizes(job: Job) -> list[int]:
    """The batch, its half, its quarter, … as far as so many devices share it and it can be trained on."""
    least = max(1, job.config.batch_size // max(DEVICES))
    if least == 1:
        try:
            job.tearing.check_batch(1)
        except ValueError:  # BatchNorm of one pixel
            least = 2
    sizes = [job.config.batch_size]
    while sizes[-1] // 2 >= least:
        sizes.append(sizes[-1] // 2)
    return sizes


def _n_coarse_units(config: TrialConfig) -> Callable[[int], int]:
    """N_c for other N: by the paper's rule where the trial follows it, else the trial's own."""
    if config.coarse != "shortcut" and config.n_coarse_units in (
        0,
        paper_n_coarse_units(config.n_subnetworks),
    ):
        return paper_n_coarse_units
    return lambda n_subnetworks: 0 if config.coarse == "shortcut" else config.n_coarse_units


def _machine(options: Options) -> Machine:
    """A device for every actor, with the links that were stated."""
    return Machine(bandwidth=1e9 * options.link_bandwidth, latency=1e-6 * options.link_latency)


def _heading(text: str) -> Text:
    return Text(f"\n{text}\n", "bold")


def _ms(seconds: float) -> str:
    """Three digits."""
    ms = 1e3 * seconds
    if not isfinite(ms):
        return "–"
    return f"{ms:.0f}" if ms >= 99.95 else f"{ms:.1f}" if ms >= 9.995 else f"{ms:.2f}"
