"""Backward passes that start from a gradient computed elsewhere, and where they end."""

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor


class _Seed(torch.autograd.Function):
    """A scalar whose gradient with respect to ``output`` is a given tensor, times a number."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, gradient: Tensor, scale: float) -> Tensor:
        # Not by save_for_backward, which forbids that the gradient is only filled in later.
        ctx.gradient, ctx.scale, ctx.dtype = gradient, scale, output.dtype
        return output.new_zeros(())

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor, None, None]:
        gradient = ctx.gradient.to(ctx.dtype)
        return gradient if ctx.scale == 1.0 else ctx.scale * gradient, None, None


def seed_gradient(output: Tensor, gradient: Tensor, *, scale: float = 1.0) -> Tensor:
    """A scalar s with ∂s/∂output = scale · gradient, to call ``backward()`` of once the gradient is known.

    ``output`` itself is not kept. Torch's own way, ``output.backward(gradient)``, compares the shapes
    symbolically and for that imports sympy: seconds of processor time and 40 MB in every actor, before
    the first step.

    Args:
        output: what a component has computed.
        gradient: where the loss's gradient with respect to it stands when the backward pass begins; of
            the same shape, its type is adapted.
        scale: a factor of the gradient.
    """
    return cast(Tensor, _Seed.apply(output, gradient, scale))


def leaves(output: Tensor) -> Iterator[Tensor]:
    """All leaf tensors that a backward pass from ``output`` would give a gradient; () where it has none."""
    todo, met = [output.grad_fn], set()
    while todo:
        node = todo.pop()
        if node is None or node in met:
            continue
        met.add(node)
        leaf = getattr(node, "variable", None)
        if isinstance(leaf, Tensor):
            yield leaf
        todo.extend(following for following, _ in node.next_functions)
