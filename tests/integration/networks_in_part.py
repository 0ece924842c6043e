"""Networks that are trained in part, or that write into what they read."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from models import FeedForward
from tests.integration.network_parts import (
    Around,
    Do,
    W,
    at_the_cuts,
    block,
    conv,
    everywhere,
    frozen,
    head,
    parts,
)

# Frozen, or without parameters


def plain() -> FeedForward:
    return parts()


def frozen_at_first() -> FeedForward:
    return parts(frozen(block()), frozen(block()), c=frozen(conv(1)))


def frozen_at_last() -> FeedForward:
    return parts(block, block, block, block, frozen(block()), frozen(block()), h=frozen(head()))


def frozen_in_between() -> FeedForward:
    return parts(block, block, frozen(block()), frozen(block()))


def frozen_trunk() -> FeedForward:
    return parts(*(frozen(block()) for _ in range(6)), c=frozen(conv(1)))


def frozen_all_but_the_cuts() -> FeedForward:
    return parts(*(frozen(block()) for _ in range(6)), c=frozen(conv(1)), h=frozen(head()))


def frozen_at_the_cuts() -> FeedForward:
    return at_the_cuts(frozen)


def frozen_in_part() -> FeedForward:
    def unit() -> nn.Module:
        module = block()
        frozen(module[0])
        return module

    return everywhere(unit)


def parameter_free_at_first() -> FeedForward:
    return parts(nn.ReLU, partial(nn.AvgPool2d, 3, 1, 1), c=Do(lambda x: x.expand(-1, W, -1, -1)))


def parameter_free_units() -> FeedForward:
    return everywhere(nn.Tanh)


def parameter_free_at_the_cuts() -> FeedForward:
    return parts(
        interface_preprocess=lambda before, after: Do(lambda x: x.expand(-1, W, -1, -1)),
        coarse=lambda before, after, n: nn.AvgPool2d(3, 1, 1),
    )


def parameter_free_head() -> FeedForward:
    return parts(
        *[block] * 5, partial(conv, W, 10), h=partial(nn.Sequential, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    )


def identity_head() -> FeedForward:
    return parts(*[block] * 5, head, h=nn.Identity)


def without_gradient() -> FeedForward:
    """A unit that runs its convolution under no_grad, as frozen feature extractors do."""

    def no_grad(self: Around, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.module(x)

    units = [Around(conv(), no_grad) for _ in range(2)]
    return parts(block, block, units[0], block, block, units[1])


def unused() -> FeedForward:
    class Unit(nn.Module):
        def __init__(self, n_in: int = W) -> None:
            super().__init__()
            self.never, self.conv, self.nor_this = nn.Linear(2, 2), conv(n_in), nn.Parameter(torch.ones(3))

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x)

    return everywhere(
        Unit,
        h=lambda: Around(nn.ModuleList([head(), head()]), lambda self, x: self.module[1](x)),
        interface_preprocess=lambda before, after: Unit(1),
        coarse=lambda before, after, n: Unit(),
    )


class Experts(nn.Module):
    """Of which each sample has one, so that a batch need not use all; C^j learns from two sides which."""

    def __init__(self, n_in: int = W) -> None:
        super().__init__()
        self.experts = nn.ModuleList(conv(n_in) for _ in range(5))

    def forward(self, x: Tensor) -> Tensor:
        chosen = (1e4 * x[:, 0].mean((1, 2)).abs()).long() % 5
        y = x.new_zeros(len(x), W, 8, 8)
        for i, expert in enumerate(self.experts):
            if (rows := (chosen == i).nonzero().flatten()).numel():
                y = y.index_add(0, rows, expert(x[rows]))
        return y


def experts() -> FeedForward:
    return parts(
        *[lambda: nn.Sequential(nn.Sigmoid(), Experts())] * 2,
        interface_preprocess=lambda before, after: Experts(1),
    )


def unused_behind_a_cut_gradient() -> FeedForward:
    detached = Do(torch.Tensor.detach)
    return parts(
        *[lambda: nn.Sequential(detached, block())] * 6,
        interface_preprocess=lambda before, after: Around(
            nn.ModuleList([conv(1), conv(1)]), lambda self, x: self.module[0](x)
        ),
    )


# In place


def in_place_units() -> FeedForward:
    return everywhere(lambda: nn.Sequential(nn.ReLU(True), conv(), nn.ReLU(True), nn.BatchNorm2d(W)))


def in_place_at_the_cuts() -> FeedForward:
    def centred(module: nn.Module) -> nn.Module:
        return nn.Sequential(Do(lambda x: x.sub_(x.mean())), module)

    network = at_the_cuts(centred)
    return parts(
        c=lambda: centred(conv(1)), interface_preprocess=network.interface_preprocess, coarse=network.coarse
    )


def in_place_unseen() -> FeedForward:
    def halved(x: Tensor) -> Tensor:
        x.data.mul_(0.5)
        return x

    return at_the_cuts(lambda module: nn.Sequential(Do(halved), module))


def in_place_in_training_alone() -> FeedForward:
    return parts(c=lambda: nn.Sequential(nn.Dropout(0.3, inplace=True), conv(1)))


def in_place_on_the_image() -> FeedForward:
    """C returns what it reads, and the first unit overwrites it; C^j reads it through a view."""
    return parts(
        lambda: nn.Sequential(Do(lambda x: x.mul_(2)), conv(1)),
        c=nn.Identity,
        interface_preprocess=lambda before, after: Do(lambda x: x.expand(-1, W, -1, -1)),
    )


def in_place_head() -> FeedForward:
    return parts(*[block] * 5, conv, h=lambda: nn.Sequential(nn.ReLU(True), head()))


EQUAL: dict[str, Callable[[], FeedForward | nn.Module]] = {
    made.__name__: made
    for made in (
        plain,
        frozen_at_first,
        frozen_at_last,
        frozen_in_between,
        frozen_trunk,
        frozen_all_but_the_cuts,
        frozen_at_the_cuts,
        frozen_in_part,
        parameter_free_at_first,
        parameter_free_units,
        parameter_free_at_the_cuts,
        parameter_free_head,
        identity_head,
        without_gradient,
        unused,
        experts,
        unused_behind_a_cut_gradient,
        in_place_units,
        in_place_at_the_cuts,
        in_place_unseen,
        in_place_in_training_alone,
        in_place_on_the_image,
        in_place_head,
    )
}
