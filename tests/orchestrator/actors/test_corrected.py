"""The passes of one subnetwork, with what it gets and what it sends: as one graph would have them."""

import pytest
import torch
from torch import nn

from models.compute import Compute
from models.iterations import Passes, Repeated
from orchestrator.actors.corrected import Corrected

COMPUTE = Compute(precision="float64")


@pytest.mark.parametrize("begins", [True, False])
def test_gradients_of_corrections_and_parameters_are_those_of_one_graph(begins: bool) -> None:
    g = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    own = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    corrections = [torch.randn(5, 3, dtype=torch.float64) for _ in range(3)]
    weights = [torch.randn(5, 2, dtype=torch.float64) for _ in range(3 + begins)]

    leaves = [c.clone().requires_grad_() for c in corrections]
    x, sent = (own, [g(own)]) if begins else (0.0, [])
    for leaf in leaves:
        before = g(x) if len(sent) else 0.0
        x = x + leaf
        sent.append(g(x) - before)
    sum((w * s).sum() for w, s in zip(weights, sent, strict=True)).backward()
    expected = [own.grad, *(leaf.grad for leaf in leaves), *(p.grad for p in g.parameters())]

    own.grad = None
    g.zero_grad()
    step = Corrected(Repeated(g, Passes(g, 3 + begins)), COMPUTE, torch.empty(5, 2, dtype=torch.float64))
    if begins:
        x = own * 1
        y = g(x)
        step.begin(x, y)
        assert torch.equal(y, sent[0])
    changes = [step.correct(c.clone()) for c in corrections]
    for change, value in zip(changes, sent[begins:], strict=True):
        torch.testing.assert_close(change, value)
    *_, found = gradients = [step.back(weight).clone() for weight in reversed(weights[begins:])]
    assert found.shape == corrections[0].shape
    if begins:
        step.arrived(weights[0])
        step.back_to(x, (y * step.seed).sum()).backward()
    actual = [own.grad, *reversed(gradients), *(p.grad for p in g.parameters())]
    for value, wanted in zip(actual, expected, strict=True):
        assert (value is None) == (wanted is None)
        if wanted is not None:
            torch.testing.assert_close(value, wanted, rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_nothing_is_kept_for_a_backward_pass_that_will_not_come() -> None:
    g = nn.Linear(3, 2).double()
    step = Corrected(Repeated(g, Passes(g, 2)), COMPUTE, torch.empty(5, 2))
    x = torch.randn(5, 3, dtype=torch.float64)
    assert torch.equal(step.correct(x.clone()), g(x))
    torch.testing.assert_close(step.correct(x.clone()), g(2 * x) - g(x))
    with pytest.raises(IndexError):
        step.back(torch.zeros(5, 2))
