"""Runs training steps of a gang of real actors outside a sweep, for benchmarks that compare gangs."""

from collections.abc import Sequence
from statistics import median, quantiles

import ray
from ray.util.placement_group import placement_group, remove_placement_group

from orchestrator import cluster
from orchestrator.actors.actor import EpochReport
from orchestrator.actors.gang import Gang
from orchestrator.data.datasets import Data
from orchestrator.trial import Job

TIMEOUT = 600.0
"""Seconds that an actor waits for another."""


def run_gang(job: Job, images: Data, *, epochs: int) -> dict[str, EpochReport]:
    """Train some epochs in a gang that ends with them; its reports of the last one, by part.

    Gangs that are to be compared are started anew in turns. One that stays alive while others have their
    turn costs them 1.5 % of a core an actor, and may come back slower than it went: where the kernel takes
    back memory that was not used for a while, it breaks huge pages up.
    """
    cluster.connect(None)
    group = placement_group(job.resources.bundles)
    try:
        ray.get(group.ready())
        with Gang(job.config, job.tearing, ray.put(images), job.resources, group) as gang:
            gang.connect(TIMEOUT)
            for epoch in range(1, epochs):
                gang.run_epoch(epoch)
            return gang.run_epoch(epochs)
    finally:
        remove_placement_group(group)


def in_ms(seconds: Sequence[float]) -> str:
    """Median and interquartile range of durations, for a table."""
    low, _, high = quantiles(seconds, n=4)
    return f"{1e3 * median(seconds):.1f} ({1e3 * (high - low):.1f})"
