"""What a training step really takes, against the untorn network and against the critical path.

    python -m benchmarks.step_time                   ResNet-164, N = 2 and 3, on this machine's cores

Gangs take turns, each started anew for an epoch to get warm and one that counts: the untorn network on
one core and on all, as many untorn networks at once as there are cores, which shows how much those bring
at all, what else they can do with one network (data parallel, pipelines), and the torn ones by every
partition. The forecast of their speed-up is that of ``--dry-run`` (:mod:`models.ways`), from costs on one
core and from how much longer as many untorn networks as a gang has actors take when they are trained at once.

The critical path follows from what components cost, and is played through on the cores there are. Costs are
taken in two ways: processor time in these very steps, and time alone on the machine, right after. No schedule
on so many cores is shorter than the processor time of all actors divided by them. A machine's speed drifts,
so ratios are formed within a round. Memory is what training has added to each process.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from math import prod
from statistics import mean, median, quantiles

import pandas as pd
import ray
import torch

from benchmarks.gang_steps import in_ms, run_gang
from models.cost_profile import CostProfile, Shares
from models.footprint import Footprint
from models.profiling import measure_profile
from models.schedules import gang_seconds
from models.simulation import Machine
from models.step_time import Cost, StepCosts
from models.tearing import interface_factories, paper_n_coarse_units, plan_tearing
from models.timing import step_costs, time_components
from models.ways import PIPELINES as NAMES
from models.ways import Interfaces, Way, Ways
from orchestrator import cluster
from orchestrator.actors.actor import EpochReport
from orchestrator.config import PIPELINES, Strategy, Sweep, TrialConfig
from orchestrator.data.datasets import load_dataset
from orchestrator.devices import GangResources, gang_resources, local_devices
from orchestrator.plan import describe, tear_as_asked
from orchestrator.trial import Job

MIB = 2**20
SERIAL = "serial, 1 core"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--depth", type=int, default=164)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--n-subnetworks", type=int, nargs="+", default=[2, 3])
    parser.add_argument("--partition", nargs="+", default=["uniform", "balanced", "staggered"])
    parser.add_argument(
        "--coarse", choices=["units", "shortcut"], default="units", help="shortcut: with stem"
    )
    parser.add_argument("--channels-last", action="store_true", help="of all sides")
    parser.add_argument("--strategy", nargs="*", default=["data_parallel", "gpipe", "1f1b"])
    parser.add_argument("--n-replicas", type=int, nargs="*", default=[], help="of N = the least asked for")
    parser.add_argument("--steps", type=int, default=20, help="in each epoch")
    parser.add_argument("--rounds", type=int, default=8)
    asked = parser.parse_args()
    images = load_dataset(f"synthetic:3x32x32x10x{asked.batch_size * asked.steps}", validation_subset=10)
    available = local_devices()
    cluster.connect(None)
    preprocess = "stem" if asked.coarse == "shortcut" else "strided"  # what it is accurate with

    def config(n: int, partition: str, strategy: Strategy = "parareal", n_replicas: int = 1) -> TrialConfig:
        sweep = Sweep(
            n_subnetworks=(n,),
            dataset=(images.name,),
            seed=(0,),
            depth=(asked.depth,),
            width=(asked.width,),
            batch_size=(asked.batch_size,),
            partition=(partition,),
            preprocess=(preprocess,),
            coarse=(asked.coarse,),
            strategy=(strategy,),
            n_replicas=(n_replicas,),
            channels_last=(asked.channels_last,),
        )
        return sweep.trials()[0]

    compute = config(1, "uniform").compute(torch.device("cpu"))
    network = describe(config(1, "uniform"), images)

    factories = interface_factories(network, preprocess=preprocess, coarse=asked.coarse)

    @ray.remote(num_cpus=1, max_calls=1)
    def measure_costs(n_coarse_units: list[int], batch_size: int) -> CostProfile:
        torch.set_num_threads(1)
        before, between = factories
        return measure_profile(
            network,
            preprocess=before,
            coarse=between,
            n_coarse_units=n_coarse_units,
            batch_size=batch_size,
            compute=compute,
        )

    @ray.remote(num_cpus=1, max_calls=1)
    def measure_components(job: Job) -> list[StepCosts]:
        torch.set_num_threads(1)
        return step_costs(
            time_components(job.tearing, batch_size=asked.batch_size, compute=compute, repeats=3)
        )

    n_coarse_units = [config(n, "uniform").n_coarse_units for n in asked.n_subnetworks]
    sizes = [asked.batch_size // part for part in (1, 2, 4, 8) if asked.batch_size >= 2 * part]
    shares = Shares({size: ray.get(measure_costs.remote(n_coarse_units, size)) for size in sizes})
    profile = shares.at(asked.batch_size)
    serial = config(1, "uniform", "serial")
    cores = int(available.cpus)
    jobs = {
        f"serial, {n} core{'s'[: n > 1]}": Job(
            serial, plan_tearing(network), GangResources(1, "cpu", cpus=n, gpus=0.0)
        )
        for n in (1, cores)
    }
    for strategy in asked.strategy:
        other = config(cores, "balanced" if strategy in PIPELINES else "uniform", strategy)
        resources = GangResources(cores, "cpu", cpus=1, gpus=0.0)
        jobs[f"{strategy}, {cores} cores"] = Job(other, tear_as_asked(other, network, profile), resources)
    for n in asked.n_subnetworks:
        for partition in asked.partition:
            torn = config(n, partition)
            tearing = tear_as_asked(torn, network, profile)
            resources = gang_resources(n, devices="cpu", cpus_per_actor=None, available=available)
            jobs[f"N = {n}, {partition} {'+'.join(map(str, tearing.sizes))}"] = Job(torn, tearing, resources)
    for d in asked.n_replicas:
        n = min(asked.n_subnetworks)
        torn = config(n, "staggered", n_replicas=d)
        tearing = tear_as_asked(torn, network, profile)
        resources = gang_resources(n, devices="cpu", cpus_per_actor=None, available=available, n_replicas=d)
        jobs[f"{d} replicas of N = {n}, {'+'.join(map(str, tearing.sizes))}"] = Job(torn, tearing, resources)

    at_once = {
        n: Job(
            serial, jobs[SERIAL].tearing, GangResources(1, "cpu", cpus=int(100 * cores / n) / 100, gpus=0.0)
        )
        for n in sorted({cores, *(job.resources.n_actors for job in jobs.values())} - {1})
    }
    run = partial(run_gang, images=images, epochs=2)
    rounds: dict[str, list[Round]] = defaultdict(list)
    for _ in range(asked.rounds):
        for n, job in at_once.items():
            with ThreadPoolExecutor(n) as pool:
                each = list(pool.map(run, [job] * n))
            rounds[_several(n)].append(
                Round({f"network-{i}": one["network"] for i, one in enumerate(each)}, n)
            )
        for name, job in jobs.items():
            reports = run(job)
            measured = job.config.strategy == "parareal" and job.config.n_replicas == 1
            alone = ray.get(measure_components.remote(job)) if measured else []
            rounds[name].append(Round(reports, alone=alone))
            print(f"{name}: {in_ms(rounds[name][-1].steps)} ms", flush=True)
    cluster.disconnect()
    print_table(steps_row(name, rounds[name], rounds[SERIAL]) for name in (*jobs, *map(_several, at_once)))
    n_coarse = (lambda n: 0) if asked.coarse == "shortcut" else paper_n_coarse_units
    kind = Interfaces(asked.coarse, shares, Footprint(network, *factories, compute), n_coarse)
    ways = {}
    for n in at_once:
        crowding = crowding_of(rounds[_several(n)], rounds[SERIAL], cores)
        print(f"{_several(n)} take longer by {100 * crowding:.0f} %\n")
        ways[n] = Ways(asked.batch_size, (kind,), Machine(n_cores=cores, crowding=crowding))
    print_table(
        forecast_row(name, found.serial.seconds / way.seconds, rounds[name], rounds[SERIAL])
        for name, job in jobs.items()
        if (found := ways.get(job.resources.n_actors)) is not None
        and (way := way_of(job.config, found)) is not None
    )
    print_table(path_row(name, rounds[name], cores) for name in rounds if rounds[name][0].alone)
    whole = peak_memory(rounds[SERIAL])
    for name, job in jobs.items():
        if rounds[name][0].alone:
            n, shape = job.config.n_subnetworks, job.tearing.shape
            least = sum(prod(shape(j + 1)) for j in range(1, n + 1)) * 2 * 4 * asked.batch_size
            memory = peak_memory(rounds[name]) * n / whole
            sent = bytes_sent(rounds[name]) / least
            print(f"{name}: memory × N / serial {memory:.2f}, sent / least {sent:.4f}")


@dataclass(frozen=True)
class Round:
    """A gang's turn.

    Attributes:
        reports: by part.
        copies: networks that are trained at once.
        alone: what the components cost right after, with nothing else on the machine.
    """

    reports: dict[str, EpochReport]
    copies: int = 1
    alone: list[StepCosts] = field(default_factory=list)

    @property
    def steps(self) -> list[float]:
        """Seconds of each step, of the actor that is done last; the driver's first ends too soon."""
        return max(self.reports.values(), key=lambda report: report.seconds).step_seconds

    @property
    def processor_seconds(self) -> float:
        """Processor time of a step, of all actors."""
        return sum(report.processor_seconds for report in self.reports.values())

    @property
    def outside_components(self) -> float:
        """Of these, what was no component's: messages, copies, Ray's threads."""
        return self.processor_seconds - sum(
            seconds
            for report in self.reports.values()
            for activity, seconds in report.processor_activities.items()
            if not activity.endswith(".wait")
        )

    @property
    def in_step(self) -> StepCosts:
        """What the components cost in these steps, by their actors' processor time; g^j's includes C^j's."""
        driver = self.reports["driver"].processor_activities
        subnetworks = [self.reports[part].processor_activities for part in self.reports if part != "driver"]
        n = len(subnetworks)
        coarse = Cost(driver["coarse_network.forward"] / (n - 1), driver["coarse_network.backward"] / (n - 1))
        return StepCosts(
            preprocess=(Cost(0.0, 0.0),) * n,
            subnetworks=tuple(
                Cost(each["subnetwork.forward"], each["subnetwork.backward"]) for each in subnetworks
            ),
            coarse_network=(coarse,) * (n - 1),
            postprocess=Cost(driver["postprocess.forward"], driver["postprocess.backward"]),
            optimizers=(
                *(each["subnetwork.optimizer"] for each in subnetworks),
                driver["driver.optimizer"],
            ),
        )


def _several(n: int) -> str:
    return f"{n} serial networks at once"


def crowding_of(several: list[Round], one: list[Round], cores: int) -> float:
    """By how much of its time a network takes longer beside others, beyond its share of the cores."""
    return median(
        min(1.0, cores / a.copies) * median(a.steps) / median(b.steps) - 1
        for a, b in zip(several, one, strict=True)
    )


def steps_row(name: str, rounds: list[Round], serial: list[Round]) -> dict[str, object]:
    """How long the steps of a gang took, and what they took."""
    every = [step for each in rounds for step in each.steps]
    faster = [b.copies * median(a.steps) / median(b.steps) for a, b in zip(serial, rounds, strict=True)]
    return {
        "": name,
        "step (ms, IQR)": in_ms(every),
        "n": len(every),
        "speed-up (IQR)": spread(faster),
        "processor time (ms)": f"{1e3 * median(each.processor_seconds for each in rounds):.0f}",
        "memory (MiB)": f"{peak_memory(rounds) / MIB:.0f}",
        "sent (MiB)": f"{bytes_sent(rounds) / MIB:.2f}",
    }


def way_of(config: TrialConfig, ways: Ways) -> Way | None:
    """The forecast of what a trial does; there is none of threads."""
    n = config.n_subnetworks
    if config.strategy == "data_parallel":
        return ways.data_parallel(n)
    if config.strategy in PIPELINES:
        names: dict[str, str] = {schedule: name for name, schedule in NAMES.items()}
        return ways.pipeline(names[config.strategy], n, config.n_microbatches)
    if config.n_replicas > 1:
        return ways.replicas(ways.interfaces[0], config.n_replicas, n)
    return ways.parareal(ways.interfaces[0], config.partition, n) if n > 1 else None


def forecast_row(name: str, speed_up: float, rounds: list[Round], serial: list[Round]) -> dict[str, object]:
    """How near the forecast is; ratios are formed within a round."""
    faster = [median(a.steps) / median(b.steps) for a, b in zip(serial, rounds, strict=True)]
    return {
        "": name,
        "forecast of the speed-up": f"{speed_up:.2f}",
        "speed-up (IQR)": spread(faster),
        "step / forecast (IQR)": spread(speed_up / one for one in faster),
    }


def path_row(name: str, rounds: list[Round], cores: int) -> dict[str, object]:
    """A torn gang's steps beside the critical path on ``cores`` cores."""
    on_cores = partial(gang_seconds, machine=Machine(n_cores=cores))
    ways = {
        "path, in these steps": [on_cores(each.in_step) for each in rounds],
        "path, alone": [median(map(on_cores, each.alone)) for each in rounds],
        "processor time / cores": [each.processor_seconds / cores for each in rounds],
    }
    row: dict[str, object] = {"": name}
    for way, seconds in ways.items():
        row[f"{way} (ms)"] = in_ms(seconds)
        # The actors report means over the epoch.
        row[f"step / {way}"] = spread(mean(a.steps) / b for a, b in zip(rounds, seconds, strict=True))
    return row


def peak_memory(rounds: list[Round]) -> int:
    """Bytes of the largest actor but the driver."""
    reports = rounds[-1].reports
    return max(report.peak_memory_bytes for part, report in reports.items() if part != "driver")


def bytes_sent(rounds: list[Round]) -> float:
    """Bytes that all actors send in a step."""
    return sum(report.bytes_sent for report in rounds[-1].reports.values())


def print_table(rows: Iterable[dict[str, object]]) -> None:
    """Print rows as Markdown."""
    print(pd.DataFrame(rows).fillna("").to_markdown(index=False, disable_numparse=True), end="\n\n")


def spread(ratios: Iterable[float]) -> str:
    """Median and interquartile range of the rounds' ratios, for the table."""
    low, middle, high = quantiles(ratios, n=4)
    return f"{middle:.2f} ({high - low:.2f})"


if __name__ == "__main__":
    main()
