"""Where a network is cut, and that any component can be built alone, anywhere, with the same weights."""

from itertools import combinations_with_replacement, pairwise

import cloudpickle
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from models.cost_profile import CostProfile
from models.feedforward import FeedForward
from models.initialisation import derive_seed
from models.parareal import tear
from models.partition import COST_PARTITIONS
from models.resnet import resnet
from models.step_time import Cost
from models.tearing import Tearing, paper_n_coarse_units, plan_tearing


def tiny(depth: int = 29) -> FeedForward:
    return resnet(depth, width=4, input_shape=(1, 8, 8), n_classes=3)


def assert_same_weights(first: nn.Module, second: nn.Module) -> None:
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=0, atol=0)


def by_unit(tearing: Tearing) -> list[nn.Module]:
    return [unit for j in range(1, tearing.n_subnetworks + 1) for unit in tearing.build_subnetwork(j)]


def test_a_units_weights_depend_on_the_seed_and_its_place_alone() -> None:
    network = tiny()
    serial = by_unit(plan_tearing(network, seed=5))
    for tearing in (
        plan_tearing(network, 3, seed=5),
        plan_tearing(network, 9, seed=5),
        plan_tearing(network, 4, partition=(1, 5, 2, 1), seed=5),
    ):
        torch.rand(3)
        for j in reversed(range(1, tearing.n_subnetworks + 1)):
            tearing.build_coarse(1)
            for i, unit in zip(tearing.units(j), tearing.build_subnetwork(j), strict=True):
                assert_same_weights(unit, serial[i])


def test_weights_differ_between_units_and_between_seeds() -> None:
    first, other = (by_unit(plan_tearing(tiny(), seed=seed)) for seed in (0, 1))
    same_shape = [unit.conv3.weight for unit in (*first[:3], *other[:3])]
    assert len({tuple(weight.flatten().tolist()) for weight in same_shape}) == 6


def test_interface_weights_depend_on_the_seed_and_where_the_cut_is() -> None:
    halves, quarters = plan_tearing(tiny(38), 2), plan_tearing(tiny(38), 4)
    assert halves.units(2).start == quarters.units(3).start
    assert_same_weights(halves.build_preprocess(1), quarters.build_preprocess(1))
    assert_same_weights(halves.build_preprocess(2), quarters.build_preprocess(3))
    assert_same_weights(halves.build_postprocess(), quarters.build_postprocess())
    thirds, pieces = (
        plan_tearing(tiny(38), len(sizes), partition=sizes, n_coarse_units=2)
        for sizes in ((4, 4, 4), (2, 2, 4, 4))
    )
    assert_same_weights(thirds.build_coarse(1), pieces.build_coarse(2))
    assert_same_weights(thirds.build_coarse(2), pieces.build_coarse(3))


def test_interface_weights_differ_between_seeds_and_cuts() -> None:
    first, other = (plan_tearing(tiny(38), 6, seed=seed) for seed in (0, 1))
    preprocesses = [next(tearing.build_preprocess(2).parameters()) for tearing in (first, other)]
    assert not torch.equal(*preprocesses)
    units = [tearing.build_coarse(j)[1].conv2.weight for tearing in (first, other) for j in (4, 5)]
    assert len({tuple(weight.flatten().tolist()) for weight in units}) == 4


def test_the_network_is_made_of_the_components_that_are_built_alone() -> None:
    tearing = plan_tearing(tiny(), 3, seed=2)
    network = tear(tiny(), 3, seed=2)
    for j in (1, 2, 3):
        assert_same_weights(network.preprocesses[j - 1], tearing.build_preprocess(j))
        assert_same_weights(network.subnetworks[j - 1], tearing.build_subnetwork(j))
    for j in (1, 2):
        assert_same_weights(network.coarse_network[j - 1], tearing.build_coarse(j))
    assert_same_weights(network.postprocess, tearing.build_postprocess())


def test_the_global_generator_is_left_as_it_was() -> None:
    before = torch.get_rng_state()
    tear(tiny(), 3)
    _ = plan_tearing(tiny(), 3).n_parameters
    assert torch.equal(torch.get_rng_state(), before)


@given(sizes=st.lists(st.integers(1, 3), min_size=1, max_size=6))
def test_units_and_shapes_follow_the_partition(sizes: list[int]) -> None:
    widths = range(2, 3 + sum(sizes))
    units = [nn.Linear(before, after) for before, after in pairwise(widths)]
    network = FeedForward(nn.Linear(1, 2), units, nn.Identity(), (1,))
    tearing = plan_tearing(network, len(sizes), partition=sizes)
    assert [i for j in range(1, len(sizes) + 1) for i in tearing.units(j)] == list(range(sum(sizes)))
    assert [len(tearing.units(j)) for j in range(1, len(sizes) + 1)] == sizes
    for j in range(1, len(sizes) + 1):
        assert tearing.shape(j) == (units[tearing.units(j).start].in_features,)
    assert tearing.shape(len(sizes) + 1) == (units[-1].out_features,)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_parameters_are_counted_without_building_the_network(n: int) -> None:
    tearing, network = plan_tearing(tiny(), n), tear(tiny(), n)

    def count(module: nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    assert tearing.preprocess_parameters == tuple(map(count, network.preprocesses))
    assert tearing.subnetwork_parameters == tuple(map(count, network.subnetworks))
    assert tearing.coarse_parameters == tuple(map(count, network.coarse_network))
    assert tearing.n_parameters == count(network)


def test_a_tearing_travels() -> None:
    tearing = plan_tearing(tiny(), 3, seed=4)
    _ = tearing.n_parameters
    arrived = cloudpickle.loads(cloudpickle.dumps(tearing))
    assert arrived.network.trace == tearing.network.trace
    assert_same_weights(arrived.build_subnetwork(2), tearing.build_subnetwork(2))
    assert_same_weights(arrived.build_coarse(2), tearing.build_coarse(2))


def test_the_papers_number_of_coarse_units() -> None:
    expected = {1: 12, 3: 4, 6: 2, 8: 2, 12: 1, 18: 1, 24: 1}
    assert {n: paper_n_coarse_units(n) for n in expected} == expected
    assert len(plan_tearing(tiny(), 3).build_coarse(1)) == 4
    assert len(plan_tearing(tiny(), 3, n_coarse_units=2).build_coarse(1)) == 2


def test_the_users_factories_get_the_shapes_at_their_cut() -> None:
    seen = []

    def preprocess(before: tuple[int, ...], after: tuple[int, ...]) -> nn.Module:
        seen.append(("C", before, after))
        return nn.Identity()

    def coarse(before: tuple[int, ...], after: tuple[int, ...], n_units: int) -> nn.Module:
        seen.append(("F", before, after, n_units))
        return nn.Identity()

    tearing = plan_tearing(tiny(), 3, preprocess=preprocess, coarse=coarse, n_coarse_units=7)
    for j in (2, 3):
        tearing.build_preprocess(j)
    for j in (1, 2):
        tearing.build_coarse(j)
    assert seen == [
        ("C", (1, 8, 8), (16, 8, 8)),
        ("C", (1, 8, 8), (32, 4, 4)),
        ("F", (16, 8, 8), (32, 4, 4), 7),
        ("F", (32, 4, 4), (64, 2, 2), 7),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_subnetworks": 10}, "10 subnetworks need at least 10 units, the network has 9"),
        ({"n_subnetworks": 2, "partition": (4, 4)}, "holds 8 units, the network has 9"),
        ({"n_subnetworks": 2, "partition": (3, 3, 3)}, r"\(3, 3, 3\) is for 3 subnetworks, not 2"),
        ({"partition": "random"}, "unknown partition 'random': choose one of uniform, balanced, staggered"),
        ({"preprocess": "pooled"}, "unknown preprocess 'pooled': choose one of auto, strided, patch"),
        ({"n_coarse_units": 0}, "n_coarse_units = 0"),
    ],
)
def test_what_cannot_be_torn_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_tearing(tiny(), **options)


@pytest.fixture
def costs() -> CostProfile:
    """Of the tiny network: made up, so that every partition gives other sizes."""
    shapes = tiny().trace.shapes
    jumps = combinations_with_replacement(dict.fromkeys(shapes[1:]), 2)
    return CostProfile(
        shapes=shapes,
        units=tuple(Cost(1.0, 2.0) for _ in range(4)) + tuple(Cost(0.4, 0.8) for _ in range(5)),
        preprocess=Cost(0.0, 0.0),
        interface_preprocess=dict.fromkeys(shapes[1:], Cost(0.0, 0.0)),
        coarse={(*jump, n): Cost(1.0 * n, 2.0 * n) for jump in jumps for n in (1, 2)},
        postprocess=Cost(0.0, 0.0),
        batch_size=1,
        element_bytes=4,
    )


@pytest.mark.parametrize("n_coarse_units", [1, 2])
def test_partitions_by_cost_are_those_of_the_registry(costs: CostProfile, n_coarse_units: int) -> None:
    found = {
        name: plan_tearing(tiny(), 3, partition=name, n_coarse_units=n_coarse_units, costs=costs).sizes
        for name in ("uniform", *COST_PARTITIONS)
    }
    assert found["uniform"] == (3, 3, 3)
    for name, rule in COST_PARTITIONS.items():
        assert found[name] == rule(costs, 3, n_coarse_units, 1)
    assert len(set(found.values())) == 3


@pytest.mark.parametrize("partition", COST_PARTITIONS)
def test_partitions_by_cost_are_refused_without_costs(partition: str) -> None:
    with pytest.raises(ValueError, match=f"partition '{partition}' goes by what units cost: give costs="):
        plan_tearing(tiny(), 3, partition=partition)


def test_a_network_torn_by_cost_is_the_one_torn_at_the_same_units(costs: CostProfile) -> None:
    by_cost = plan_tearing(tiny(), 3, partition="staggered", n_coarse_units=1, costs=costs, seed=3)
    by_hand = plan_tearing(tiny(), 3, partition=by_cost.sizes, n_coarse_units=1, seed=3)
    for j in (1, 2, 3):
        assert_same_weights(by_cost.build_subnetwork(j), by_hand.build_subnetwork(j))
        assert_same_weights(by_cost.build_preprocess(j), by_hand.build_preprocess(j))


def test_seeds_of_components_never_meet() -> None:
    keys = [(kind, i) for kind in ("preprocess", "unit", "coarse") for i in range(333)]
    assert len({derive_seed(seed, *key) for seed in range(3) for key in keys}) == 3 * len(keys)
