"""VGG with batch normalisation, in its form for small images (Simonyan and Zisserman, 2015)."""

from functools import partial
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from models.feedforward import FeedForward, Shape
from models.initialisation import he_normal
from models.preprocess import auto

STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Convolutions in each of the five stages, by depth."""


class Unit(nn.Module):
    """2×2 max pooling where a stage begins, then 3×3 convolution, BN and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, *, pool: bool) -> None:
        super().__init__()
        self.pool = pool
        # No bias: BN would subtract it again.
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        he_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, H, W) to (batch, out_channels, H, W), H and W halved by a pool."""
        if self.pool:
            x = _halve(x)
        return F.relu(self.bn(self.conv(x)))


class Postprocess(nn.Module):
    """h: 2×2 max pooling, global average pooling and a fully connected layer; returns the logits."""

    def __init__(self, channels: int, n_classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, H, W) to logits of shape (batch, n_classes)."""
        return cast(Tensor, self.fc(_halve(x).mean(dim=(2, 3))))


def vgg(
    depth: int = 16,
    *,
    width: int = 64,
    input_shape: Shape = (3, 32, 32),
    n_classes: int = 10,
) -> FeedForward:
    """VGG with batch normalisation and one fully connected layer, as is usual for CIFAR.

    Five stages with 1, 2, 4, 8 and 8 times ``width`` channels, each but the first of half the image.
    C is the first convolution (with BN and ReLU), every further one is a unit. An image that has
    shrunk to one pixel stays that size, so that those smaller than 32×32 can be read as well.
    C^j, j > 1, is :func:`models.preprocess.auto`'s with BN and ReLU, in which C and the units end too.

    Args:
        depth: 11, 13, 16 or 19 weighted layers in the original count, which has 3 in h.
        width: channels of the first stage; 64 in the original.
        input_shape: (channels, height, width) of an image.
        n_classes: number of logits.

    Raises:
        ValueError: another depth, or an input that is no image.
    """
    if depth not in STAGES:
        raise ValueError(f"VGG has no depth {depth}: pass one of {', '.join(map(str, STAGES))} as --depth")
    if len(input_shape) != 3:
        raise ValueError(f"VGG reads images (channels, height, width), not shape {input_shape}")
    layers = []
    in_channels = input_shape[0]
    for stage, n_layers in enumerate(STAGES[depth]):
        channels = width * min(2**stage, 8)
        for index in range(n_layers):
            pool = stage > 0 and index == 0
            layers.append(partial(Unit, in_channels, channels, pool=pool))
            in_channels = channels
    return FeedForward(
        layers[0],
        layers[1:],
        partial(Postprocess, in_channels, n_classes),
        input_shape,
        name=f"VGG-{depth}",
        interface_preprocess=_interface,
    )


def _interface(input_shape: Shape, output_shape: Shape) -> nn.Sequential:
    """C^j, j > 1; without BN its scale would be free to grow, since h has none."""
    return nn.Sequential(auto(input_shape, output_shape), nn.BatchNorm2d(output_shape[0]), nn.ReLU())


def _halve(x: Tensor) -> Tensor:
    """2×2 max pooling that keeps a last odd row and column, and so a single pixel."""
    return F.max_pool2d(x, 2, ceil_mode=True)
