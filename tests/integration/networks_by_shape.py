"""Networks that read or return something else than blocks of images do."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from models import FeedForward
from models.coarse import repeat
from tests.integration.network_parts import Around, Do, W, conv, everywhere, head, parts

# What is returned


def more_outputs_than_classes() -> FeedForward:
    return parts(h=partial(head, 17))


def scattered_in_memory() -> FeedForward:
    """What dropout leaves out goes by how its input lies in memory."""

    def channels_last() -> nn.Module:
        return nn.Sequential(conv(), Do(lambda x: x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)))

    return parts(
        channels_last,
        lambda: nn.Sequential(conv(W, 1), Do(lambda x: x.expand(-1, W, -1, -1))),
        lambda: nn.Sequential(conv(), Do(lambda x: x.transpose(2, 3))),
        lambda: nn.Sequential(conv(), Do(lambda x: x[:, :, ::1, :].flip(2))),
        channels_last,
        channels_last,
        h=lambda: nn.Sequential(nn.Dropout(0.2), head()),
        coarse=lambda before, after, n: nn.Sequential(nn.Dropout(0.2), channels_last()),
    )


def norm_of_one_value() -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(W))


def one_value() -> FeedForward:
    """In BatchNorm; refused where a pass has one image alone."""
    return parts(
        *[partial(conv)] * 5,
        norm_of_one_value,
        coarse=lambda before, after, n: norm_of_one_value() if after[1] == 1 else conv(),
    )


def complex_within() -> FeedForward:
    return everywhere(
        lambda: nn.Sequential(conv(), Do(lambda x: torch.fft.ifft2(torch.fft.fft2(x).mul(0.5 + 0.1j)).real))
    )


def tokens() -> FeedForward:
    class Recurrent(nn.GRU):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)[0]

    attention = partial(nn.TransformerEncoderLayer, 8, 2, 16, batch_first=True)
    return FeedForward(
        partial(nn.Sequential, nn.Flatten(1, 2), nn.Linear(8, 8)),
        [attention, partial(Recurrent, 8, 8, batch_first=True), attention] * 2,
        partial(nn.Sequential, nn.Flatten(), nn.Linear(64, 10)),
        (1, 8, 8),
        interface_preprocess=lambda before, after: nn.Sequential(nn.Flatten(1, 2), attention()),
        coarse=repeat(attention),
    )


class ClassToken(nn.Module):
    """Rows as tokens, one more before them: a number of tokens that no patches have."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.token = nn.Parameter(torch.randn(8))

    def forward(self, x: Tensor) -> Tensor:
        rows = self.linear(x.flatten(1, 2))
        return torch.cat([self.token.expand(len(rows), 1, 8), rows], dim=1)


def class_token() -> nn.Module:
    """No C^j follows from the shapes."""
    blocks = (nn.TransformerEncoderLayer(8, 2, 16, 0.1, batch_first=True) for _ in range(6))
    return nn.Sequential(
        ClassToken(), *blocks, nn.Sequential(Do(lambda x: x[:, 0]), nn.Dropout(), nn.Linear(8, 10))
    )


def volumes() -> FeedForward:
    """Neither C^j nor F^j follows from the shapes, there are too many dimensions."""

    def conv() -> nn.Module:
        return nn.Sequential(nn.Conv3d(2, 2, 3, padding=1), nn.BatchNorm3d(2), nn.ReLU())

    return FeedForward(
        lambda: nn.Sequential(nn.Unflatten(2, (2, 4)), nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2)),
        [conv, nn.Identity, conv, conv, nn.Dropout, conv],
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(128, 10)),
        (1, 8, 8),
    )


def recurrent() -> FeedForward:
    """Two directions, two layers, dropout between them; and attention that returns its weights too."""

    def first(self: Around, x: Tensor) -> Tensor:
        return self.module(x)[0]

    def attend(self: Around, x: Tensor) -> Tensor:
        return x + self.module(x, x, x)[0]

    units = [
        lambda: Around(nn.LSTM(8, 4, 2, dropout=0.3, bidirectional=True, batch_first=True), first),
        lambda: Around(nn.MultiheadAttention(8, 2, dropout=0.1, batch_first=True), attend),
    ]
    return FeedForward(
        lambda: nn.Sequential(nn.Flatten(1, 2), nn.Linear(8, 8)),
        units * 3,
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)),
        (1, 8, 8),
    )


EQUAL: dict[str, Callable[[], FeedForward | nn.Module]] = {
    made.__name__: made
    for made in (
        more_outputs_than_classes,
        scattered_in_memory,
        one_value,
        complex_within,
        tokens,
        class_token,
        volumes,
        recurrent,
    )
}
