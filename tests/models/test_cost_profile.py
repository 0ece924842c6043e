"""What follows from the costs of a network's components."""

import json
from dataclasses import replace

import pytest
import torch

from models.coarse import coarse_from_shapes
from models.cost_profile import IMPOSSIBLE, CostProfile
from models.feedforward import FeedForward
from models.partition import staggered
from models.preprocess import strided
from models.profiling import measure_profile
from models.resnet import resnet
from models.step_time import Cost
from models.tearing import plan_tearing


def tiny() -> FeedForward:
    return resnet(29, width=4, input_shape=(1, 8, 8), n_classes=3)


@pytest.fixture(scope="module")
def measured() -> CostProfile:
    """Of the tiny network, with N_c = 1 and 2."""
    return measure_profile(
        tiny(), preprocess=strided, coarse=coarse_from_shapes, n_coarse_units=(1, 2), batch_size=2, repeats=1
    )


def test_costs_are_looked_up_where_a_torn_network_has_its_components(measured: CostProfile) -> None:
    number = iter(range(1000))

    def distinct() -> Cost:
        return Cost(next(number), next(number))

    profile = replace(
        measured,
        units=tuple(distinct() for _ in measured.units),
        preprocess=distinct(),
        interface_preprocess={shape: distinct() for shape in measured.interface_preprocess},
        coarse={jump: distinct() for jump in measured.coarse},
    )
    for sizes in ((1, 3, 2, 3), (4, 5), (3, 3, 3), (9,)):
        tearing = plan_tearing(tiny(), len(sizes), partition=sizes, n_coarse_units=2)
        n = tearing.n_subnetworks
        costs = profile.step_costs(tearing.sizes, tearing.n_coarse_units)
        assert costs.preprocess == (
            profile.preprocess,
            *(profile.interface_preprocess[tearing.shape(j)] for j in range(2, n + 1)),
        )
        for j in range(1, n + 1):
            units = [profile.units[i] for i in tearing.units(j)]
            assert costs.subnetworks[j - 1].forward == sum(unit.forward for unit in units)
            assert costs.subnetworks[j - 1].backward == sum(unit.backward for unit in units)
            assert costs.interface_bytes[j - 1] == 4 * 2 * torch.Size(tearing.shape(j + 1)).numel()
        assert costs.coarse_network == tuple(
            profile.coarse[tearing.shape(j + 1), tearing.shape(j + 2), 2] for j in range(1, n)
        )


def test_a_profile_survives_json(measured: CostProfile) -> None:
    nowhere = measured.interface_preprocess | {(7, 7): IMPOSSIBLE}
    profile = replace(measured, interface_preprocess=nowhere)
    assert CostProfile.from_dict(json.loads(json.dumps(profile.to_dict()))) == profile


def test_an_n_c_that_was_not_measured_is_refused(measured: CostProfile) -> None:
    with pytest.raises(ValueError, match="of 4 units were not measured, only of 1, 2"):
        measured.step_costs((4, 5), 4)
    with pytest.raises(ValueError, match="of 3 units were not measured"):
        staggered(measured, 2, 3)
    assert staggered(measured, 1, 12) == (9,)  # the serial network has no coarse network


def test_sizes_that_lose_units_are_refused(measured: CostProfile) -> None:
    with pytest.raises(ValueError, match="holds 8 units, the network has 9"):
        measured.step_costs((4, 4), 1)
