"""Every component is measured once for all places where it can stand, and found again from any partition."""

import time
import weakref
from functools import partial
from itertools import pairwise
from math import isinf
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.coarse import coarse_from_shapes
from models.compute import Compute
from models.cost_profile import IMPOSSIBLE, CostProfile
from models.feedforward import FeedForward, Shape
from models.partition import staggered
from models.preprocess import strided
from models.profiling import RUN, measure_profile
from models.resnet import resnet
from models.step_time import Cost, critical_path
from models.tearing import plan_tearing
from models.timing import time_components

ALIVE: weakref.WeakSet[nn.Module] = weakref.WeakSet()


class Counted(nn.Linear):
    """Knows how many of its kind are alive, and how often all of them together have run."""

    most_alive = 0
    n_calls = 0

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out)
        ALIVE.add(self)
        Counted.most_alive = max(Counted.most_alive, len(ALIVE))

    def forward(self, x: Tensor) -> Tensor:
        Counted.n_calls += 1
        return super().forward(x)


@pytest.fixture(autouse=True)
def nothing_counted() -> None:
    Counted.most_alive = Counted.n_calls = 0


class Spend(torch.autograd.Function):
    """Nothing but time, on a clock that nothing else moves."""

    now = 0.0

    @staticmethod
    def forward(ctx: Any, x: Tensor, forward: float, backward: float) -> Tensor:
        ctx.backward_seconds = backward
        Spend.now += forward
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        Spend.now += ctx.backward_seconds
        return gradients[0], None, None


class Takes(nn.Module):
    """The identity in so many seconds each way."""

    def __init__(self, forward: float, backward: float) -> None:
        super().__init__()
        self.seconds = forward, backward

    def extra_repr(self) -> str:
        return str(self.seconds)

    def forward(self, x: Tensor) -> Tensor:
        return Spend.apply(x, *self.seconds)


def chain(*widths: int) -> FeedForward:
    units = [lambda a=a, b=b: Counted(a, b) for a, b in pairwise(widths)]
    return FeedForward(nn.Linear(2, widths[0]), units, nn.Linear(widths[-1], 2), (2,))


def profile_of(
    network: FeedForward, n_coarse_units: tuple[int, ...] = (1,), *, repeats: int = 1, batch_size: int = 2
) -> CostProfile:
    return measure_profile(
        network,
        preprocess=strided,
        coarse=network.coarse or coarse_from_shapes,
        n_coarse_units=n_coarse_units,
        batch_size=batch_size,
        repeats=repeats,
    )


def tiny() -> FeedForward:
    return resnet(29, width=4, input_shape=(1, 8, 8), n_classes=3)


def test_everything_that_any_partition_needs_is_measured() -> None:
    network = tiny()
    profile = profile_of(network, (1, 2), repeats=2)
    assert profile.shapes == network.trace.shapes
    for sizes in ((9,), (3, 3, 3), (1, 1, 1, 1, 1, 1, 1, 1, 1), (4, 5), (1, 7, 1)):
        for n_coarse_units in (1, 2):
            costs = profile.step_costs(sizes, n_coarse_units)
            components = [*costs.preprocess, *costs.subnetworks, *costs.coarse_network, costs.postprocess]
            assert len(components) == 3 * len(sizes)
            assert all(0 < cost.forward < 10 and 0 < cost.backward < 10 for cost in components)


def test_units_of_one_kind_cost_the_same_and_are_measured_once() -> None:
    network = chain(3, 3, 3, 3, 3, 3, 3, 3, 4, 4)
    assert len(network.trace.shapes) == 10
    Counted.n_calls = 0
    profile = profile_of(network, repeats=3)
    assert Counted.n_calls == 3 * 2 * (RUN + 1 + 1)  # a run of the first seven, the one that widens, the last
    assert len(set(profile.units[:7])) == 1
    assert len(set(profile.units)) == 3


def test_units_that_print_differently_are_measured_apart() -> None:
    network = FeedForward(nn.Identity(), [nn.ReLU, nn.Tanh, nn.ReLU], nn.Linear(2, 2), (2,))
    relu, tanh, again = profile_of(network).units
    assert relu == again != tanh


def test_never_more_than_a_run_of_units_is_held() -> None:
    profile_of(chain(3, 3, 3, 3, 3, 3, 3, 3, 3, 3))
    assert Counted.most_alive == RUN


def test_a_partition_costs_what_its_components_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", lambda: Spend.now)
    seconds = [(1, 2)] * 6 + [(8, 4), (16, 32), (8, 4)]
    network = FeedForward(
        nn.Linear(2, 2),
        [partial(Takes, *pair) for pair in seconds],
        lambda: Takes(64, 128),
        (2,),
        coarse=lambda reads, returns, n: Takes(256 * n, 512 * n),
    )
    profile = profile_of(network, (1, 2))
    assert profile.units == tuple(Cost(*pair) for pair in seconds)
    for sizes in ((9,), (4, 5), (1, 3, 5)):
        tearing = plan_tearing(network, len(sizes), partition=sizes, n_coarse_units=2)
        costs = profile.step_costs(sizes, 2)
        predicted = {("postprocess", 0): costs.postprocess}
        for name in ("preprocess", "subnetwork", "coarse_network"):
            column = costs.subnetworks if name == "subnetwork" else getattr(costs, name)
            predicted |= {(name, j): cost for j, cost in enumerate(column, start=1)}
        for measured in time_components(tearing, batch_size=2, repeats=1, warmup=0):
            cost = predicted[measured.component, measured.subnetwork]
            assert getattr(cost, measured.direction) == measured.seconds


def test_no_partition_uses_a_cut_where_nothing_can_stand() -> None:
    def coarse(reads: Shape, returns: Shape, n_units: int) -> nn.Module:
        if reads == (4,):
            raise ValueError("no way from width 4")
        return nn.Linear(reads[0], returns[0])

    network = FeedForward(
        nn.Linear(2, 3),
        [lambda a=a, b=b: nn.Linear(a, b) for a, b in ((3, 3), (3, 4), (4, 4), (4, 4), (4, 3), (3, 3))],
        nn.Linear(3, 2),
        (2,),
        coarse=coarse,
    )
    profile = profile_of(network)
    assert profile.coarse[(4,), (3,), 1] == IMPOSSIBLE
    assert isinf(critical_path(profile.step_costs((3, 3), 1)))
    assert staggered(profile, 3, 1) == (1, 4, 1)
    with pytest.raises(ValueError, match="4 subnetworks need 3 cuts"):
        staggered(profile, 4, 1)


def test_interfaces_are_as_large_as_the_numbers_in_them() -> None:
    profile = measure_profile(
        chain(3, 5, 4),
        preprocess=strided,
        coarse=coarse_from_shapes,
        n_coarse_units=(1,),
        batch_size=6,
        compute=Compute(precision="float64"),
        repeats=1,
    )
    assert profile.step_costs((1, 1), 1).interface_bytes == (6 * 5 * 8, 6 * 4 * 8)


def test_measuring_draws_nothing_from_the_generator_of_others() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    profile_of(tiny())
    assert torch.equal(torch.rand(4), expected)
