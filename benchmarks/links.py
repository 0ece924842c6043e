"""What it brings that actors of one host share memory: the same gang, linked so and by Gloo, in turns.

    python -m benchmarks.links              ResNet-164, N = 2 and 3, on this machine's cores

Each round starts every gang anew: an epoch to get warm, and one that counts. Processor time outside the
components is what all actors take in a step for anything but computing: messages, copies, Ray's threads.
"""

import argparse
from collections import defaultdict
from statistics import mean
from unittest.mock import patch

from benchmarks.gang_steps import in_ms, run_gang
from benchmarks.step_time import Round, print_table, spread
from models.schedules import gang_seconds
from models.simulation import Machine
from models.tearing import plan_tearing
from orchestrator import cluster
from orchestrator.actors import gang
from orchestrator.actors.driver import DriverActor
from orchestrator.actors.subnetwork import SubnetworkActor
from orchestrator.config import Sweep
from orchestrator.data.datasets import Data, load_dataset
from orchestrator.devices import gang_resources, local_devices
from orchestrator.plan import describe
from orchestrator.trial import Job
from tests.integration.apart import DriverApart, SubnetworkApart

BATCH_SIZE = 32
STEPS = 20
SIZES = {2: (18, 36), 3: (12, 16, 26)}
"""Staggered cuts of ResNet-164 with stem and shortcut, from a measured profile."""
LINKS = {
    "Gloo": {"DriverActor": DriverApart, "SubnetworkActor": SubnetworkApart},
    "shared memory": {"DriverActor": DriverActor, "SubnetworkActor": SubnetworkActor},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    images = load_dataset(f"synthetic:3x32x32x10x{BATCH_SIZE * STEPS}", validation_subset=10)
    cores = int(local_devices().cpus)
    jobs = {n: job_of(n, images) for n in SIZES}
    rounds: dict[tuple[int, str], list[Round]] = defaultdict(list)
    for _ in range(asked.rounds):
        for n, job in jobs.items():
            for name, actors in LINKS.items():
                with patch.dict(vars(gang), actors):
                    rounds[n, name].append(Round(run_gang(job, images, epochs=2)))
    cluster.disconnect()
    print_table(
        {
            "": f"N = {n}, {name}",
            "step (ms, IQR)": in_ms([step for each in of_gang for step in each.steps]),
            "n": STEPS * asked.rounds,
            "step / path (IQR)": spread(
                mean(each.steps) / gang_seconds(each.in_step, Machine(n_cores=cores)) for each in of_gang
            ),
            "processor time outside components (ms, IQR)": in_ms(
                [each.outside_components for each in of_gang]
            ),
        }
        for (n, name), of_gang in rounds.items()
    )


def job_of(n: int, images: Data) -> Job:
    """A trial of N subnetworks on this machine's cores."""
    sweep = Sweep(
        n_subnetworks=(n,),
        dataset=(images.name,),
        seed=(0,),
        depth=(164,),
        width=(16,),
        batch_size=(BATCH_SIZE,),
        preprocess=("stem",),
        coarse=("shortcut",),
        channels_last=(True,),
    )
    (config,) = sweep.trials()
    network = describe(config, images)
    tearing = plan_tearing(network, n, partition=SIZES[n], preprocess="stem", coarse="shortcut")
    resources = gang_resources(n, devices="cpu", cpus_per_actor=None, available=local_devices())
    return Job(config, tearing, resources)


if __name__ == "__main__":
    main()
