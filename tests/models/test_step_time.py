"""The paper's sum, the critical path and a gang played through: by hand, and what holds for any costs."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import published
from models.schedules import DRIVER, gangs
from models.simulation import Machine, Span, play
from models.step_time import Cost, StepCosts, critical_path, paper_sum

seconds = st.integers(0, 100).map(lambda k: k / 7)  # sevenths, so that sums are rounded
a_cost = st.builds(Cost, seconds, seconds)


def some(cost: st.SearchStrategy, n: int) -> st.SearchStrategy:
    return st.lists(cost, min_size=n, max_size=n).map(tuple)


@st.composite
def step_costs(draw: st.DrawFn, max_n: int = 5, *, iterated: bool = False) -> StepCosts:
    n = draw(st.integers(1, max_n))
    return StepCosts(
        preprocess=draw(some(a_cost, n)),
        subnetworks=draw(some(a_cost, n)),
        coarse_network=draw(some(a_cost, n - 1)),
        postprocess=draw(a_cost),
        interface_bytes=draw(some(st.integers(0, 10**6), n)),
        optimizers=draw(some(seconds, n + 1)),
        n_iterations=draw(st.integers(1, n)) if iterated else 1,
    )


def of_units(sizes: list[int], *, unit: Cost, coarse: Cost) -> StepCosts:
    """Equal units, everything but them and the coarse network free."""
    n, free = len(sizes), Cost(0, 0)
    subnetworks = tuple(Cost(size * unit.forward, size * unit.backward) for size in sizes)
    return StepCosts((free,) * n, subnetworks, (coarse,) * (n - 1), free)


def simulate(costs: StepCosts, *, n_steps: int = 1, **machine: float) -> list[Span]:
    return play(gangs(costs, n_steps), Machine(**machine))


def duration(spans: list[Span]) -> float:
    return spans[-1].end


def work(costs: StepCosts) -> float:
    total = costs.postprocess.total + costs.driver_optimizer
    for k, window in enumerate(costs.windows, start=1):
        total += sum(costs.forward(j, k) + costs.backward(j, k) for j in window)
        total += sum(costs.coarse_network[j - 1].total for j in window[:-1])
    return total + sum(map(costs.optimizer, range(1, costs.n_subnetworks + 1)))


def period(costs: StepCosts) -> float:
    """Seconds a step when many follow each other: the slowest circle through driver and one actor."""
    h = costs.postprocess.total
    circles = [h + sum(f.total for f in costs.coarse_network) + costs.driver_optimizer]
    for j in range(1, costs.n_subnetworks + 1):
        coarse = sum(f.total for f in costs.coarse_network[j - 1 :])
        circles.append(costs.forward(j) + coarse + h + costs.backward(j) + costs.optimizer(j))
    return max(circles)


def longest_chain(costs: StepCosts) -> float:
    """The critical path by its definition: into the chain of F at any j, out of it at any other."""
    n, coarse = costs.n_subnetworks, costs.coarse_network
    there = [costs.forward(j) + sum(f.forward for f in coarse[j - 1 :]) for j in range(1, n + 1)]
    back = [
        costs.backward(j) + costs.optimizer(j) + sum(f.backward for f in coarse[j - 1 :])
        for j in range(1, n + 1)
    ]
    back.append(sum(f.backward for f in coarse) + costs.driver_optimizer)
    return max(there) + costs.postprocess.total + max(back)


def test_three_subnetworks_by_hand() -> None:
    costs = StepCosts(
        preprocess=(Cost(1, 2), Cost(3, 4), Cost(5, 6)),
        subnetworks=(Cost(10, 20), Cost(30, 5), Cost(12, 24)),
        coarse_network=(Cost(7, 14), Cost(8, 9)),
        postprocess=Cost(0.5, 0.25),
    )
    assert [costs.forward(j) for j in (1, 2, 3)] == [14, 38, 17]
    assert [costs.backward(j) for j in (1, 2, 3)] == [26, 15, 30]
    assert paper_sum(costs) == 11 + 36 + (21 + 17) + 0.75
    # r_2 comes last: 38, F^2. Back through h, F^2 and F^1 to subnetwork 1.
    assert critical_path(costs) == 38 + 8 + 0.75 + 9 + 14 + 26
    activities = [(span.actor, span.activity) for span in simulate(costs) if span.actor == DRIVER]
    assert activities == [
        (DRIVER, "coarse_network.forward"),
        (DRIVER, "coarse_network.forward"),
        (DRIVER, "postprocess.forward"),
        (DRIVER, "postprocess.backward"),
        (DRIVER, "coarse_network.backward"),
        (DRIVER, "coarse_network.backward"),
        (DRIVER, "driver.optimizer"),
    ]


def test_two_iterations_by_hand() -> None:
    costs = StepCosts(
        preprocess=(Cost(1, 2), Cost(3, 4), Cost(5, 6)),
        subnetworks=(Cost(10, 20), Cost(30, 5), Cost(12, 24)),
        coarse_network=(Cost(7, 14), Cost(8, 9)),
        postprocess=Cost(0.5, 0.25),
        optimizers=(100, 200, 300, 400),
        n_iterations=2,
    )
    assert [costs.forward(j, 1) for j in (1, 2)] == [1 + 10 + 3, 3 + 30]  # nothing reads C^3
    assert [costs.forward(j, 2) for j in (2, 3)] == [30, 12]
    assert [costs.backward(j, 2) for j in (2, 3)] == [5, 24]
    assert [costs.backward(j, 1) for j in (1, 2)] == [2 + 20 + 4, 4 + 5]
    assert paper_sum(costs) == 11 + (35 + 36) + (21 + 17) + 0.75
    # g^2 twice, F^2, h and back: g^3 of iteration 2 returns first to iteration 1.
    there = 33 + 30 + 8 + 0.75
    returned = there + max(24, 9)
    assert critical_path(costs) == max(
        there + 24 + 300, returned + 9 + 200, returned + 14 + 26 + 100, returned + 14 + 400
    )


@given(step_costs())
def test_as_many_iterations_as_subnetworks_take_as_long_as_one_after_the_other(costs: StepCosts) -> None:
    costs = replace(costs, n_iterations=costs.n_subnetworks, optimizers=())
    serial = costs.preprocess[0].total + costs.postprocess.total + sum(g.total for g in costs.subnetworks)
    assert critical_path(costs) == pytest.approx(serial, rel=1e-12)
    assert work(costs) == pytest.approx(serial, rel=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3, 6])
def test_an_iteration_takes_as_long_as_a_subnetwork_where_the_coarse_network_is_free(k: int) -> None:
    costs = replace(of_units([4] * 6, unit=Cost(1, 2), coarse=Cost(0, 0)), n_iterations=k)
    assert critical_path(costs) == paper_sum(costs) == 12 * k


@pytest.mark.parametrize("n", [1, 2, 5])
def test_equal_units(n: int) -> None:
    costs = of_units([4] * n, unit=Cost(1, 2), coarse=Cost(1, 2))
    assert critical_path(costs) == paper_sum(costs) == 12 + 3 * (n - 1)


def test_growing_subnetworks_hide_the_coarse_network() -> None:
    even = of_units([19] * 17 + [10], unit=Cost(1 / 3, 2 / 3), coarse=Cost(1 / 3, 2 / 3))
    growing = of_units(list(range(10, 28)), unit=Cost(1 / 3, 2 / 3), coarse=Cost(1 / 3, 2 / 3))
    assert critical_path(even) == pytest.approx(19 + 17)
    assert critical_path(growing) == pytest.approx(27)  # for 333 units: 18 subnetworks of 18.5 on average
    assert paper_sum(growing) == pytest.approx(27 + 17)


def test_the_papers_sum_is_the_total_of_table_2() -> None:
    for row in published.published_table2().fillna(0).itertuples():
        n = row.n_subnetworks
        costs = StepCosts(
            preprocess=(Cost(0, row.preprocessing),) * n,
            subnetworks=(Cost(row.parallel_subnetworks, 0),) * n,
            coarse_network=(Cost(0, row.coarse_network / max(n - 1, 1)),) * (n - 1),
            postprocess=Cost(row.postprocessing, 0),
        )
        assert paper_sum(costs) == pytest.approx(row.total, abs=2e-4)  # published to four digits


@given(step_costs())
def test_the_recursion_finds_the_longest_chain(costs: StepCosts) -> None:
    assert critical_path(costs) == pytest.approx(longest_chain(costs), rel=1e-12)


@given(step_costs(iterated=True))
def test_without_limits_the_simulator_takes_the_critical_path(costs: StepCosts) -> None:
    assert duration(simulate(costs)) == pytest.approx(critical_path(costs), rel=1e-12)


@given(step_costs(iterated=True), st.integers(1, 8))
def test_cores_bound_the_time_from_both_sides(costs: StepCosts, n_cores: int) -> None:
    time = duration(simulate(costs, n_cores=n_cores))
    total = work(costs)
    assert time >= max(total / n_cores, critical_path(costs)) * (1 - 1e-9)
    assert time <= total * (1 + 1e-9)  # somebody is always at work


@given(step_costs(iterated=True))
def test_one_core_does_all_the_work_and_a_core_each_is_as_good_as_more(costs: StepCosts) -> None:
    assert duration(simulate(costs, n_cores=1)) == pytest.approx(work(costs), rel=1e-9)
    assert duration(simulate(costs, n_cores=costs.n_subnetworks + 1)) == duration(simulate(costs))


def test_two_equal_processes_on_one_core_run_at_half_speed() -> None:
    costs = StepCosts((Cost(0, 0),) * 2, (Cost(1, 1), Cost(3, 1)), (Cost(0, 0),), Cost(0, 0))
    ends = {span.actor: span.end for span in simulate(costs, n_cores=1) if span.activity.endswith("forward")}
    assert (ends[1], ends[2]) == pytest.approx((2, 4))


def test_transfers_by_hand() -> None:
    costs = of_units([4, 2], unit=Cost(1, 1), coarse=Cost(3, 3))
    costs = replace(costs, interface_bytes=(20, 50))
    ends = {(s.actor, s.activity): s.end for s in simulate(costs, bandwidth=10, latency=0.5)}
    assert ends[1, "subnetwork.forward"] == 4
    # The driver receives y_2 from 2 to 7, then r_1 to 9.
    assert ends[DRIVER, "coarse_network.forward"] == 9 + 0.5 + 3
    # It sends to 2 until 17.5, then to 1 until 19.5.
    assert ends[2, "subnetwork.backward"] == 17.5 + 0.5 + 2
    assert ends[1, "subnetwork.backward"] == 19.5 + 0.5 + 4


@given(step_costs(iterated=True), seconds)
def test_transfers_lengthen_an_iteration_by_all_of_them_at_most(costs: StepCosts, latency: float) -> None:
    time = duration(simulate(costs, latency=latency, bandwidth=1e6))
    transfers = [latency + size / 1e6 for size in costs.interface_bytes]
    assert time >= critical_path(costs) * (1 - 1e-12)
    most = 2 * (2 * costs.n_iterations - 1) * sum(transfers)  # r_j, then a correction and Δ_j, there and back
    assert time <= (critical_path(costs) + most) * (1 + 1e-12)


@given(step_costs(iterated=True), st.data())
def test_no_cost_grows_without_the_time_growing_or_staying(costs: StepCosts, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["preprocess", "subnetworks", "coarse_network"]))
    entries = list(getattr(costs, name))
    if entries:
        index = data.draw(st.integers(0, len(entries) - 1))
        entries[index] += data.draw(a_cost)
        dearer = replace(costs, **{name: tuple(entries)})
        assert paper_sum(dearer) >= paper_sum(costs)
        assert critical_path(dearer) >= critical_path(costs)
        assert duration(simulate(dearer)) >= duration(simulate(costs)) * (1 - 1e-12)


@given(step_costs(), st.integers(1, 5))
def test_steps_overlap_as_far_as_the_slowest_circle_lets_them(costs: StepCosts, n_steps: int) -> None:
    time = duration(simulate(costs, n_steps=n_steps))
    assert time >= n_steps * period(costs) * (1 - 1e-12)
    assert time <= (critical_path(costs) + (n_steps - 1) * period(costs)) * (1 + 1e-12)


@given(step_costs(iterated=True), st.integers(1, 4))
def test_an_actor_does_one_thing_at_a_time(costs: StepCosts, n_cores: int) -> None:
    spans = simulate(costs, n_cores=n_cores, n_steps=2)
    for actor in range(costs.n_subnetworks + 1):
        own = [span for span in spans if span.actor == actor]
        assert all(before.end <= after.start for before, after in pairwise(own))
        assert all(span.start <= span.end for span in own)
        assert {span.step for span in own} == {0, 1}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"preprocess": (Cost(1, 1),)}, "2 subnetworks take 2 costs of preprocess, not 1"),
        ({"coarse_network": ()}, "2 subnetworks take 1 costs of coarse_network, not 0"),
        ({"interface_bytes": (1,)}, "take 2 costs of interface_bytes, not 1"),
        ({"optimizers": (1.0, 1.0)}, "take 3 costs of optimizers, not 2"),
        ({"n_iterations": 3}, "n_iterations = 3: give 1 to 2"),
    ],
)
def test_costs_that_do_not_fit_together_are_refused(changed: dict[str, tuple], message: str) -> None:
    costs = of_units([1, 1], unit=Cost(1, 1), coarse=Cost(1, 1))
    with pytest.raises(ValueError, match=message):
        replace(costs, **changed)
