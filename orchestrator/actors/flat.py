"""Several tensors in one vector, to travel together, and back."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def flatten(tensors: Sequence[Tensor]) -> Tensor:
    """All tensors' values in one vector."""
    return torch.cat([t.detach().flatten() for t in tensors]) if tensors else torch.empty(0)


def split(vector: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """The inverse of :func:`flatten`: pieces of ``vector`` in the shapes of ``like``."""
    pieces = vector.split([t.numel() for t in like])
    return [piece.view_as(t) for piece, t in zip(pieces, like, strict=True)]


def flatten_bytes(tensors: Sequence[Tensor]) -> Tensor:
    """All tensors' values, whatever their types, in one vector of bytes."""
    pieces = [t.detach().flatten().view(torch.uint8) for t in tensors]
    return torch.cat(pieces) if pieces else torch.empty(0, dtype=torch.uint8)


def split_bytes(vector: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """The inverse of :func:`flatten_bytes`; longest numbers first, all stand where they may."""
    pieces = vector.split([t.nbytes for t in like])
    return [piece.view(t.dtype).view(t.shape) for piece, t in zip(pieces, like, strict=True)]


def state_tensors(module: nn.Module, *, parameters: bool = True) -> list[Tensor]:
    """What copies of a module have in common: parameters and buffers, those of the longest numbers first.

    Not the counters that :meth:`models.compute.Compute.place` leaves on the CPU, by which nothing goes.
    """
    tensors = [*(module.parameters() if parameters else ()), *module.buffers()]
    device = next((p.device for p in module.parameters()), tensors[0].device if tensors else None)
    return sorted((t for t in tensors if t.device == device), key=lambda t: -t.element_size())
