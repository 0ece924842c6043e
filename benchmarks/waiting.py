"""Is the forecast true? Units that wait instead of computing, real actors, real transport.

    python -m benchmarks.waiting                       all strategies, up to 24 actors
    python -m benchmarks.waiting --spread 0 0.2 0.4    parts whose times vary
    python -m benchmarks.waiting --strategy parareal --n-subnetworks 2 3 --n-replicas 2 3
    python -m benchmarks.waiting --strategy parareal --clip-norm 1     what the norm of all gradients takes

Each part takes 100 ms forward and 200 ms backward with the whole batch, less with a share of it, and uses no
processor: as many actors as one likes run side by side on two cores, and what a step should take is known
beforehand (:mod:`models.schedules`). F^j takes a tenth of that. What a step takes beyond is the cost of
orchestration: messages, copies, waking up. The last column says what processors have to do for that, the time
of all actors over the number of cores. With a spread, every pass takes a factor of its own as long.
"""

import argparse
import itertools
import math
import random
import time
from functools import partial
from statistics import mean, median, quantiles
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gang_steps import run_gang
from models.feedforward import FeedForward, Shape
from models.schedules import Bucket, Replicas, gangs, pipeline, workers
from models.simulation import Machine, play
from models.step_time import Cost, StepCosts
from orchestrator import cluster
from orchestrator.config import Strategy, Sweep
from orchestrator.data.datasets import Data, load_dataset
from orchestrator.devices import gang_resources, local_devices
from orchestrator.plan import tear_as_asked
from orchestrator.trial import Job

PART = Cost(forward=0.100, backward=0.200)
"""Seconds of each of N parts with a whole batch."""
COARSE = PART.scaled(0.1)
BATCH_SIZE = 48
FEATURES = 5460  # float32: 1 MB a batch
STRATEGIES: tuple[Strategy, ...] = ("parareal", "data_parallel", "gpipe", "1f1b")


class _Wait(torch.autograd.Function):
    """The identity, some time later; both ways."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, forward: float, backward: float) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.backward_seconds = backward
        time.sleep(forward)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        time.sleep(ctx.backward_seconds)
        return gradients[0], torch.zeros_like(*ctx.saved_tensors), None, None


class Wait(nn.Module):
    """A unit that waits. Its one parameter makes it trainable, and is never changed.

    Args:
        seconds: with a whole batch.
        spread: of its times, over their mean.
    """

    def __init__(self, seconds: Cost, spread: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seconds, self.spread = seconds, spread

    def forward(self, x: Tensor) -> Tensor:
        """Return x, later."""
        variance = math.log1p(self.spread**2)
        drawn = random.SystemRandom()  # no two of them alike, whatever an actor seeds
        forward, backward = (
            seconds * len(x) / BATCH_SIZE * drawn.lognormvariate(-variance / 2, math.sqrt(variance))
            for seconds in (self.seconds.forward, self.seconds.backward)
        )
        return _Wait.apply(x, self.weight, forward, backward)


class Spread(nn.Module):
    """C and C^j: the image's mean, at every feature."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, c, h, w) to (batch, FEATURES)."""
        return x.mean(dim=(1, 2, 3))[:, None].expand(-1, FEATURES).contiguous()


class Fold(nn.Module):
    """h: as many means of features as there are classes."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.n_classes = n_classes

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, FEATURES) to (batch, n_classes)."""
        return x.unflatten(1, (self.n_classes, -1)).mean(dim=2)


def network(input_shape: Shape, n_classes: int, depth: int, width: int = 0) -> FeedForward:
    """``depth`` units that wait, whose times spread by ``width`` %."""
    return FeedForward(
        Spread,
        [partial(Wait, PART, width / 100)] * depth,
        partial(Fold, n_classes),
        input_shape,
        interface_preprocess=lambda image, shape: Spread(),
        coarse=lambda before, after, n_units: Wait(COARSE, width / 100),
    )


def job_of(
    strategy: Strategy, n: int, n_replicas: int, spread: float, images: Data, clip_norm: float | None
) -> Job:
    """A trial of N actors and their driver, or D times as many, on this machine's cores, however few."""
    (config,) = Sweep(
        n_subnetworks=(n,),
        dataset=(images.name,),
        seed=(0,),
        network=("benchmarks.waiting:network",),
        depth=(n,),
        width=(round(100 * spread) or None,),
        n_coarse_units=(1,),
        n_replicas=(n_replicas,),
        batch_size=(BATCH_SIZE,),
        strategy=(strategy,),
        augment=(False,),
        clip_norm=(clip_norm,),
    ).trials()
    described = network(images.input_shape, len(images.classes), n, round(100 * spread))
    available = local_devices()
    resources = gang_resources(
        n,
        devices="cpu",
        cpus_per_actor=None,
        available=available,
        strategy=strategy,
        n_replicas=config.n_replicas,
    )
    return Job(config, tear_as_asked(config, described), resources)


def seconds_of(job: Job, spread: float, n_steps: int = 200) -> float:
    """What a step should take: the mean of many, one after the other without a pause between them."""
    n, free = job.config.n_subnetworks, Cost(0.0, 0.0)
    strategy = job.config.strategy
    if strategy == "gpipe" or strategy == "1f1b":
        m = job.config.n_microbatches
        programs = pipeline([PART.scaled(1 / m)] * n, m, strategy, [0] * n, n_steps)
    elif strategy == "parareal":
        # Shares differ by a sample at most: the largest counts.
        part, coarse = (cost.scaled(job.config.largest_share / BATCH_SIZE) for cost in (PART, COARSE))
        costs = StepCosts((free,) * n, (part,) * n, (coarse,) * (n - 1), free)
        d = job.config.n_replicas
        programs = gangs(costs, n_steps, Replicas(d, d, (0,) * (n + 1)) if d > 1 else None)
    else:
        share = PART.scaled(math.ceil(BATCH_SIZE / n) / BATCH_SIZE)
        programs = workers(n * share.forward, [Bucket(n * share.backward, 0)], n, n, n_steps)
    return play(programs, Machine(spread=spread))[-1].end / n_steps


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--strategy", nargs="+", choices=STRATEGIES, default=STRATEGIES)
    parser.add_argument("--n-subnetworks", type=int, nargs="+", default=[6, 12, 23])
    parser.add_argument("--n-replicas", type=int, nargs="+", default=[1], help="of parareal's gangs")
    parser.add_argument("--spread", type=float, nargs="+", default=[0.0])
    parser.add_argument("--clip-norm", type=float)
    parser.add_argument("--steps", type=int, default=25)
    asked = parser.parse_args()
    images = load_dataset(f"synthetic:1x4x4x4x{BATCH_SIZE * asked.steps}")
    print(
        "| strategy | N | D | actors | spread | forecast (ms) | step | IQR | beyond | allowed | processors |"
    )
    print("|:--|" + 10 * "--:|")
    settings = itertools.product(asked.strategy, asked.n_subnetworks, asked.n_replicas, asked.spread)
    for strategy, n, n_replicas, spread in settings:
        if strategy != "parareal" and n_replicas > 1:
            continue
        job = job_of(strategy, n, n_replicas, spread, images, asked.clip_norm)
        seconds = seconds_of(job, spread)
        reports = run_gang(job, images, epochs=1).values()
        steps = max(reports, key=lambda report: report.seconds).step_seconds[2:]  # the first open connections
        step = mean(steps) if spread else median(steps)
        low, _, high = quantiles(steps, n=4)
        allowed = 0.1 * seconds + 0.002 * job.resources.n_actors
        processor = sum(report.processor_seconds for report in reports) / local_devices().cpus
        times = (seconds, step, high - low, step - seconds, allowed, processor)
        shown = (
            strategy,
            n,
            n_replicas,
            job.resources.n_actors,
            f"{spread:g}",
            *(f"{1e3 * time:.0f}" for time in times),
        )
        print("|", " | ".join(map(str, shown)), "|", flush=True)
    cluster.disconnect()


if __name__ == "__main__":
    main()
