"""Programs of all ways to use devices: what is known of their time in closed form."""

from itertools import pairwise

import pytest

from models.schedules import BUCKET_BYTES, Bucket, Replicas, buckets, gangs, most_at_once, pipeline, workers
from models.simulation import Machine, Reduce, Send, Wait, Work, play
from models.step_time import Cost, StepCosts, critical_path


def duration(programs, **machine):
    return play(programs, Machine(**machine))[-1].end


# The machine


def test_transfers_that_meet_take_turns():
    def sender(name):
        yield Send(name, to=2, n_bytes=10)

    def receiver():
        for name in "ab":
            yield Wait(name)
            yield Work(name, 0, 0.0)

    spans = play([sender("a"), sender("b"), receiver()], Machine(bandwidth=5, latency=1))
    assert [span.end for span in spans] == [3, 5]


def test_a_sum_begins_with_the_last_of_its_group():
    def member(seconds):
        yield Work("before", 0, seconds)
        yield Reduce("sum", "all", 2, 2, 30)
        yield Wait("sum")
        yield Work("after", 0, 1.0)

    assert duration([member(1.0), member(4.0)], bandwidth=10, latency=0.5) == 4 + 30 / 10 + 2 * 0.5 + 1


def test_what_never_comes_is_said():
    with pytest.raises(ValueError, match="wait for what never comes: r_1"):
        play([iter([Wait("r_1")])])


@pytest.mark.parametrize(("n_computing", "rate"), [(1, 1.0), (2, 1 / 1.1), (4, 1 / 1.3), (8, 0.5 / 1.3)])
def test_cores_that_compute_together_slow_each_other_down(n_computing, rate):
    assert Machine(n_cores=4, crowding=0.3).rate(n_computing) == pytest.approx(rate)


def test_times_spread_as_they_are_said_to_around_the_same_mean():
    spans = play([iter([Work("w", 0, 1.0) for _ in range(4000)])], Machine(spread=0.3, seed=1))
    times = [span.end - span.start for span in spans]
    mean = sum(times) / len(times)
    assert mean == pytest.approx(1.0, abs=0.03)
    assert (sum((time - mean) ** 2 for time in times) / len(times)) ** 0.5 == pytest.approx(0.3, abs=0.03)


# Pipelines


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
@pytest.mark.parametrize(("n", "m"), [(1, 3), (2, 4), (4, 4), (4, 12)])
def test_equal_stages_idle_for_n_minus_1_turns(schedule, n, m):
    programs = pipeline([Cost(1, 2)] * n, m, schedule, [0] * n, 1)
    assert duration(programs) == 3 * (m + n - 1)


@pytest.mark.parametrize(("n", "m"), [(2, 4), (4, 4), (4, 12)])
def test_interleaved_stages_idle_for_half_of_that(n, m):
    programs = pipeline([Cost(1, 2)] * (2 * n), m, "interleaved", [0] * (2 * n), 1, n_stages=n)
    assert duration(programs) == 3 * (2 * m + n - 1)


def test_an_activation_and_a_gradient_of_every_micro_batch_cross_each_cut():
    programs = pipeline([Cost(1, 1)] * 3, 4, "1f1b", [10, 20, 99], 1)
    sent = [sum(a.n_bytes for a in program if isinstance(a, Send)) for program in programs]
    assert sent == [4 * 10, 4 * (10 + 20), 4 * 20]


def test_back_as_soon_as_forth_keeps_fewer_activations():
    assert [most_at_once(stage, 4, 4, 8, "gpipe") for stage in range(4)] == [8] * 4
    assert [most_at_once(stage, 4, 4, 8, "1f1b") for stage in range(4)] == [4, 3, 2, 1]
    assert [most_at_once(stage, 4, 8, 8, "interleaved") for stage in range(4)] == [11, 9, 7, 5]


# Data parallel


def test_gradients_are_summed_in_buckets_in_the_order_of_the_backward_pass():
    half = BUCKET_BYTES // 2
    parts = [(1.0, half), (2.0, half), (4.0, 10), (8.0, 0)]
    assert buckets(parts) == [Bucket(3.0, 2 * half), Bucket(12.0, 10)]


def test_sums_hide_behind_the_backward_pass_but_for_the_last():
    backward = [Bucket(4.0, 10), Bucket(4.0, 10)]
    ring = 2 * 3 / 4 * 10
    for played in (1, 4):
        assert duration(workers(2.0, backward, 4, played, 1), bandwidth=10) == 10 + ring / 10
    assert duration(workers(2.0, backward, 4, 1, 1), bandwidth=1) == 6 + 2 * ring


# Replicas


def test_replicas_take_as_long_as_one_gang_and_the_sums():
    free = Cost(0, 0)
    costs = StepCosts((free,) * 3, (Cost(2, 4), Cost(3, 5), Cost(4, 6)), (Cost(1, 1),) * 2, Cost(1, 1))
    for played in (1, 2):
        programs = gangs(costs, 1, Replicas(2, played, (10, 10, 10, 0)))
        assert len(programs) == 4 * played
        # Subnetwork 1 gets its gradient last, and sums last.
        assert duration(programs, bandwidth=5) == critical_path(costs) + 10 / 5


def test_replicas_wait_for_the_slowest_of_them():
    costs = StepCosts((Cost(0, 0),) * 2, (Cost(1, 1),) * 2, (Cost(0.1, 0.1),), Cost(0, 0))
    spread = [duration(gangs(costs, 200, Replicas(n, n, (0, 0, 0))), spread=0.3) for n in (2, 4, 8)]
    alone = duration(gangs(costs, 200), spread=0.3)
    assert all(before < after for before, after in pairwise([200 * critical_path(costs), alone, *spread]))
