"""Backward passes that start from a gradient computed elsewhere."""

from typing import Any, cast

import torch
from torch import Tensor


class _Seed(torch.autograd.Function):
    """A scalar whose gradient with respect to ``output`` is the given tensor."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient.to(output.dtype))
        return output.new_zeros(())

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor, None]:
        return ctx.saved_tensors[0], None


def seed_gradient(output: Tensor, gradient: Tensor) -> Tensor:
    """A scalar s with ∂s/∂output = gradient, whose ``backward()`` is ``output.backward(gradient)``.

    Torch's own way compares the shapes symbolically, and for that imports sympy: seconds of processor
    time and 40 MB in every actor, before the first step.

    Args:
        output: what a component has computed.
        gradient: the loss's gradient with respect to it, of the same shape; its type is adapted.
    """
    return cast(Tensor, _Seed.apply(output, gradient))
