"""Pre-activation bottleneck residual unit (paper, Figure 2; He et al., 2016)."""

from typing import Literal, cast

from torch import Tensor, nn
from torch.nn import functional as F

from models.initialisation import he_normal

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
        out_channels: channels returned; the 3×3 convolution has a quarter of them, rounded up.
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
        channels = -(-out_channels // EXPANSION)
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
        he_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, H, W) to (batch, out_channels, H / stride, W / stride)."""
        activated = F.relu(self.bn1(x), inplace=True)  # nothing else reads what a BN returns
        if self.shortcut is None:
            identity = x
        else:
            identity = self.shortcut(activated if self.shortcut_input == "activated" else x)
        out = self.conv1(activated)
        out = self.conv2(F.relu(self.bn2(out), inplace=True))
        out = self.conv3(F.relu(self.bn3(out), inplace=True))
        return cast(Tensor, out + identity)
