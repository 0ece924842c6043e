"""Backward passes that start from a gradient computed elsewhere."""

import weakref

import pytest
import torch
from torch import nn

from models.autograd import seed_gradient


@pytest.mark.parametrize("scale", [1.0, -1.0])
def test_backward_from_a_gradient_that_comes_later_is_torchs_own(scale: float) -> None:
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Conv2d(3, 2, 1))
    x = torch.randn(4, 2, 6, 5, requires_grad=True)
    gradient = torch.randn(4, 2, 4, 3)

    module(x).backward(gradient)
    expected = [x.grad, *(p.grad for p in module.parameters())]
    x.grad = None
    module.zero_grad()
    later = torch.zeros_like(gradient)
    scalar = seed_gradient(module(x), later, scale=scale)
    assert scalar.shape == ()
    later.copy_(gradient)
    scalar.backward()

    for value, wanted in zip([x.grad, *(p.grad for p in module.parameters())], expected, strict=True):
        assert torch.equal(value, scale * wanted)


def test_the_output_is_not_kept() -> None:
    output = torch.randn(3, requires_grad=True) + 1
    kept = weakref.ref(output)
    scalar = seed_gradient(output, torch.ones(3))
    del output
    assert scalar.requires_grad
    assert kept() is None
