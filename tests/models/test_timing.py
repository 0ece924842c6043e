"""Each component and direction is measured, alone."""

import weakref
from collections import Counter

import pytest
import torch
from torch import nn

from models.compute import Compute
from models.feedforward import FeedForward
from models.resnet import resnet
from models.step_time import Cost, StepCosts
from models.tearing import plan_tearing
from models.timing import ComponentTime, components, step_costs, time_components

ALIVE: weakref.WeakSet[nn.Module] = weakref.WeakSet()


class Alone(nn.Linear):
    """Counts as a component; refuses to be built while another one is alive."""

    def __init__(self, n_in: int, n_out: int) -> None:
        assert not ALIVE
        super().__init__(n_in, n_out)
        ALIVE.add(self)


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.relu_() * self.weight


def chain(n_units: int, width: int = 3) -> FeedForward:
    return FeedForward(
        lambda: Alone(2, width),
        [lambda: Alone(width, width)] * n_units,
        lambda: Alone(width, 2),
        (2,),
        coarse=lambda before, after, n: Alone(before[0], after[0]),
    )


def names(n: int) -> set[tuple[str, int]]:
    parallel = {(component, j) for component in ("preprocess", "subnetwork") for j in range(1, n + 1)}
    return parallel | {("coarse_network", j) for j in range(1, n)} | {("postprocess", 0)}


@pytest.mark.parametrize("n", [1, 2, 3])
def test_every_component_and_direction_is_measured_as_often_as_asked(n: int) -> None:
    network = resnet(11, width=4, input_shape=(1, 8, 12))
    times = list(time_components(plan_tearing(network, n), batch_size=2, repeats=3, warmup=1))
    assert all(measured.seconds > 0 for measured in times)
    counts = Counter((t.component, t.subnetwork, t.direction, t.repeat) for t in times)
    assert counts == {
        (*name, direction, repeat): 1
        for name in names(n)
        for direction in ("forward", "backward")
        for repeat in range(3)
    }


def test_one_component_is_alive_at_a_time() -> None:
    tearing = plan_tearing(chain(3), 3, preprocess=lambda image, shape: Alone(image[0], shape[0]))
    built = [t.component for t in time_components(tearing, batch_size=2, repeats=1, warmup=0)]
    assert len(built) == 2 * (3 + 3 + 2 + 1)
    assert not ALIVE


def test_a_slow_component_shows() -> None:
    class Slow(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            big = torch.ones(300, 300)
            for _ in range(20):
                big = big @ big / 300
            return x * big[0, 0]

    network = FeedForward(nn.Identity(), [nn.Linear(2, 2), Slow()], nn.Identity(), (2,), coarse=linear)
    tearing = plan_tearing(network, 2, preprocess=lambda image, shape: nn.Identity())
    times = list(time_components(tearing, batch_size=2, repeats=3))
    forward = [t for t in times if (t.component, t.direction) == ("subnetwork", "forward")]
    fast, slow = (min(t.seconds for t in forward if t.subnetwork == j) for j in (1, 2))
    assert slow > 3 * fast


def linear(before: tuple[int, ...], after: tuple[int, ...], n_units: int) -> nn.Module:
    return nn.Linear(before[0], after[0])


def test_units_may_overwrite_their_input_and_a_preprocess_may_have_no_parameters() -> None:
    network = FeedForward(nn.Identity(), [InPlace, InPlace], InPlace, (4,), coarse=linear)
    tearing = plan_tearing(network, 2, preprocess=lambda image, shape: nn.Identity())
    times = list(time_components(tearing, batch_size=3, repeats=1, warmup=0))
    assert {(t.component, t.subnetwork) for t in times} == names(2)


def test_the_trained_weights_of_a_given_module_are_left_alone() -> None:
    module = nn.Linear(2, 2)
    network = FeedForward(nn.Identity(), [module], nn.Identity(), (2,))
    list(time_components(plan_tearing(network), batch_size=2, repeats=1))
    assert module.weight.grad is None
    assert module.weight.requires_grad


def test_memory_counts_parameters_twice_and_what_the_backward_pass_keeps() -> None:
    features, batch = 5, 7
    network = FeedForward(nn.Identity(), [nn.Linear(features, features)], nn.Identity(), (features,))
    (memory,) = {
        t.memory_bytes
        for t in time_components(plan_tearing(network), batch_size=batch, repeats=1, warmup=0)
        if t.component == "subnetwork"
    }
    n_parameters = features * (features + 1)
    kept = batch * features  # a linear map keeps its input
    assert memory == 4 * (2 * n_parameters + kept)


def test_memory_is_counted_with_the_compiler_off() -> None:
    tearing = plan_tearing(resnet(11, width=4, input_shape=(1, 8, 12)), 2)
    component = next(part for name, _, part in components(tearing) if name == "subnetwork")
    plain, compiled = (component.passes(2, Compute(compiled=on)).memory_bytes() for on in (False, True))
    assert compiled == plain > 0


def passes(component: str, j: int, forward: list[float], backward: list[float]) -> list[ComponentTime]:
    """Measurements of one component, one a repeat."""
    return [
        ComponentTime(component, j, direction, repeat, seconds, memory_bytes=0)
        for direction, times in (("forward", forward), ("backward", backward))
        for repeat, seconds in enumerate(times)
    ]


def test_each_repeat_has_the_costs_of_its_own_measurements_in_order_of_the_network() -> None:
    n = 11  # 10 comes after 9
    times = passes("postprocess", 0, [1.0, 2.0], [3.0, 4.0])
    for component, at in (("preprocess", 100), ("subnetwork", 200), ("coarse_network", 300)):
        for j in range(1, n + (component != "coarse_network")):
            times += passes(component, j, [at + j, at + j + 0.5], [-at - j, -at - j - 0.5])
    times.reverse()  # as they came is no matter

    def costs(repeat: int, at: int, last: int) -> tuple[Cost, ...]:
        return tuple(Cost(at + j + repeat / 2, -at - j - repeat / 2) for j in range(1, last + 1))

    assert step_costs(times) == [
        StepCosts(
            preprocess=costs(repeat, 100, n),
            subnetworks=costs(repeat, 200, n),
            coarse_network=costs(repeat, 300, n - 1),
            postprocess=Cost(1.0 + repeat, 3.0 + repeat),
        )
        for repeat in (0, 1)
    ]
    assert step_costs([]) == []


@pytest.mark.parametrize("n", [1, 3])
def test_what_was_measured_makes_a_step(n: int) -> None:
    network = resnet(11, width=4, input_shape=(1, 8, 12))
    times = list(time_components(plan_tearing(network, n), batch_size=2, repeats=2, warmup=0))
    steps = step_costs(iter(times))
    assert [step.n_subnetworks for step in steps] == [n, n]
    for repeat, step in enumerate(steps):
        measured = sum(t.seconds for t in times if t.repeat == repeat)
        components = (*step.preprocess, *step.subnetworks, *step.coarse_network, step.postprocess)
        assert sum(cost.total for cost in components) == pytest.approx(measured)
