"""Networks whose parameters, gradients or passes something changes: parametrisations, hooks, checkpoints."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm
from torch.utils.checkpoint import checkpoint

from models import FeedForward
from tests.integration.network_parts import (
    Around,
    Do,
    W,
    block,
    conv,
    everywhere,
    head,
    parts,
)

# What changes a module's parameters


def parametrised() -> nn.Module:
    units = [
        parametrizations.weight_norm(conv()),
        parametrizations.spectral_norm(conv()),
        parametrizations.spectral_norm(parametrizations.weight_norm(conv())),
        parametrizations.orthogonal(nn.Linear(8, 8)),  # of each row of the image
    ]
    units = [nn.Sequential(unit, nn.ReLU()) for unit in units]
    return nn.Sequential(parametrizations.weight_norm(conv(1)), *units, block(), block(), head())


def parametrised_in_factories() -> FeedForward:
    return everywhere(
        lambda: nn.Sequential(parametrizations.spectral_norm(conv()), nn.ReLU()),
        interface_preprocess=lambda before, after: parametrizations.spectral_norm(conv(1)),
        coarse=lambda before, after, n: parametrizations.weight_norm(conv()),
    )


def pruned() -> nn.Module:
    units = [conv() for _ in range(6)]
    for unit in units:
        prune.random_unstructured(unit, "weight", 0.3)
    return nn.Sequential(conv(1), *units, head())


def older_norms_of_weights() -> nn.Module:
    units = [
        weight_norm(conv()),
        spectral_norm(conv()),
        weight_norm(conv()),
        spectral_norm(conv()),
        conv(),
        conv(),
    ]
    return nn.Sequential(weight_norm(conv(1)), *units, head())


def tied_within_a_unit() -> FeedForward:
    def twice() -> nn.Module:
        module = conv()
        return nn.Sequential(module, nn.ReLU(), module)

    return everywhere(twice)


# Hooks, checkpoints, modes


def hooks() -> nn.Module:
    units = [block() for _ in range(6)]
    for unit in units:
        unit.register_forward_pre_hook(lambda module, inputs: (inputs[0] * 1.5,))
        unit.register_forward_hook(lambda module, inputs, output: output + 0.1)
        unit.register_full_backward_hook(lambda module, grad_in, grad_out: (grad_in[0] * 0.5,))
    return nn.Sequential(conv(1), *units, head())


def hooks_of_parameters() -> FeedForward:
    def masked() -> nn.Module:
        module = conv()
        module.weight.register_hook(lambda gradient: gradient * (torch.arange(9).view(3, 3) % 2))
        return module

    return everywhere(masked, coarse=lambda before, after, n: masked())


def checkpointed(reentrant: bool) -> FeedForward:
    def unit(module: nn.Module) -> nn.Module:
        return Around(module, lambda self, x: checkpoint(self.module, x, use_reentrant=reentrant))

    def make() -> nn.Module:
        return unit(nn.Sequential(conv(), nn.BatchNorm2d(W), nn.Dropout(0.2), nn.ReLU()))

    return everywhere(
        make,
        interface_preprocess=lambda before, after: nn.Sequential(conv(1), unit(conv())),
        coarse=lambda before, after, n: unit(conv()),
    )


def other_in_training() -> FeedForward:
    return everywhere(
        lambda: Around(conv(), lambda self, x: self.module(x) * (0.5 if self.training else 2.0))
    )


class Straight(torch.autograd.Function):
    """A sign, through which gradients pass as they are."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.sign()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return gradient


def gradients_of_its_own() -> FeedForward:
    """By functions of autograd, hooks of activations, and gradients within the forward pass."""

    def halved(self: Around, x: Tensor) -> Tensor:
        y = self.module(x)
        if y.requires_grad:
            y.register_hook(lambda gradient: gradient * 0.5)
        return y

    def step(self: Around, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            energy = self.module(x).square().sum()
            (slope,) = torch.autograd.grad(energy, x, create_graph=self.training)
        return x - 0.01 * slope

    return parts(
        *[
            lambda: nn.Sequential(conv(), Do(Straight.apply), nn.BatchNorm2d(W)),
            lambda: Around(conv(), halved),
            lambda: Around(conv(), step),
        ]
        * 2,
        interface_preprocess=lambda before, after: Around(conv(1), halved),
        coarse=lambda before, after, n: nn.Sequential(conv(), Do(Straight.apply)),
    )


def hooks_of_other_kinds() -> FeedForward:
    def make() -> nn.Module:
        module = block()
        module.register_forward_pre_hook(
            lambda m, inputs, by_name: ((inputs[0] * 2,), by_name), with_kwargs=True
        )
        module.register_full_backward_pre_hook(lambda m, gradient: (gradient[0] * 0.5,))
        module.register_forward_hook(lambda m, inputs, output: output * 3).remove()
        return module

    return everywhere(make)


EQUAL: dict[str, Callable[[], FeedForward | nn.Module]] = {
    made.__name__: made
    for made in (
        parametrised,
        parametrised_in_factories,
        pruned,
        older_norms_of_weights,
        tied_within_a_unit,
        hooks,
        hooks_of_parameters,
        other_in_training,
        gradients_of_its_own,
        hooks_of_other_kinds,
    )
} | {
    "checkpointed": partial(checkpointed, reentrant=False),
    "checkpointed_with_reentry": partial(checkpointed, reentrant=True),
}
