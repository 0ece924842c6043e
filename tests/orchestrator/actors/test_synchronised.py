from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from torch import distributed as dist
from torch import nn

from models.feedforward import FeedForward
from models.tearing import plan_tearing
from orchestrator.actors.replicas import Replicas
from orchestrator.actors.synchronised import Holders, check_synchronisable, synchronise
from orchestrator.actors.transport import open_store

ROWS = [slice(0, 4), slice(4, 6), slice(6, 7)]  # the last is a single sample


@pytest.fixture(scope="module")
def together():
    """Calls a function in three threads, with the holders of one module."""
    _store, rendezvous = open_store("127.0.0.1", timeout=30)
    with ThreadPoolExecutor(3) as pool:

        def holders(rank):
            where = dist.PrefixStore("holders", rendezvous.join())
            options = {"host": "127.0.0.1", "device": torch.device("cpu"), "timeout": 30.0}
            replicas = Replicas(where, name="holders", replica=rank + 1, size=3, **options)
            return Holders(rank, 3, lambda tensor: replicas.sum(tensor).wait())

        all_of_them = list(pool.map(holders, range(3)))
        yield lambda act: list(pool.map(act, all_of_them))


def passes(norm, x, weights, epochs=2):
    """What comes of two passes there and back: outputs, gradients, running statistics, and evaluation."""
    norm.train()
    for _ in range(epochs):
        norm.zero_grad()
        x = x.detach().requires_grad_()
        y = norm(x)
        (y * weights).sum().backward()
    gradients = [p.grad for p in norm.parameters()]
    norm.eval()
    return y.detach(), x.grad, gradients, norm.state_dict(), norm(x).detach()


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.BatchNorm2d(3), (3, 4, 2)),
        (lambda: nn.BatchNorm1d(5), (5,)),
        (lambda: nn.BatchNorm1d(5, momentum=None), (5, 3)),
        (lambda: nn.BatchNorm2d(2, affine=False, eps=0.1), (2, 3, 3)),
        (lambda: nn.BatchNorm3d(2, track_running_stats=False), (2, 2, 3, 2)),
    ],
)
def test_shares_are_normalised_as_the_whole_batch_is(together, make, shape):
    generator = torch.Generator().manual_seed(0)
    # A mean that is large beside what varies: squares' differences would lose it.
    x = 1e3 + torch.randn(7, *shape, dtype=torch.float64, generator=generator)
    weights = torch.randn(7, *shape, dtype=torch.float64, generator=generator)
    y, of_x, gradients, state, evaluated = passes(make().double(), x, weights)

    def share(holders):
        norm, rows = make().double(), ROWS[holders.rank]
        synchronise(norm, holders)
        return passes(norm, x[rows], weights[rows])

    parts = together(share)
    close = {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(torch.cat([part[0] for part in parts]), y, **close)
    torch.testing.assert_close(torch.cat([part[1] for part in parts]), of_x, **close)
    for whole, *each in zip(gradients, *(part[2] for part in parts), strict=True):
        torch.testing.assert_close(sum(each), whole, **close)
    for part in parts:
        assert part[3].keys() == state.keys()
        for name, value in state.items():
            torch.testing.assert_close(part[3][name], value, **close)
            assert torch.equal(part[3][name], parts[0][3][name])
    if "running_mean" in state:  # else each is evaluated by its own share
        torch.testing.assert_close(torch.cat([part[4] for part in parts]), evaluated, **close)


def test_activations_of_half_the_precision_stay_so(together):
    x = torch.randn(7, 3, 4, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    y, of_x, *_ = passes(nn.BatchNorm2d(3), x, x.flip(0))

    def share(holders):
        norm, rows = nn.BatchNorm2d(3), ROWS[holders.rank]
        synchronise(norm, holders)
        return passes(norm, x[rows].to(memory_format=torch.channels_last), x.flip(0)[rows])

    parts = together(share)
    for i, whole in ((0, y), (1, of_x)):
        torch.testing.assert_close(torch.cat([part[i] for part in parts]), whole, rtol=2e-2, atol=2e-2)


def test_holders_that_leave_out_different_layers_are_told(together):
    def share(holders):
        norms = nn.Sequential(nn.BatchNorm1d(4), nn.BatchNorm1d(4))
        synchronise(norms, holders)
        with pytest.raises(RuntimeError, match="holders of shares are at different BatchNorms"):
            norms[holders.rank % 2](torch.ones(2, 4))
        return True

    assert all(together(share))


class Own(nn.BatchNorm1d):
    """Another normalisation."""

    def forward(self, x):
        return super().forward(x) + 1


def test_a_batch_norm_of_ones_own_is_refused():
    network = FeedForward(nn.Linear(4, 4), [nn.Linear(4, 4), nn.BatchNorm1d(4)], nn.Linear(4, 2), (4,))
    check_synchronisable(plan_tearing(network, 2))
    with pytest.raises(ValueError, match="Own has a forward pass of its own"):
        check_synchronisable(plan_tearing(replace(network, units=[nn.Linear(4, 4), Own(4)]), 2))
