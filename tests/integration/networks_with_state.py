"""Networks with random numbers, and with state."""

from collections.abc import Callable, Sequence
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
    head,
    parts,
)

# Random numbers


def dropout_in_units() -> FeedForward:
    return everywhere(lambda: nn.Sequential(conv(), nn.Dropout2d(0.3), nn.ReLU(), nn.Dropout(0.2)))


def dropout_at_the_cuts() -> FeedForward:
    return at_the_cuts(lambda module: nn.Sequential(nn.Dropout(0.3), module, nn.Dropout(0.3)))


def dropout_everywhere() -> FeedForward:
    network = at_the_cuts(lambda module: nn.Sequential(nn.Dropout(0.3), module, nn.Dropout(0.3)))
    return parts(
        *[lambda: nn.Sequential(block(), nn.Dropout(0.2))] * 6,
        c=lambda: nn.Sequential(conv(1), nn.Dropout(0.2)),
        h=lambda: nn.Sequential(nn.Dropout(0.2), head()),
        interface_preprocess=network.interface_preprocess,
        coarse=network.coarse,
    )


def noise_in_evaluation_too() -> FeedForward:
    def noisy(module: nn.Module) -> nn.Module:
        return nn.Sequential(module, Do(lambda x: x + 0.1 * torch.randn_like(x)))

    network = at_the_cuts(noisy)
    return parts(
        lambda: noisy(block()),
        interface_preprocess=network.interface_preprocess,
        coarse=network.coarse,
    )


def stochastic_depth() -> FeedForward:
    def skip(self: Around, x: Tensor) -> Tensor:
        return x + self.module(x) if not self.training or torch.rand(()) < 0.5 else x + 0

    return parts(
        *[lambda: Around(block(), skip)] * 6,
        interface_preprocess=lambda before, after: nn.Sequential(conv(1), Around(conv(), skip)),
        coarse=lambda before, after, n: nn.Sequential(conv(), Around(conv(), skip)),
    )


# State


class Buffers(nn.Module):
    """Of all types; with a counter that the result depends on."""

    def __init__(self, n_in: int = W) -> None:
        super().__init__()
        self.conv = conv(n_in)
        self.register_buffer("mask", torch.tensor([True, False, True, True]).view(1, W, 1, 1))
        self.register_buffer("order", torch.tensor([2, 0, 1, 3]))
        self.register_buffer("small", torch.full((W, 1, 1), 0.3, dtype=torch.float16))
        self.register_buffer("bytes", torch.arange(W, dtype=torch.uint8).view(W, 1, 1))
        self.register_buffer("large", torch.tensor(2**40 + 1))
        self.register_buffer("count", torch.zeros((), dtype=torch.int32))
        self.register_buffer("mean", torch.zeros(()), persistent=False)
        self.register_buffer("none", None)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)[:, self.order] * self.mask * (self.small + self.bytes)
        if self.training:
            self.count += 1
            self.mean.mul_(0.9).add_(0.1 * x.detach().mean())
        return x / (1 + 0.1 * self.count) - self.mean + (self.large - 2**40)


def buffers() -> FeedForward:
    return everywhere(
        Buffers,
        interface_preprocess=lambda before, after: Buffers(1),
        coarse=lambda before, after, n: Buffers(),
    )


class Told(nn.Module):
    """Keeps what it has last returned, for who wants to look at it, and how often it was called."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.n_calls = module, 0

    def forward(self, x: Tensor) -> Tensor:
        self.n_calls += 1
        self.last: Tensor = self.module(x)
        return self.last


def attributes_without_effect() -> FeedForward:
    return parts(
        *[lambda: Told(block())] * 6,
        interface_preprocess=lambda before, after: Told(conv(1)),
    )


def norms() -> FeedForward:
    kinds = [
        partial(nn.BatchNorm2d, W, momentum=None),
        partial(nn.BatchNorm2d, W, affine=False),
        partial(nn.BatchNorm2d, W, track_running_stats=False),
        partial(nn.GroupNorm, 2, W),
        partial(nn.InstanceNorm2d, W, affine=True, track_running_stats=True),
        partial(nn.LayerNorm, (W, 8, 8)),
    ]
    return parts(
        *(lambda kind=kind: nn.Sequential(conv(), kind(), nn.ReLU()) for kind in kinds),
        interface_preprocess=lambda before, after: nn.Sequential(conv(1), nn.BatchNorm2d(W, momentum=None)),
        coarse=lambda before, after, n: nn.Sequential(conv(), nn.BatchNorm2d(W, affine=False)),
    )


def random_layers() -> FeedForward:
    """More of them than dropout: by sample, by batch, in blocks of an image, in activations."""

    def kept(shape: Sequence[int]) -> Tensor:
        return (torch.rand(shape) < 0.6) / 0.6

    def by_sample(self: Around, x: Tensor) -> Tensor:
        return self.module(x) * kept((len(x), 1, 1, 1)) if self.training else self.module(x)

    def by_batch(self: Around, x: Tensor) -> Tensor:
        return self.module(x) * kept(()) if self.training else self.module(x)

    def in_blocks(self: Around, x: Tensor) -> Tensor:
        if not self.training:
            return self.module(x)
        dropped = nn.functional.max_pool2d((torch.rand(x.shape) < 0.05).to(x), 3, 1, 1)
        return self.module(x) * (1 - dropped) / (1 - dropped.mean())

    return parts(
        *[
            lambda: nn.Sequential(Around(conv(), by_sample), nn.RReLU()),
            lambda: nn.Sequential(Around(conv(), in_blocks), nn.FeatureAlphaDropout(0.2)),
            lambda: Do(lambda x: nn.functional.gumbel_softmax(x, dim=1)),
        ]
        * 2,
        interface_preprocess=lambda before, after: nn.Sequential(conv(1), Around(nn.Identity(), by_batch)),
    )


class Replaced(nn.Module):
    """A buffer that each pass replaces, one that follows the weights, and weights that each pass changes."""

    def __init__(self, n_in: int = W) -> None:
        super().__init__()
        self.conv = conv(n_in)
        self.register_buffer("mean", torch.zeros(W, 1, 1))
        self.register_buffer("weights", torch.zeros_like(self.conv.weight))

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.conv.weight.clamp_(-0.2, 0.2)
        y = self.conv(x)
        if self.training:
            self.weights.lerp_(self.conv.weight.detach(), 0.1)
            self.mean = 0.9 * self.mean + 0.1 * y.detach().mean((0, 2, 3))[:, None, None]
        return y - self.mean + 0.1 * nn.functional.conv2d(x, self.weights, padding=1)


def state_that_is_replaced() -> FeedForward:
    return everywhere(
        Replaced,
        interface_preprocess=lambda before, after: Replaced(1),
        coarse=lambda before, after, n: Replaced(),
    )


EQUAL: dict[str, Callable[[], FeedForward | nn.Module]] = {
    made.__name__: made
    for made in (
        dropout_in_units,
        dropout_at_the_cuts,
        dropout_everywhere,
        noise_in_evaluation_too,
        stochastic_depth,
        buffers,
        attributes_without_effect,
        norms,
        random_layers,
        state_that_is_replaced,
    )
}
