"""What a training step really takes, against the untorn network and against the critical path.

    python -m benchmarks.step_time                   ResNet-164, N = 2 and 3, on this machine's cores

All gangs live at the same time and take turns, a few steps each: the untorn network on one core and on
all, what else those cores can do with it (data parallel, pipelines), and the torn ones by every
partition. The critical path follows from component times, once as the actors took them in these very
steps, and once as measured right after, alone on one core; the step is played through on the cores there
are. A machine's speed drifts, so ratios are formed within a round. Memory is what training has added to
each process. Where there are fewer cores than actors, no step can be shorter than the processor time of all
its actors shared among the cores.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable
from math import prod
from statistics import mean, median, quantiles

import pandas as pd
import ray
import torch

from benchmarks.gang_steps import in_ms, take_turns
from models.cost_profile import measure_profile
from models.step_time import Cost, StepCosts, critical_path
from models.tearing import interface_factories, plan_tearing
from models.timing import step_costs, time_components
from orchestrator import cluster
from orchestrator.actors.actor import EpochReport
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
    parser.add_argument("--steps", type=int, default=4, help="in each round; the first is left out")
    parser.add_argument("--rounds", type=int, default=10)
    asked = parser.parse_args()
    images = load_dataset(f"synthetic:3x32x32x10x{asked.batch_size * asked.steps}", validation_subset=10)
    available = local_devices()
    # More cores than there are: idle gangs wait beside the one whose turn it is.
    cluster.connect(None, cpus=64)
    preprocess = "stem" if asked.coarse == "shortcut" else "strided"  # what it is accurate with
    # Less than a core reserved: no core is locked by a gang that is not torn, while another has its turn.
    one_core = GangResources(1, "cpu", cpus=0.99, gpus=0.0)

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
        "serial, 1 core": Job(serial, plan_tearing(network), one_core),
        f"serial, {cores} cores": Job(
            serial, plan_tearing(network), GangResources(1, "cpu", cpus=available.cpus, gpus=0.0)
        ),
    }
    for strategy in asked.strategy:
        other = config(cores, "balanced" if strategy in PIPELINES else "uniform", strategy)
        resources = GangResources(cores, "cpu", cpus=0.99, gpus=0.0)
        jobs[f"{strategy}, {cores} cores"] = Job(other, tear_as_asked(other, network, profile), resources)
    for n in asked.n_subnetworks:
        for partition in asked.partition:
            torn = config(n, partition)
            tearing = tear_as_asked(torn, network, profile)
            resources = gang_resources(n, devices="cpu", cpus_per_actor=None, available=available)
            jobs[f"N = {n}, {partition} {'+'.join(map(str, tearing.sizes))}"] = Job(torn, tearing, resources)

    seconds: dict[str, list[list[float]]] = defaultdict(list)
    costs: dict[str, list[list[StepCosts]]] = defaultdict(list)
    busy: dict[str, list[StepCosts]] = defaultdict(list)
    used: dict[str, list[float]] = defaultdict(list)
    whole: dict[str, list[float]] = defaultdict(list)
    last: dict[str, dict[str, EpochReport]] = {}
    gangs = {name: take_turns(job, images, epochs=asked.rounds + 1) for name, job in jobs.items()}
    for gang in gangs.values():
        next(gang)  # the first epoch opens connections
    for _ in range(asked.rounds):
        for name, job in jobs.items():
            turn = next(gangs[name])
            last[name] = turn.reports
            used[name].append(turn.processor_seconds)
            lead = next(iter(last[name].values()))
            seconds[name].append(lead.step_seconds[1:])
            whole[name].append(mean(lead.step_seconds))  # as the actors' clocks: all steps, the first as well
            if job.config.strategy == "parareal":
                busy[name].append(costs_in(last[name]))
                costs[name].append(ray.get(measure_components.remote(job)))
            print(f"{name}: {in_ms(lead.step_seconds[1:])} ms", flush=True)
    for gang in gangs.values():
        gang.close()
    cluster.disconnect()

    one, *_ = steps = {name: list(map(median, rounds)) for name, rounds in seconds.items()}
    serial_memory = last[one]["network"].peak_memory_bytes
    rows = []
    for name, job in jobs.items():
        every = [step for each in seconds[name] for step in each]
        row = {"": name, "step (ms, IQR)": in_ms(every), "n": len(every)}
        row |= {"speed-up (IQR)": spread(a / b for a, b in zip(steps[one], steps[name], strict=True))}
        row |= {f"processor time / {cores} cores (ms)": f"{1e3 * median(used[name]) / cores:.1f}"}
        n = job.config.n_subnetworks
        reports = {part: r for part, r in last[name].items() if part != "driver"}
        memory = max(report.peak_memory_bytes for report in reports.values())
        row |= {"memory (MiB)": f"{memory / MIB:.0f}"}
        sent = sum(report.bytes_sent for report in last[name].values())
        row |= {"sent (MiB)": f"{sent / MIB:.2f}"}
        if job.config.strategy == "parareal":
            path = [median(map(critical_path, each)) for each in costs[name]]
            here = [median(step_seconds(c, n_cores=cores) for c in each) for each in costs[name]]
            # Actors that share a core interrupt each other: there their own times tell nothing.
            own = [critical_path(each) for each in busy[name]] if n <= cores else None
            least = sum(prod(job.tearing.shape(j + 1)) for j in range(1, n + 1)) * 2 * 4 * asked.batch_size
            row |= {
                "path (ms)": f"{1e3 * median(path):.1f}",
                f"path on {cores} cores (ms)": f"{1e3 * median(here):.1f}",
                "step / that (IQR)": spread(a / b for a, b in zip(steps[name], here, strict=True)),
                "path in these steps (ms)": f"{1e3 * median(own):.1f}" if own else "",
                "mean step / that (IQR)": spread(a / b for a, b in zip(whole[name], own, strict=True))
                if own
                else "",
                "memory × N / serial": f"{memory * n / serial_memory:.2f}",
                "sent / least": f"{sent / least:.4f}",
            }
        rows.append(row)
    print(pd.DataFrame(rows).fillna("").to_markdown(index=False, disable_numparse=True))


def costs_in(reports: dict[str, EpochReport]) -> StepCosts:
    """What the components cost in the steps of an epoch, by their actors' clocks; g^j's includes C^j's."""
    driver = reports["driver"].activities
    subnetworks = [report.activities for part, report in reports.items() if part != "driver"]
    n = len(subnetworks)
    coarse = Cost(driver.get("coarse_network.forward", 0.0), driver.get("coarse_network.backward", 0.0))
    return StepCosts(
        preprocess=(Cost(0.0, 0.0),) * n,
        subnetworks=tuple(
            Cost(each["subnetwork.forward"], each["subnetwork.backward"]) for each in subnetworks
        ),
        coarse_network=(Cost(coarse.forward / (n - 1), coarse.backward / (n - 1)),) * (n - 1),
        postprocess=Cost(driver["postprocess.forward"], driver["postprocess.backward"]),
        optimizers=(*(each["subnetwork.optimizer"] for each in subnetworks), driver["driver.optimizer"]),
    )


def spread(ratios: Iterable[float]) -> str:
    """Median and interquartile range of the rounds' ratios, for the table."""
    low, middle, high = quantiles(ratios, n=4)
    return f"{middle:.2f} ({high - low:.2f})"


if __name__ == "__main__":
    main()
