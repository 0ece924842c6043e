"""Every unit in exactly one subnetwork; the paper's ⌈n / N⌉ rule; the best partition of all there are."""

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from math import inf, isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.cost_profile import CostProfile
from models.partition import COST_PARTITIONS, PARTITIONS, balanced, staggered, uniform
from models.sizes import Sizes, check
from models.step_time import Cost, critical_path

FREE, NO_WAY = Cost(0, 0), Cost(inf, inf)
seconds = st.integers(0, 30).map(lambda k: k / 7)
a_cost = st.builds(Cost, seconds, seconds)


@st.composite
def profiles(draw: st.DrawFn, *, joins: st.SearchStrategy[Cost] = a_cost) -> CostProfile:
    """Up to 8 units, each forward and backward cost its own, of up to 3 shapes in any order."""
    n_units = draw(st.integers(1, 8))
    shapes = draw(st.lists(st.sampled_from([(1,), (2,), (3,)]), min_size=n_units + 1, max_size=n_units + 1))
    distinct = sorted(set(shapes))
    return CostProfile(
        shapes=tuple(shapes),
        units=tuple(draw(st.lists(a_cost, min_size=n_units, max_size=n_units))),
        preprocess=draw(a_cost),
        interface_preprocess={shape: draw(joins) for shape in distinct},
        coarse={(before, after, 1): draw(joins) for before in distinct for after in distinct},
        postprocess=draw(a_cost),
        batch_size=1,
        element_bytes=4,
    )


def three_stages(per_stage: int, unit: Sequence[float], *, coarse: float = 1.0) -> CostProfile:
    """Three stages of equal units; a backward pass takes twice a forward pass; F^j is one unit."""

    def cost(seconds: float) -> Cost:
        return Cost(seconds / 3, seconds * 2 / 3)

    stages = range(3)
    return CostProfile(
        shapes=((0,), *((stage,) for stage in stages for _ in range(per_stage))),
        units=tuple(cost(unit[stage]) for stage in stages for _ in range(per_stage)),
        preprocess=FREE,
        interface_preprocess={(stage,): FREE for stage in stages},
        coarse={((i,), (k,), 1): cost(coarse * unit[k]) for k in stages for i in range(k + 1)},
        postprocess=FREE,
        batch_size=1,
        element_bytes=4,
    )


def all_partitions(n_units: int, n_subnetworks: int) -> Iterator[Sizes]:
    for cuts in combinations(range(1, n_units), n_subnetworks - 1):
        yield tuple(stop - start for start, stop in pairwise([0, *cuts, n_units]))


def path(profile: CostProfile, sizes: Sizes, n_iterations: int = 1) -> float:
    return critical_path(profile.step_costs(sizes, 1, n_iterations))


def dearest(costs: Sequence[float], sizes: Sizes) -> float:
    cuts = [sum(sizes[:j]) for j in range(len(sizes) + 1)]
    return max(sum(costs[start:stop]) for start, stop in pairwise(cuts))


def speed_up(profile: CostProfile, sizes: Sizes) -> float:
    return path(profile, (profile.n_units,)) / path(profile, sizes)


@given(n_units=st.integers(1, 400), n_subnetworks=st.integers(1, 60))
def test_uniform_follows_the_ceil_rule_or_names_a_number_that_works(n_units: int, n_subnetworks: int) -> None:
    size = -(-n_units // n_subnetworks)
    rest = n_units - size * (n_subnetworks - 1)
    if rest >= 1:
        sizes = uniform(n_units, n_subnetworks)
        assert sizes == (size,) * (n_subnetworks - 1) + (rest,)
        assert check(sizes, n_units) == sizes
        return
    with pytest.raises(ValueError, match="subnetworks") as caught:
        uniform(n_units, n_subnetworks)
    if n_subnetworks <= n_units:
        remedy = int(str(caught.value).rsplit("--n-subnetworks ", 1)[1])
        assert len(uniform(n_units, remedy)) == remedy < n_subnetworks


@pytest.mark.parametrize(
    ("n_subnetworks", "expected"),
    [
        (1, (333,)),
        (3, (111,) * 3),
        (6, (56,) * 5 + (53,)),
        (12, (28,) * 11 + (25,)),
        (18, (19,) * 17 + (10,)),
        (24, (14,) * 23 + (11,)),
    ],
)
def test_the_papers_partitions_of_resnet_1001(n_subnetworks: int, expected: tuple[int, ...]) -> None:
    assert uniform(333, n_subnetworks) == expected


@pytest.mark.parametrize(
    ("n_units", "n_subnetworks", "message"),
    [
        (10, 0, "n_subnetworks = 0"),
        (10, -1, "n_subnetworks = -1"),
        (10, 11, "11 subnetworks need at least 11 units, the network has 10"),
        (10, 6, "⌈10/6⌉ = 2 leave the last ones empty: 5 subnetworks of 2 .*--n-subnetworks 5"),
    ],
)
def test_uniform_refuses_empty_subnetworks(n_units: int, n_subnetworks: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        uniform(n_units, n_subnetworks)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_check_accepts_any_split_of_all_units(sizes: list[int]) -> None:
    assert check(sizes, sum(sizes)) == tuple(sizes)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([], "at least one unit"),
        ([5, 0, 5], r"\(5, 0, 5\): every subnetwork needs at least one unit"),
        ([11, -1], "at least one unit"),
        ([4, 5], "holds 9 units, the network has 10"),
        ([6, 5], "holds 11 units, the network has 10"),
    ],
)
def test_check_refuses_lost_and_doubled_units(sizes: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(sizes, 10)


@given(st.lists(seconds, min_size=1, max_size=8))
def test_balanced_is_the_best_of_all_partitions(costs: list[float]) -> None:
    for n in range(1, len(costs) + 1):
        sizes = check(balanced(costs, n), len(costs))
        assert len(sizes) == n
        least = min(dearest(costs, other) for other in all_partitions(len(costs), n))
        assert dearest(costs, sizes) == pytest.approx(least)


@given(profiles())
def test_staggered_is_the_best_of_all_partitions(profile: CostProfile) -> None:
    for n in range(1, profile.n_units + 1):
        sizes = check(staggered(profile, n, 1), profile.n_units)
        assert len(sizes) == n
        least = min(path(profile, other) for other in all_partitions(profile.n_units, n))
        assert path(profile, sizes) == pytest.approx(least)


@given(profiles(joins=st.one_of(st.just(NO_WAY), a_cost)))
def test_staggered_cuts_only_where_something_can_stand(profile: CostProfile) -> None:
    for n in range(1, profile.n_units + 1):
        least = min(path(profile, other) for other in all_partitions(profile.n_units, n))
        if isfinite(least):
            assert path(profile, staggered(profile, n, 1)) == pytest.approx(least)
        else:
            with pytest.raises(ValueError, match=f"{n} subnetworks need {n - 1} cuts"):
                staggered(profile, n, 1)


@given(profiles(joins=st.one_of(st.just(NO_WAY), a_cost)))
def test_staggered_for_several_iterations_is_none_worse_than_for_one(profile: CostProfile) -> None:
    for n in range(1, profile.n_units + 1):
        if not isfinite(min(path(profile, sizes) for sizes in all_partitions(profile.n_units, n))):
            continue
        for k in range(1, n + 1):
            sizes = check(staggered(profile, n, 1, k), profile.n_units)
            assert len(sizes) == n
            assert path(profile, sizes, k) <= path(profile, staggered(profile, n, 1), k) * (1 + 1e-12)


def test_staggered_knows_the_number_of_iterations() -> None:
    profile = three_stages(6, (15.3, 7.2, 6.7))
    for k in (2, 3):
        best = path(profile, staggered(profile, 6, 1, k), k)
        others = [staggered(profile, 6, 1), uniform(18, 6), balanced([u.total for u in profile.units], 6)]
        assert best <= min(path(profile, other, k) for other in others)
        assert best < 0.95 * path(profile, staggered(profile, 6, 1), k)
    assert path(profile, uniform(18, 6), 3) < path(profile, staggered(profile, 6, 1), 3)


def test_equal_units_are_staggered_by_the_cost_of_the_coarse_network() -> None:
    profile = three_stages(111, (1, 1, 1))
    assert path(profile, uniform(333, 18)) == pytest.approx(19 + 17)
    assert path(profile, staggered(profile, 18, 1)) == pytest.approx(27)
    assert staggered(three_stages(2, (1, 1, 1)), 3, 1) == (1, 2, 3)


def test_resnet_1001() -> None:
    profile = three_stages(111, (15.3, 7.2, 6.7))  # ms of a unit on one CPU core, batch 16
    sizes = staggered(profile, 18, 1)
    assert speed_up(profile, uniform(333, 18)) == pytest.approx(7.33, abs=0.01)
    assert speed_up(profile, sizes) == pytest.approx(11.96, abs=0.01)
    for n in (2, 6, 12, 24, 26):
        others = [uniform(333, n), balanced([unit.total for unit in profile.units], n)]
        best = speed_up(profile, staggered(profile, n, 1))
        assert all(best >= speed_up(profile, other) * (1 - 1e-12) for other in others)
    assert staggered(profile, 18, 1) == sizes


@pytest.mark.parametrize("name", COST_PARTITIONS)
@pytest.mark.parametrize(
    ("n_subnetworks", "message"),
    [(0, "n_subnetworks = 0"), (7, "7 subnetworks need at least 7 units, the network has 6: lower")],
)
def test_partitions_by_cost_refuse_empty_subnetworks(name: str, n_subnetworks: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        COST_PARTITIONS[name](three_stages(2, (1, 1, 1)), n_subnetworks, 1, 1)


def test_partitions_have_names() -> None:
    profile = three_stages(2, (3, 2, 1))
    assert PARTITIONS["uniform"](333, 6) == (56,) * 5 + (53,)
    assert COST_PARTITIONS["balanced"](profile, 2, 1, 1) == balanced([3, 3, 2, 2, 1, 1], 2) == (2, 4)
    assert COST_PARTITIONS["staggered"](profile, 3, 1, 1) == staggered(profile, 3, 1)
