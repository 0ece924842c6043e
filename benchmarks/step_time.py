"""What a training step really takes, against the untorn network and against the critical path.

    python -m benchmarks.step_time                   ResNet-164, N = 2 and 3, on this machine's cores

Gangs take turns, each started anew for one epoch to get warm and one that counts: the untorn network on
one core and on all, what else those cores can do with it (data parallel, pipelines), and the torn ones by
every partition. The critical path follows from component times, taken in three ways: right after, alone
on one core, and side by side with as many such measurements as there are cores, and by the actors in these
very steps. It is played through on the cores there are. A machine's speed drifts, so ratios are formed
within a round. Memory is what training has added to each process. Where there are fewer cores than actors,
no step can be shorter than the processor time of all its actors shared among the cores.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod
from statistics import mean, median, quantiles

import pandas as pd
import ray
import torch

from benchmarks.gang_steps import Turn, in_ms, run_gang
from models.cost_profile import measure_profile
from models.step_time import Cost, StepCosts, critical_path
from models.tearing import interface_factories, plan_tearing
from models.timing import step_costs, time_components
from orchestrator import cluster
from orchestrator.config import PIPELINES, Strategy, Sweep, TrialConfig
from orchestrator.data.datasets import load_dataset
from orchestrator.devices import GangResources, gang_resources, local_devices
from orchestrator.forecast import step_seconds
from orchestrator.plan import describe, tear_as_asked
from orchestrator.trial import Job

MIB = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--depth", type=int, default=164)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--n-subnetworks", type=int, nargs="+", default=[2, 3])
    parser.add_argument("--partition", nargs="+", default=["uniform", "balanced", "staggered"])
    parser.add_argument(
        "--coarse", choices=["units", "shortcut"], default="units", help="shortcut: with stem"
    )
    parser.add_argument("--channels-last", action="store_true", help="of all sides")
    parser.add_argument("--strategy", nargs="*", default=["data_parallel", "gpipe", "1f1b"])
    parser.add_argument("--steps", type=int, default=5, help="in each round")
    parser.add_argument("--rounds", type=int, default=8)
    asked = parser.parse_args()
    images = load_dataset(f"synthetic:3x32x32x10x{asked.batch_size * asked.steps}", validation_subset=10)
    available = local_devices()
    cluster.connect(None)
    preprocess = "stem" if asked.coarse == "shortcut" else "strided"  # what it is accurate with

    def config(n: int, partition: str, strategy: Strategy = "parareal") -> TrialConfig:
        sweep = Sweep(
            n_subnetworks=(n,),
            dataset=(images.name,),
            seed=(0,),
            depth=(asked.depth,),
            width=(16,),
            batch_size=(asked.batch_size,),
            partition=(partition,),
            preprocess=(preprocess,),
            coarse=(asked.coarse,),
            strategy=(strategy,),
            channels_last=(asked.channels_last,),
        )
        return sweep.trials()[0]

    compute = config(1, "uniform").compute(torch.device("cpu"))
    network = describe(config(1, "uniform"), images)

    @ray.remote(num_cpus=1, max_calls=1)
    def measure_costs(n_coarse_units: list[int]):
        torch.set_num_threads(1)
        before, between = interface_factories(network, preprocess=preprocess, coarse=asked.coarse)
        return measure_profile(
            network,
            preprocess=before,
            coarse=between,
            n_coarse_units=n_coarse_units,
            batch_size=asked.batch_size,
            compute=compute,
        )

    @ray.remote(num_cpus=1, max_calls=1)
    def measure_components(job: Job) -> list[StepCosts]:
        torch.set_num_threads(1)
        return step_costs(
            time_components(job.tearing, batch_size=asked.batch_size, compute=compute, repeats=3)
        )

    n_coarse_units = [config(n, "uniform").n_coarse_units for n in asked.n_subnetworks]
    profile = ray.get(measure_costs.remote(n_coarse_units))
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

    rounds: dict[str, list[Round]] = defaultdict(list)
    for _ in range(asked.rounds):
        for name, job in jobs.items():
            turn = run_gang(job, images, epochs=2)
            measured: list[list[StepCosts]] = []
            if job.config.strategy == "parareal":
                for copies in (1, cores):
                    calls = [measure_components.remote(job) for _ in range(copies)]
                    measured.append([costs for call in ray.get(calls) for costs in call])
            rounds[name].append(Round(turn, *measured))
            print(f"{name}: {in_ms(rounds[name][-1].steps)} ms", flush=True)
    cluster.disconnect()
    print_table(steps_row(name, each, next(iter(rounds.values()))) for name, each in rounds.items())
    print_table(path_row(name, rounds[name], cores) for name in rounds if rounds[name][0].alone)
    whole = peak_memory(rounds["serial, 1 core"])
    for name, job in jobs.items():
        if job.config.strategy == "parareal":
            n, shape = job.config.n_subnetworks, job.tearing.shape
            least = sum(prod(shape(j + 1)) for j in range(1, n + 1)) * 2 * 4 * asked.batch_size
            memory = peak_memory(rounds[name]) * n / whole
            sent = bytes_sent(rounds[name]) / least
            print(f"{name}: memory × N / serial {memory:.2f}, sent / least {sent:.4f}")


@dataclass(frozen=True)
class Round:
    """A gang's turn, and what the torn one's components cost right after.

    Attributes:
        turn: what the gang reports.
        alone: with nothing else on the machine.
        side_by_side: with every core at work on components.
    """

    turn: Turn
    alone: list[StepCosts] = field(default_factory=list)
    side_by_side: list[StepCosts] = field(default_factory=list)

    @property
    def steps(self) -> list[float]:
        """Seconds of each step, of the actor that is done last; the driver's first ends too soon."""
        return max(self.turn.reports.values(), key=lambda report: report.seconds).step_seconds

    @property
    def in_step(self) -> StepCosts:
        """What the components cost in these steps, by their actors' clocks; g^j's includes C^j's."""
        driver = self.turn.reports["driver"].activities
        subnetworks = [report.activities for part, report in self.turn.reports.items() if part != "driver"]
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


def steps_row(name: str, rounds: list[Round], serial: list[Round]) -> dict[str, object]:
    """How long the steps of a gang took, and what they took."""
    every = [step for each in rounds for step in each.steps]
    faster = [median(a.steps) / median(b.steps) for a, b in zip(serial, rounds, strict=True)]
    return {
        "": name,
        "step (ms, IQR)": in_ms(every),
        "n": len(every),
        "speed-up (IQR)": spread(faster),
        "processor time (ms)": f"{1e3 * median(each.turn.processor_seconds for each in rounds):.0f}",
        "memory (MiB)": f"{peak_memory(rounds) / MIB:.0f}",
        "sent (MiB)": f"{bytes_sent(rounds) / MIB:.2f}",
    }


def path_row(name: str, rounds: list[Round], cores: int) -> dict[str, object]:
    """A torn gang's steps beside the critical path on ``cores`` cores, by components timed in three ways."""

    def played(measured: Iterable[list[StepCosts]]) -> list[float]:
        return [median(step_seconds(costs, n_cores=cores) for costs in each) for each in measured]

    ways = {
        "alone": played(each.alone for each in rounds),
        "side by side": played(each.side_by_side for each in rounds),
        # Not a path: what no schedule can go below.
        "processor time": [each.turn.processor_seconds / cores for each in rounds],
    }
    if len(rounds[0].turn.reports) - 1 <= cores:
        # Actors that share a core interrupt each other: there their own times tell nothing.
        ways["in these steps"] = [critical_path(each.in_step) for each in rounds]
    row: dict[str, object] = {"": name}
    for way, paths in ways.items():
        # Actors report means over an epoch, so there it is the steps' mean that compares.
        average = mean if way in ("in these steps", "processor time") else median
        row[f"{way} (ms)"] = in_ms(paths)
        row[f"step / {way}"] = spread(average(a.steps) / b for a, b in zip(rounds, paths, strict=True))
    return row


def peak_memory(rounds: list[Round]) -> int:
    """Bytes of the largest actor but the driver."""
    reports = rounds[-1].turn.reports
    return max(report.peak_memory_bytes for part, report in reports.items() if part != "driver")


def bytes_sent(rounds: list[Round]) -> float:
    """Bytes that all actors send in a step."""
    return sum(report.bytes_sent for report in rounds[-1].turn.reports.values())


def print_table(rows: Iterable[dict[str, object]]) -> None:
    """Print rows as Markdown."""
    print(pd.DataFrame(rows).fillna("").to_markdown(index=False, disable_numparse=True), end="\n\n")


def spread(ratios: Iterable[float]) -> str:
    """Median and interquartile range of the rounds' ratios, for the table."""
    low, middle, high = quantiles(ratios, n=4)
    return f"{middle:.2f} ({high - low:.2f})"


if __name__ == "__main__":
    main()
