"""A decoder-only Transformer on characters, as a user brings one: nothing in it knows of cuts."""

from pydoc_data.topics import topics

import numpy as np
import torch
from torch import Tensor, nn

LENGTH, WIDTH = 12, 8


def text() -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Pieces of Python's own help, and for each character of them the next one."""
    letters, codes = np.unique([*topics["assert"]], return_inverse=True)
    assert len(letters) > 30
    windows = np.lib.stride_tricks.sliding_window_view(codes.astype(np.uint8), LENGTH + 1)[::LENGTH]
    inputs, targets = windows[:, :-1], windows[:, 1:]
    return (inputs[:24], targets[:24]), (inputs[24:44], targets[24:44])


class Embedding(nn.Module):
    """Characters and their places."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.characters = nn.Embedding(vocabulary, WIDTH)
        self.places = nn.Embedding(LENGTH, WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.characters(tokens) + self.places.weight


class Block(nn.Module):
    """What comes before, looked at and thought about."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(
            WIDTH, 2, 2 * WIDTH, dropout=0.0, batch_first=True, norm_first=True
        )

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.ones(LENGTH, LENGTH, dtype=torch.bool, device=x.device).triu(1)
        return self.layer(x, src_mask=hidden)


def transformer(*, input_shape: tuple[int, ...], n_classes: int) -> nn.Sequential:
    """Six blocks."""
    assert input_shape == (LENGTH,)
    head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, n_classes))
    return nn.Sequential(Embedding(n_classes), *(Block() for _ in range(6)), head)


def tabular() -> dict[str, object]:
    """Numbers from numbers, with noise on what is trained on."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(44, 5)).astype(np.float32)
    targets = (inputs @ rng.normal(size=(5, 2))).astype(np.float32)
    return {
        "train": (inputs[:24], targets[:24]),
        "validation": (torch.from_numpy(inputs[24:]), torch.from_numpy(targets[24:])),
        "augmentation": noisy,
    }


def noisy(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Every number off by a little."""
    noise = torch.randn(batch.shape, generator=generator, device=batch.device, dtype=batch.dtype)
    return batch + 0.1 * noise
