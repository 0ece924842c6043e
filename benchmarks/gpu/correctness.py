"""Does the GPU compute what the CPU computes, and a gang on it what one process computes?

Networks in float64; whole-step graphs against eager steps; tensors passed between two processes; where Ray
is there, real gangs whose actors share the card, with an actor killed on the way.
"""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.gpu.gangs import BOUND, Gangs
from benchmarks.gpu.report import Report, Row, label, warm_up
from benchmarks.link_exchange import exchange
from models import PararealNetwork, mlp, plan_tearing, resnet, vgg, vit
from models.compute import Compute
from models.recorder import WARMUP, Recorder
from models.tearing import Tearing
from orchestrator.actors.optimizer import make_optimizer
from orchestrator.config import TrainingOptions


def run(report: Report) -> None:
    """All of it."""
    warm_up(report.device, 0.5)
    report.attempt(compare_networks, report, what="networks in float64")
    if report.device.type == "cuda":
        report.attempt(compare_recorded, report, what="recorded steps")
        for cuda_ipc in (False, True):
            report.attempt(exchange_tensors, report, cuda_ipc, what="two processes on the card")
    if find_spec("ray") is None:
        report.add(what="gangs", skipped="there is no Ray")
    else:
        report.attempt(Gangs(report).run, what="gangs")


def compare_networks(report: Report) -> None:
    """One step in float64 here and on the CPU: loss, gradients, BatchNorm statistics."""
    for what, tearing in networks(tiny=report.tiny):
        if not report.fits(1.0, what=what):
            return
        here = one_step(tearing, Compute(report.device, "float64"))
        there = one_step(tearing, Compute(precision="float64"))
        difference = max(relative(here[name], value, there) for name, value in there.items())
        report.add(what=what, arithmetic="float64", launch="eager", difference=difference, bound=BOUND)


def networks(*, tiny: bool) -> Iterator[tuple[str, Tearing]]:
    """ResNet-56 with every C^j and F^j, and the other architectures."""
    size: dict[str, Any] = {"depth": 20, "width": 4} if tiny else {"depth": 56, "width": 8}
    interfaces = list(itertools.product(("strided", "patch", "stem"), ("units", "shortcut")))
    for n in (1, 2) if tiny else (1, 2, 3, 6):
        for preprocess, coarse in interfaces[:1] if n == 1 else interfaces:
            options: dict[str, Any] = {"preprocess": preprocess, "coarse": coarse}
            if coarse == "shortcut":
                options["n_coarse_units"] = 0
            name = f"ResNet-{size['depth']} N={n} {preprocess} {coarse}"
            yield name, plan_tearing(resnet(**size), n, **options)
    others = (mlp(8), vgg(11, width=8), vit(6, width=16)) if tiny else (mlp(12), vgg(16), vit(6))
    for network in others:
        yield f"{network.name} N=3", plan_tearing(network, 3)


def one_step(tearing: Tearing, compute: Compute) -> dict[str, Tensor]:
    """Loss, gradients and buffers after one forward and backward pass, on the CPU."""
    compute.settle()
    network = compute.place(PararealNetwork(tearing, compute=compute)).train()
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(4, *tearing.network.input_shape, generator=generator, dtype=torch.float64)
    labels = torch.randint(10, (4,), generator=generator)
    loss = F.cross_entropy(network(images.to(compute.device)), labels.to(compute.device))
    loss.backward()
    found = {"loss": loss.detach()} | {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
    return {name: value.cpu() for name, value in (found | dict(network.named_buffers())).items()}


def relative(value: Tensor, expected: Tensor, all_expected: dict[str, Tensor]) -> float:
    """Size of the difference by the expected size; where that vanishes but for rounding, by the loss's."""
    smallest = 1e-6 * all_expected["loss"].abs().double()
    return float((value.double() - expected.double()).norm() / max(expected.double().norm(), smallest))


def compare_recorded(report: Report) -> None:
    """Steps of SGD with whole-step graphs and without: weights after as many steps."""
    tearing = plan_tearing(resnet(56), 3)
    for compute in (
        Compute(report.device, "float32", graphs=True),
        Compute(report.device, "bfloat16", channels_last=True, graphs=True),
    ):
        weights = [several_steps(tearing, one) for one in (compute, compute, replace(compute, graphs=False))]
        again = replace(compute, graphs=False)
        weights.append(several_steps(tearing, again))
        report.add(
            what="recorded steps against eager ones, ResNet-56 N=3",
            **label(compute),
            difference=distance(weights[0], weights[2]),
            difference_of_two_eager_runs=distance(weights[2], weights[3]),
            difference_of_two_recorded_runs=distance(weights[0], weights[1]),
        )


def several_steps(tearing: Tearing, compute: Compute) -> Tensor:
    """All weights and statistics after a few steps, the learning rate not the same in all."""
    compute.settle()
    network = compute.place(PararealNetwork(tearing, compute=compute)).train()
    optimizer = make_optimizer(network, TrainingOptions())
    recorder = Recorder(compute, network)

    def step(images: Tensor, labels: Tensor) -> Tensor:
        with compute.autocast():
            loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    for number in range(WARMUP + 4):
        generator = torch.Generator().manual_seed(number)
        images = torch.randn(32, *tearing.network.input_shape, generator=generator).to(compute.device)
        labels = torch.randint(10, (32,), generator=generator).to(compute.device)
        images, labels = recorder.fixed("images", images), recorder.fixed("labels", labels)
        optimizer.set_learning_rate(0.01 / (1 + number))
        recorder("step", partial(step, images, labels))
    return torch.cat([value.detach().double().cpu().flatten() for value in network.state_dict().values()])


def distance(a: Tensor, b: Tensor) -> float:
    """Relative to the second."""
    return float((a - b).norm() / b.norm())


def exchange_tensors(report: Report, cuda_ipc: bool) -> None:
    """Two processes on one card that pass tensors to and fro, each checked to the bit.

    Small ones show what the hosts take for a tensor each way, which no critical path counts.
    """
    for n_bytes, n_rounds in ((2**12, 400), (2**25, 100)):
        measured = exchange(report.device, cuda_ipc=cuda_ipc, n_rounds=n_rounds, n_bytes=n_bytes)
        report.add(what="two processes on the card", cuda_ipc=cuda_ipc, n_bytes=n_bytes, **measured)


def lines(rows: list[Row]) -> list[str]:
    """For the terminal: differences beside their bounds; networks of one kind in a line."""
    out = []
    compared = [r for r in rows if r.get("bound") and r["what"].startswith(("ResNet", "MLP", "VGG", "ViT"))]
    if compared:
        worst = max(compared, key=lambda r: r["difference"])
        out.append(
            f"{len(compared)} networks in float64, here and on the CPU: largest difference "
            f"{worst['difference']:.1e} ({worst['what']}), bound {BOUND:g}"
        )
    for r in rows:
        if r in compared:
            continue
        rest = {name: _short(value) for name, value in r.items() if name != "what"}
        out.append(f"{r['what']}: " + ", ".join(f"{name} {value}" for name, value in rest.items()))
    return out


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
