"""C^j for j > 1: from the network's input to what subnetwork j reads (paper, section 4)."""

from math import isqrt, prod
from typing import cast

import torch
from torch import Tensor, nn

from models.feedforward import PreprocessFactory, Shape
from models.strides import stride_between


def auto(input_shape: Shape, output_shape: Shape) -> nn.Module:
    """The default C^j: every pixel of the image reaches g^j, whatever the shapes.

    :func:`stem` where g^j reads an image, after zeros at its right and lower edge where patches do not
    tile it; :func:`linear` where g^j reads no image.

    Raises:
        ValueError: no stride or linear map leads from one shape to the other.
    """
    if len(output_shape) != 3:
        return linear(input_shape, output_shape)
    stride = _stride(input_shape, output_shape)
    channels, height, width = input_shape
    below, right = -height % stride, -width % stride
    if not below and not right:
        return stem(input_shape, output_shape)
    padded = (channels, height + below, width + right)
    return nn.Sequential(nn.ZeroPad2d((0, right, 0, below)), stem(padded, output_shape))


def strided(input_shape: Shape, output_shape: Shape) -> nn.Module:
    """The paper's C^j: a 1×1 convolution with the stride and channels of g^j's input.

    With stride s it reads one pixel of s²: of a small image next to nothing. Where g^j reads no
    image, C^j is as in :func:`linear`.

    Raises:
        ValueError: no stride leads from one shape to the other.
    """
    if len(output_shape) != 3:
        return linear(input_shape, output_shape)
    stride = _stride(input_shape, output_shape)
    return nn.Conv2d(input_shape[0], output_shape[0], 1, stride=stride, bias=False)


def patch(input_shape: Shape, output_shape: Shape) -> nn.Module:
    """An s×s convolution of stride s: as cheap as :func:`strided`, but it reads every pixel.

    Where g^j reads no image, C^j is as in :func:`linear`.

    Raises:
        ValueError: as :func:`strided`, and where the stride does not divide the image.
    """
    if len(output_shape) != 3:
        return linear(input_shape, output_shape)
    stride = _stride(input_shape, output_shape)
    if any(size % stride for size in input_shape[1:]):
        raise ValueError(
            f"patches of {stride}×{stride} do not tile an image of {input_shape[1]}×{input_shape[2]}: "
            "pass --preprocess auto, which pads it"
        )
    return nn.Conv2d(input_shape[0], output_shape[0], stride, stride=stride, bias=False)


def stem(input_shape: Shape, output_shape: Shape) -> nn.Module:
    """A 3×3 convolution at full resolution, BN, ReLU, then :func:`patch`.

    Like the network's own C it sees edges before the image shrinks, which no linear map of single
    patches can. Its first convolution has a quarter of g^j's channels, halved with every halving of the
    image: 16 for a ResNet of the usual width, as C has. Where g^j reads no image, C^j is as in
    :func:`linear`.

    Raises:
        ValueError: as :func:`patch`.
    """
    if len(output_shape) != 3:
        return linear(input_shape, output_shape)
    channels = max(1, output_shape[0] // (4 * _stride(input_shape, output_shape)))
    return nn.Sequential(
        nn.Conv2d(input_shape[0], channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        patch((channels, *input_shape[1:]), output_shape),
    )


def linear(input_shape: Shape, output_shape: Shape) -> nn.Module:
    """C^j where g^j reads features (features,) or tokens (tokens, width).

    Features: one linear map of the whole input. Tokens: from an image, its patches
    (:class:`PatchEmbedding`); from as many tokens, a linear map of each.

    Raises:
        ValueError: none of these leads from one shape to the other.
    """
    if len(output_shape) == 1:
        return nn.Sequential(nn.Flatten(), nn.Linear(prod(input_shape), output_shape[0]))
    if len(output_shape) == 2 and len(input_shape) == 3:
        return PatchEmbedding(input_shape, output_shape)
    if len(output_shape) == len(input_shape) == 2 and input_shape[0] == output_shape[0]:
        return nn.Linear(input_shape[1], output_shape[1])
    raise _no_way(input_shape, output_shape)


class PatchEmbedding(nn.Module):
    """Linear map of each p×p patch of an image to a token, plus a learned position.

    Args:
        input_shape: (channels, height, width) of the image.
        output_shape: (tokens, width); p follows from the number of tokens.

    Raises:
        ValueError: square patches do not cut the image into that many tokens.
    """

    def __init__(self, input_shape: Shape, output_shape: Shape) -> None:
        super().__init__()
        (channels, height, width), (n_tokens, n_features) = input_shape, output_shape
        size = isqrt(height * width // n_tokens)
        if size == 0 or height % size or width % size or height * width != n_tokens * size**2:
            raise ValueError(
                f"no square patches cut an image of {height}×{width} into {n_tokens} tokens: "
                "give FeedForward(interface_preprocess=…) or tear(preprocess=…) your own factory"
            )
        self.projection = nn.Conv2d(channels, n_features, size, stride=size)
        self.positions = nn.Parameter(torch.empty(n_tokens, n_features).normal_(std=0.02))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, height, width) to (batch, tokens, width), patches row by row."""
        return cast(Tensor, self.projection(x).flatten(2).mT + self.positions)


def _stride(input_shape: Shape, output_shape: Shape) -> int:
    """The stride that takes an image of ``input_shape`` to ``output_shape``."""
    stride = stride_between(input_shape, output_shape) if len(input_shape) == 3 else None
    if stride is None:
        raise _no_way(input_shape, output_shape)
    return stride


def _no_way(input_shape: Shape, output_shape: Shape) -> ValueError:
    """No C^j is known between these shapes."""
    return ValueError(
        f"no stride or linear map leads from the network's input {input_shape} to {output_shape}: "
        "give FeedForward(interface_preprocess=…) or tear(preprocess=…) your own factory"
    )


PREPROCESSES: dict[str, PreprocessFactory] = {
    "auto": auto,
    "strided": strided,
    "patch": patch,
    "stem": stem,
}
"""By name; they differ where g^j reads an image. For ``"auto"`` a network's own C^j stands in."""
