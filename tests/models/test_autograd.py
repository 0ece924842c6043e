"""Backward passes that start from a gradient computed elsewhere."""

import torch
from torch import nn

from models.autograd import seed_gradient


def test_backward_from_a_given_gradient_is_torchs_own() -> None:
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Conv2d(3, 2, 1))
    x = torch.randn(4, 2, 6, 5, requires_grad=True)
    gradient = torch.randn(4, 2, 4, 3)

    module(x).backward(gradient)
    expected = [x.grad, *(p.grad for p in module.parameters())]
    x.grad = None
    module.zero_grad()
    scalar = seed_gradient(module(x), gradient)
    assert scalar.shape == ()
    scalar.backward()

    for value, wanted in zip([x.grad, *(p.grad for p in module.parameters())], expected, strict=True):
        assert torch.equal(value, wanted)
