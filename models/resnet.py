"""Pre-activation bottleneck ResNet for small images, of any depth 9n + 2 (paper, section 4)."""

from functools import partial
from typing import Literal, cast

from torch import Tensor, nn
from torch.nn import functional as F

from models.feedforward import FeedForward, Shape

StridePosition = Literal["conv1", "conv2"]
ShortcutInput = Literal["activated", "raw"]

EXPANSION = 4
"""A bottleneck's output has this many times the channels of its 3×3 convolution."""


class ResidualUnit(nn.Module):
    """Pre-activation bottleneck: (BN, ReLU, conv) × 3 with kernels 1, 3, 1, plus a shortcut.

    Reads (batch, in_channels, H, W), returns (batch, out_channels, H / stride, W / stride). Where
    the shape changes, the shortcut is a 1×1 convolution.

    Args:
        in_channels: channels read.
        out_channels: channels returned, a multiple of 4.
        stride: how far the image shrinks.
        stride_position: the convolution that carries the stride: ``"conv1"`` (the first 1×1, as in
            the authors' code for pre-activation ResNets) or ``"conv2"`` (the 3×3).
        shortcut_input: what a projecting shortcut reads: ``"activated"`` (after the first BN and
            ReLU, as in the same code) or ``"raw"`` (the unit's input).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        stride_position: StridePosition = "conv1",
        shortcut_input: ShortcutInput = "activated",
    ) -> None:
        super().__init__()
        channels = out_channels // EXPANSION
        stride1, stride2 = (stride, 1) if stride_position == "conv1" else (1, stride)
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 1, stride=stride1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=stride2, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.shortcut = (
            nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
            if stride != 1 or in_channels != out_channels
            else None
        )
        self.shortcut_input = shortcut_input
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, H, W) to (batch, out_channels, H / stride, W / stride)."""
        activated = F.relu(self.bn1(x))
        if self.shortcut is None:
            identity = x
        else:
            identity = self.shortcut(activated if self.shortcut_input == "activated" else x)
        out = self.conv1(activated)
        out = self.conv2(F.relu(self.bn2(out)))
        out = self.conv3(F.relu(self.bn3(out)))
        return cast(Tensor, out + identity)


class Postprocess(nn.Module):
    """h: BN, ReLU, global average pooling and a fully connected layer; returns the logits."""

    def __init__(self, channels: int, n_classes: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, H, W) to logits of shape (batch, n_classes)."""
        return cast(Tensor, self.fc(F.relu(self.bn(x)).mean(dim=(2, 3))))


def initialise(module: nn.Module) -> nn.Module:
    """Draw every convolution's weights as He et al. do: normal, variance 2 / fan-out."""
    for child in module.modules():
        if isinstance(child, nn.Conv2d):
            nn.init.kaiming_normal_(child.weight, mode="fan_out", nonlinearity="relu")
    return module


def _stem(in_channels: int, channels: int) -> nn.Module:
    """C: a single 3×3 convolution."""
    return initialise(nn.Conv2d(in_channels, channels, 3, padding=1, bias=False))


def coarse_units(
    input_shape: Shape, output_shape: Shape, n_units: int, *, unit: partial[ResidualUnit]
) -> nn.Module:
    """F^j: ``n_units`` residual units from g^{j+1}'s input shape to its output shape (paper, section 4).

    Halvings of the image are spread over the units, the last one takes what is left.

    Raises:
        ValueError: the output image is no whole fraction of the input image.
    """
    (in_channels, height, width), (out_channels, out_height, out_width) = input_shape, output_shape
    left = -(-height // out_height)
    if (-(-height // left), -(-width // left)) != (out_height, out_width):
        raise ValueError(
            f"no stride leads from an image of {height}×{width} to {out_height}×{out_width}: "
            "give tear(coarse=…) your own factory"
        )
    units = []
    for index in range(n_units):
        stride = left if index == n_units - 1 or left % 2 else min(left, 2)
        units.append(unit(in_channels if index == 0 else out_channels, out_channels, stride=stride))
        left //= stride
    return nn.Sequential(*units)


def resnet(
    depth: int = 164,
    *,
    width: int = 16,
    input_shape: Shape = (3, 32, 32),
    n_classes: int = 10,
    stride_position: StridePosition = "conv1",
    shortcut_input: ShortcutInput = "activated",
) -> FeedForward:
    """ResNet of He et al. (2016, "Identity mappings in deep residual networks"), bottleneck form.

    Three stages of (depth − 2) / 9 units each; the stages return 4, 8 and 16 times ``width``
    channels and the second and third halve the image. ResNet-1001 has 333 units.

    Args:
        depth: 9n + 2 weighted layers for some n >= 1.
        width: channels of C; 16 in the paper.
        input_shape: (channels, height, width) of an image.
        n_classes: number of logits.
        stride_position: see :class:`ResidualUnit`.
        shortcut_input: see :class:`ResidualUnit`.

    Raises:
        ValueError: ``depth`` is not 9n + 2, or the input is no image.
    """
    n, rest = divmod(depth - 2, 9)
    if rest or n < 1:
        below = max(11, depth - rest)
        raise ValueError(
            f"depth {depth} is not 9n + 2: the nearest are {below} and {below + 9}, "
            "so pass one of them as --depth"
        )
    if len(input_shape) != 3:
        raise ValueError(f"a ResNet reads images (channels, height, width), not shape {input_shape}")
    unit = partial(ResidualUnit, stride_position=stride_position, shortcut_input=shortcut_input)
    units = []
    in_channels = width
    for stage, channels in enumerate((width, 2 * width, 4 * width)):
        for index in range(n):
            stride = 2 if stage > 0 and index == 0 else 1
            units.append(partial(unit, in_channels, EXPANSION * channels, stride=stride))
            in_channels = EXPANSION * channels
    return FeedForward(
        partial(_stem, input_shape[0], width),
        units,
        partial(Postprocess, in_channels, n_classes),
        input_shape,
        name=f"ResNet-{depth}",
        coarse=partial(coarse_units, unit=unit),
    )
