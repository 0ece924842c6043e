"""Does the schedule scale? Units that wait instead of computing, real actors, real transport.

    python -m benchmarks.waiting            N = 6, 12 and 24 on any machine, tensors of 1 MB

A unit takes 10 ms forward and 20 ms backward and uses no processor, so that as many subnetworks as one
likes run side by side on two cores, and the critical path is known beforehand. What a measured step
takes beyond it is the cost of orchestration: messages, copies, waking up.
"""

import argparse
import time
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gang_steps import in_ms, run_gang
from models.feedforward import FeedForward, Shape
from models.step_time import Cost, StepCosts, critical_path
from models.tearing import plan_tearing
from orchestrator import cluster
from orchestrator.config import Sweep
from orchestrator.data.datasets import Data, load_dataset
from orchestrator.devices import gang_resources, local_devices
from orchestrator.trial import Job

UNIT = Cost(forward=0.010, backward=0.020)
"""Seconds of one unit."""
FEATURES = 2**15  # float32, batches of 8: 1 MB
BATCH_SIZE = 8
PER_SUBNETWORK = 10


class _Wait(torch.autograd.Function):
    """The identity, some time later; both ways."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        time.sleep(UNIT.forward)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        time.sleep(UNIT.backward)
        return gradients[0], torch.zeros_like(*ctx.saved_tensors)


class Wait(nn.Module):
    """A unit that waits. Its one parameter makes it trainable, and is never changed."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return x, later."""
        return _Wait.apply(x, self.weight)  # type: ignore[no-untyped-call, no-any-return]


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


def network(input_shape: Shape, n_classes: int, depth: int) -> FeedForward:
    """``depth`` waiting units; F^j waits as long as one of them."""
    return FeedForward(
        Spread,
        [Wait] * depth,
        partial(Fold, n_classes),
        input_shape,
        interface_preprocess=lambda image, shape: Spread(),
        coarse=lambda before, after, n_units: Wait(),
    )


def job_of(n: int, images: Data) -> Job:
    """A trial of N waiting subnetworks on this machine's cores, however few."""
    (config,) = Sweep(
        n_subnetworks=(n,),
        dataset=(images.name,),
        seed=(0,),
        network=("benchmarks.waiting:network",),
        depth=(n * PER_SUBNETWORK,),
        width=(None,),
        n_coarse_units=(1,),
        batch_size=(BATCH_SIZE,),
        augment=(False,),
    ).trials()
    tearing = plan_tearing(network(images.input_shape, len(images.classes), n * PER_SUBNETWORK), n)
    resources = gang_resources(n, devices="cpu", cpus_per_actor=None, available=local_devices())
    return Job(config, tearing, resources)


def path_of(n: int) -> float:
    """Seconds of a step's critical path."""
    free, own = Cost(0.0, 0.0), Cost(PER_SUBNETWORK * UNIT.forward, PER_SUBNETWORK * UNIT.backward)
    return critical_path(StepCosts((free,) * n, (own,) * n, (UNIT,) * (n - 1), free))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n-subnetworks", type=int, nargs="+", default=[6, 12, 24])
    parser.add_argument("--steps", type=int, default=25)
    asked = parser.parse_args()
    images = load_dataset(f"synthetic:1x4x4x4x{BATCH_SIZE * asked.steps}")
    print("| N | critical path (ms) | step (ms, IQR) | beyond the path (ms) | allowed (ms) |")
    print("|--:|--:|--:|--:|--:|")
    for n in asked.n_subnetworks:
        path = path_of(n)
        reports = run_gang(job_of(n, images), images, epochs=1)
        steps = reports["driver"].step_seconds[2:]  # the first ones open connections
        beyond, allowed = median(steps) - path, 0.1 * path + 0.002 * n
        print(
            f"| {n} | {1e3 * path:.0f} | {in_ms(steps)} | {1e3 * beyond:.0f} | {1e3 * allowed:.0f} |",
            flush=True,
        )
    cluster.disconnect()


if __name__ == "__main__":
    main()
