"""Every way to use D devices: what each must hold, need and send."""

from dataclasses import replace
from math import prod

import pytest

from models import resnet
from models.compute import Compute
from models.cost_profile import CostProfile, Shares, scaled
from models.footprint import Footprint
from models.simulation import Machine
from models.step_time import Cost
from models.tearing import interface_factories, plan_tearing
from models.timing import time_components
from models.ways import Interfaces, Ways

BATCH = 16
NETWORK = resnet(29, width=2, input_shape=(1, 8, 8), n_classes=4)
FACTORIES = interface_factories(NETWORK, preprocess="stem", coarse="shortcut")
FOOTPRINT = Footprint(NETWORK, *FACTORIES, Compute())
PARAMETERS = plan_tearing(NETWORK).n_parameters


def profile_of_batch(size: int) -> CostProfile:
    """A unit takes a second for launching it, and another for a whole batch."""
    shapes = NETWORK.trace.shapes
    free = Cost(0.0, 0.0)
    whole = CostProfile(
        shapes=shapes,
        units=(Cost(1.0, 1.0),) * NETWORK.n_units,
        preprocess=free,
        interface_preprocess=dict.fromkeys(shapes[1:-1], free),
        coarse={(a, b, 0): free for a in shapes for b in shapes},
        postprocess=free,
        batch_size=BATCH,
        element_bytes=4,
    )
    return scaled(whole, 1 + size / BATCH, size)


SHARES = Shares({size: profile_of_batch(size) for size in (2, 4, 8, 16)})
WAYS = Ways(BATCH, (Interfaces("shortcut", SHARES, FOOTPRINT, lambda n: 0),))


def on(n_devices, ways=WAYS):
    return {way.name: way for way in ways.on(n_devices)}


def test_between_two_measured_batches_costs_follow_the_straight_line():
    for size in (3, 6, 12):
        assert SHARES.at(size).units[0].forward == pytest.approx(1 + size / BATCH)
    with pytest.raises(ValueError, match="costs of 1 samples were not measured, only of 2 to 16"):
        SHARES.at(1)


def test_launching_does_not_get_shorter_with_the_batch():
    serial = WAYS.serial.seconds
    assert serial == 9 * 2 * 2
    assert on(4)["data parallel"].seconds == 9 * 2 * 1.25
    # Two micro-batches through four stages: more would be launched more often.
    assert on(4)["GPipe"].how == "M = 2"
    assert on(4)["parareal, uniform, shortcut"].seconds == 3 * 2 * 2
    assert on(8)["replicas × parareal, shortcut"].how == "2 × (N = 3)"
    assert on(8)["replicas × parareal, shortcut"].seconds == 3 * 2 * 1.5


def test_a_way_is_left_out_where_there_is_none():
    assert set(on(1)) == {"serial"}
    assert not any(name.startswith("parareal") for name in on(2))
    assert "interleaved 1F1B" not in on(8)  # 9 units
    assert "data parallel" not in on(16)  # a sample each was not measured
    assert not any("parareal, uniform" in name for name in on(9))  # 9 units: ⌈9 / 8⌉ leaves some empty
    impossible = replace(SHARES.at(16), coarse=dict.fromkeys(SHARES.at(16).coarse, Cost(1e999, 1e999)))
    kind = Interfaces("none", Shares({16: impossible}), FOOTPRINT, lambda n: 0)
    assert set(on(4, replace(WAYS, interfaces=(kind,), _sizes={}))) <= {"GPipe", "1F1B", "interleaved 1F1B"}


def test_links_lengthen_what_sends_most_the_most():
    slow = replace(WAYS, machine=Machine(bandwidth=2e4), _sizes={})
    longer = {name: way.seconds - on(4)[name].seconds for name, way in on(4, slow).items()}
    assert longer["parareal, uniform, shortcut"] > longer["GPipe"] > 0
    serial = replace(WAYS, machine=Machine(latency=9.0)).serial
    assert serial.seconds == WAYS.serial.seconds


def test_bytes_and_memory_by_hand():
    numbers = 4 * PARAMETERS
    assert on(4)["data parallel"].sent_bytes == 2 * 3 / 4 * numbers
    tearing = plan_tearing(NETWORK, 3, preprocess="stem", coarse="shortcut")
    activations = [4 * BATCH * prod(tearing.shape(j)) for j in (2, 3, 4)]
    assert on(4)["parareal, uniform, shortcut"].sent_bytes == sum(activations)
    # All units as one keep a little less than one by one: what one returns, the next has kept already.
    parts = {
        t.component: t.memory_bytes
        for t in time_components(plan_tearing(NETWORK), batch_size=BATCH, repeats=1)
    }
    whole = replace(WAYS, states=0).serial.memory_bytes
    assert whole == pytest.approx(sum(parts.values()), rel=0.06)
    assert on(4)["1F1B"].memory_bytes < on(4)["GPipe"].memory_bytes < whole
    assert replace(WAYS, states=2).serial.memory_bytes == pytest.approx(whole + 2 * numbers)


def test_what_is_trained_is_said():
    results = {name: way.result for name, way in on(8).items()}
    assert WAYS.serial.result == "the network itself"
    assert results["data parallel"] == "the network itself, but BatchNorm sees a share of the batch"
    assert results["1F1B"] == "the network itself, but BatchNorm sees a micro-batch"
    assert results["parareal, staggered, shortcut"] == "another network"
    assert results["replicas × parareal, shortcut"] == "another network, BatchNorm sees a share of the batch"


def test_cores_that_are_shared_are_shared_by_all_workers():
    two = replace(WAYS, machine=Machine(n_cores=2, crowding=0.1))
    assert two.data_parallel(2).seconds == pytest.approx(1.1 * WAYS.data_parallel(2).seconds)
    assert two.data_parallel(4).seconds == pytest.approx(2.2 * WAYS.data_parallel(4).seconds)
