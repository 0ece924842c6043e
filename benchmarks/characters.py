"""A decoder-only Transformer on the characters of Python's own help: ``benchmarks.accuracy characters``."""

from functools import partial
from pydoc_data.topics import topics

import numpy as np
import torch
from torch import Tensor, nn

from models import FeedForward
from models.coarse import repeat

LENGTH = 32
"""Characters that are seen at a time."""

N_CHARACTERS = 400_000


def text() -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Windows of the text and, at every place, the character that comes next; the last tenth validates."""
    _, codes = np.unique([*"".join(topics.values())[:N_CHARACTERS]], return_inverse=True)
    windows = np.lib.stride_tricks.sliding_window_view(codes.astype(np.uint8), LENGTH + 1)[::LENGTH]
    inputs, targets = windows[:, :-1], windows[:, 1:]
    n = len(windows) * 9 // 10
    return (inputs[:n], targets[:n]), (inputs[n:], targets[n:])


class Embedding(nn.Module):
    """Characters and their places."""

    def __init__(self, vocabulary: int, width: int, length: int) -> None:
        super().__init__()
        self.characters = nn.Embedding(vocabulary, width)
        self.places = nn.Embedding(length, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, length) whole numbers to (batch, length, width)."""
        embedded: Tensor = self.characters(tokens) + self.places.weight
        return embedded


class Block(nn.TransformerEncoderLayer):
    """Attention to what came before, and two dense layers; no dropout."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__(width, n_heads, 4 * width, dropout=0.0, batch_first=True, norm_first=True)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """(batch, length, width) to the same."""
        hidden = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        return super().forward(x, src_mask=hidden)


def transformer(
    *, input_shape: tuple[int, ...], n_classes: int, depth: int = 12, width: int = 32, n_heads: int = 4
) -> nn.Sequential:
    """Embedding, ``depth`` blocks, and a head of normalisation and linear layer."""
    blocks = [Block(width, n_heads) for _ in range(depth)]
    head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, n_classes))
    return nn.Sequential(Embedding(n_classes, width, *input_shape), *blocks, head)


def transformer_corrected_by_blocks(
    *, input_shape: tuple[int, ...], n_classes: int, depth: int = 12, width: int = 32, n_heads: int = 4
) -> FeedForward:
    """The same with F^j of its own blocks instead of dense units on each token."""
    chain = transformer(
        input_shape=input_shape, n_classes=n_classes, depth=depth, width=width, n_heads=n_heads
    )
    return FeedForward.from_sequential(
        chain,
        input_shape=input_shape,
        name=f"Transformer-{depth}",
        coarse=repeat(partial(Block, width, n_heads)),
        vocabulary=n_classes,
    )
