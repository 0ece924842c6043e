"""Networks with a pass that fails, or that only one process could make."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models import FeedForward
from tests.integration.network_parts import Around, block, conv, everywhere, head, parts


class Retyped(nn.Module):
    """A counter of whole numbers that a pass makes another."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv()
        self.register_buffer("count", torch.tensor(1))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.count = self.count + 0.5
        return self.conv(x) / self.count


def relu_in_place() -> nn.Module:
    return nn.Sequential(nn.ReLU(inplace=True), conv())


def overwriting_a_cut() -> FeedForward:
    return everywhere(
        relu_in_place, interface_preprocess=lambda before, after: nn.Sequential(conv(1), nn.ReLU())
    )


def used_before(self: Around, x: Tensor) -> Tensor:
    y: Tensor = self.module(x).sigmoid()
    return y.mul_(2)


def drawing_again(self: Around, x: Tensor) -> Tensor:
    y: Tensor = checkpoint(self.module, x, use_reentrant=False, preserve_rng_state=False)
    return y


class TrainedByItself(nn.Module):
    """A part has an optimizer of its own, whose first two steps from one gradient are the same."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.part = conv(), conv()
        self.optimizer = torch.optim.Adam(self.part.parameters())

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            with torch.enable_grad():
                loss = self.part(x.detach()).square().mean()
                for parameter, gradient in zip(
                    self.part.parameters(), torch.autograd.grad(loss, [*self.part.parameters()]), strict=True
                ):
                    parameter.grad = gradient
            self.optimizer.step()
        return self.conv(x) + self.part(x).detach()


class Noisy(nn.Module):
    """By a generator of its own."""

    def __init__(self, *, in_training: bool) -> None:
        super().__init__()
        self.conv, self.in_training = conv(), in_training
        self.generator = torch.Generator().manual_seed(1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        if self.in_training and not self.training:
            return y
        return y + torch.randn(x.shape, generator=self.generator)


def patched() -> nn.Module:
    """Of units whose copies run the originals."""
    units = [block() for _ in range(6)]
    for unit in units:
        original = unit.forward
        unit.forward = lambda x, original=original: original(x) / 2
    return nn.Sequential(conv(1), *units, head())


def clipping() -> nn.Module:
    module = conv()
    module.weight.register_hook(lambda gradient: gradient.clamp(-0.01, 0.01))
    return module


def halve(parameter: Tensor) -> None:
    assert parameter.grad is not None
    parameter.grad.mul_(0.5)


def halving() -> nn.Module:
    module = conv()
    module.weight.register_post_accumulate_grad_hook(halve)
    return module


def coarse_that_clips() -> FeedForward:
    return parts(coarse=lambda before, after, n: clipping())


REFUSED_IN_PARTS = {"clipping": lambda: parts(clipping), "halving": lambda: parts(halving)}
"""What is refused where a step's gradient comes in parts."""
REFUSED: dict[str, tuple[Callable[[], FeedForward | nn.Module], str]] = {
    "buffer_of_another_type": (
        lambda: parts(Retyped),
        "unit 0 .* or changes its shape or type: make",
    ),
    "overwriting": (
        lambda: parts(block, relu_in_place),
        "unit 1 .* overwrites what unit 0 .* has returned and needs for its gradients",
    ),
    "overwriting_a_cut": (overwriting_a_cut, r"unit 2 .* overwrites what C\^2 .* has returned and needs"),
    "failing_backwards": (
        lambda: parts(lambda: Around(conv(), used_before)),
        "the backward pass of unit 0 .* fails: one of the variables needed",
    ),
    "drawing_backwards": (
        lambda: parts(lambda: Around(nn.Sequential(conv(), nn.Dropout()), drawing_again)),
        "unit 0 .* draws random numbers in its backward pass",
    ),
    "own_optimizer": (lambda: parts(TrainedByItself), "unit 0 .* depends on what it keeps beside parameters"),
    "own_generator": (
        lambda: parts(partial(Noisy, in_training=False)),
        "unit 0 .* draws from a generator of its own",
    ),
    "own_generator_in_training": (
        lambda: parts(partial(Noisy, in_training=True)),
        "unit 0 .* draws from a generator of its own",
    ),
    "copy_of_the_original": (patched, "a copy of unit 0 .* goes on using a parameter of shape"),
}
