"""Pre-activation bottleneck ResNet for small images, of any depth 9n + 2 (paper, section 4)."""

from functools import partial
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from models.coarse import residual_units
from models.feedforward import FeedForward, Shape
from models.initialisation import he_normal
from models.residual_unit import EXPANSION, ResidualUnit, ShortcutInput, StridePosition


class Postprocess(nn.Module):
    """h: BN, ReLU, global average pooling and a fully connected layer; returns the logits."""

    def __init__(self, channels: int, n_classes: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, H, W) to logits of shape (batch, n_classes)."""
        return cast(Tensor, self.fc(F.relu(self.bn(x)).mean(dim=(2, 3))))


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
        coarse=partial(residual_units, unit=unit),
    )


def _stem(in_channels: int, channels: int) -> nn.Module:
    """C: a single 3×3 convolution."""
    return he_normal(nn.Conv2d(in_channels, channels, 3, padding=1, bias=False))
