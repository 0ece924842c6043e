"""What a few images show, before training, of whether a torn network will work: a look at every cut."""

from math import nan
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from models.parareal import PararealNetwork
from models.tearing import Tearing

N_POWER_ITERATIONS = 5
N_FOR_GROWTH = 4
"""Images that growth is measured on: it takes float64, and several passes through every g^j."""


class Cut(NamedTuple):
    """What stands before g^j, j > 1.

    Attributes:
        j: of g^j.
        variety: how far C^j(x) differs from image to image: its standard deviation over the images over its
            root mean square, 0 to 1.
        likeness: how far C^j(x) tells images apart as x_j does, which g^j reads in f: linear centred kernel
            alignment (Kornblith et al., 2019), 0 to 1.
        carried: size of F^{j−1}(r̃_{j−1}) over that of y_j, to which it is added.
        growth: how much the small change of x_j grows that grows most in g^j: its largest singular value,
            from below; not a number if g^j cannot compute in float64.
    """

    j: int
    variety: float
    likeness: float
    carried: float
    growth: float


def diagnose(network: PararealNetwork, images: Tensor) -> list[Cut]:
    """Look at every cut of a torn network, which stays as it is: with as many iterations, in the same mode.

    Args:
        network: in training mode, BatchNorm goes by the statistics of these images.
        images: a batch, (batch, *input_shape).
    """
    buffers = {f"network.{name}": buffer.clone() for name, buffer in network.named_buffers()}
    with torch.no_grad():
        exact, guesses, carried = functional_call(_Look(network), buffers, (images,))
    return [
        Cut(
            j,
            _variety(guesses[j]),
            _likeness(guesses[j], exact[j]),
            carried[j],
            growth(network.subnetworks[j - 1], exact[j][:N_FOR_GROWTH]),
        )
        for j in range(2, len(network.subnetworks) + 1)
    ]


def least_variety(tearing: Tearing, images: Tensor) -> float:
    """The smallest variety of all C^j(x), j > 1, of two subnetworks or more; one C^j is there at a time."""
    with torch.no_grad():
        return min(
            _variety(tearing.build_preprocess(j).train()(images)) for j in range(2, tearing.n_subnetworks + 1)
        )


class _Look(nn.Module):
    """A pass through f, and one through the parts of f̃."""

    def __init__(self, network: PararealNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[dict[int, Tensor], dict[int, Tensor], dict[int, float]]:
        """x_j of f, C^j(x), and the size of F^{j−1}(r̃_{j−1}) over that of y_j, by j."""
        network = self.network
        exact = network.exact_reads(images)
        guesses = {j: C(images) for j, C in enumerate(network.preprocesses, start=1)}
        outputs = {j: g(guesses[j].clone()) for j, g in enumerate(network.subnetworks, start=1)}
        carried: dict[int, float] = {}
        correction: Tensor | None = None
        for j, coarse in enumerate(network.coarse_network, start=1):
            residual = outputs[j] - guesses[j + 1]
            correction = coarse(residual if correction is None else residual + correction)
            carried[j + 1] = (correction.norm() / outputs[j + 1].norm()).item()
        return exact, guesses, carried


def growth(g: nn.Module, x: Tensor) -> float:
    """The largest singular value of a module's derivative at a batch, by power iteration, from below."""
    tensors = {name: parameter.detach() for name, parameter in g.named_parameters()} | dict(g.named_buffers())
    tensors = {n: t.double() if t.is_floating_point() else t for n, t in tensors.items()}

    def run(at: Tensor) -> Tensor:
        output: Tensor = functional_call(g, {n: t.clone() for n, t in tensors.items()}, (at.clone(),))
        return output

    x = x.double()
    step = 1e-7 * x.norm()
    direction = torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(0)).to(x.device)
    value = 0.0
    try:
        for _ in range(N_POWER_ITERATIONS):
            direction = direction / direction.norm()
            with torch.no_grad():
                change = (run(x + step * direction) - run(x)) / step
            value = change.norm().item()
            leaf = x.clone().requires_grad_()
            (direction,) = torch.autograd.grad((run(leaf) * change).sum(), leaf)
    except (RuntimeError, TypeError):  # tensors of float32 that are neither parameters nor buffers
        return nan
    return value


def _variety(features: Tensor) -> float:
    spread = features - features.mean(dim=0)
    return float((spread.norm() / features.norm()).nan_to_num())


def _likeness(one: Tensor, other: Tensor) -> float:
    """Linear centred kernel alignment of two batches of features."""
    a, b = (_gram(features.flatten(1).double()) for features in (one, other))
    return float(((a * b).sum() / (a.norm() * b.norm())).nan_to_num())


def _gram(features: Tensor) -> Tensor:
    centred = features - features.mean(dim=0)
    return centred @ centred.mT
