"""A Vision Transformer with a class token: ``benchmarks.accuracy class_token``."""

from functools import partial

import torch
from torch import Tensor, nn

from models import FeedForward
from models.coarse import repeat


class Tokens(nn.Module):
    """Patches of an image behind a learned token that the head reads, each with its place."""

    def __init__(self, input_shape: tuple[int, ...], width: int, patch_size: int) -> None:
        super().__init__()
        channels, *sides = input_shape
        n_patches = sides[0] * sides[1] // patch_size**2
        self.patches = nn.Conv2d(channels, width, patch_size, stride=patch_size)
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.places = nn.Parameter(0.02 * torch.randn(1, n_patches + 1, width))

    def forward(self, images: Tensor) -> Tensor:
        """(batch, channels, height, width) to (batch, patches + 1, width)."""
        patches = self.patches(images).flatten(2).transpose(1, 2)
        return torch.cat([self.token.expand(len(images), -1, -1), patches], dim=1) + self.places


class Head(nn.Module):
    """Reads the class token alone."""

    def __init__(self, width: int, n_classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc = nn.Linear(width, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, width) to logits of shape (batch, n_classes)."""
        logits: Tensor = self.fc(self.norm(x[:, 0]))
        return logits


def vit(
    *, input_shape: tuple[int, ...], n_classes: int, depth: int = 12, width: int = 48, patch_size: int = 2
) -> nn.Sequential:
    """Tokens, ``depth`` blocks, and a head."""
    blocks = [_block(width) for _ in range(depth)]
    return nn.Sequential(Tokens(input_shape, width, patch_size), *blocks, Head(width, n_classes))


def vit_corrected_by_blocks(
    *, input_shape: tuple[int, ...], n_classes: int, depth: int = 12, width: int = 48
) -> FeedForward:
    """The same with F^j of its own blocks instead of dense units on each token."""
    return FeedForward.from_sequential(
        vit(input_shape=input_shape, n_classes=n_classes, depth=depth, width=width),
        input_shape=input_shape,
        name=f"ViT-{depth}",
        coarse=repeat(partial(_block, width)),
    )


def _block(width: int) -> nn.Module:
    """Attention and two dense layers, neither with dropout."""
    return nn.TransformerEncoderLayer(
        width, 4, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
