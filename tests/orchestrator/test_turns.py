"""Which trials are compared in turns."""

import pytest

from orchestrator.config import Options, Sweep
from orchestrator.devices import Available
from orchestrator.plan import make_plan
from orchestrator.storage.store import Store
from orchestrator.turns import pairs, uncompared

SMALL = {
    "depth": (20,),
    "width": (4,),
    "train_subset": (128,),
    "validation_subset": (20,),
    "batch_size": (8,),
}


@pytest.fixture
def jobs():
    def make(*, cores=2, options=None, **sweep):
        return make_plan(Sweep(**SMALL | sweep), options or Options(), Available(cores, 0)).jobs

    return make


def compared(jobs, cores=2):
    return [(one.config.n_subnetworks, torn.config.n_subnetworks) for one, torn in pairs(jobs, cores)]


def test_the_network_in_one_piece_with_each_n_that_has_a_core_for_every_subnetwork(jobs):
    swept = jobs(n_subnetworks=(1, 2, 3, 6))
    assert compared(swept) == [(1, 2)]
    assert compared(swept, cores=4) == [(1, 2), (1, 3)]


def test_what_changes_no_steps_work_makes_no_pairs(jobs):
    swept = jobs(n_subnetworks=(1, 2), seed=(0, 1), learning_rate=(0.1, 0.2), epochs=(1, 2))
    assert compared(swept) == [(1, 2)]


def test_what_changes_it_does_and_only_alike_trials_are_compared(jobs):
    swept = jobs(n_subnetworks=(1, 2), batch_size=(8, 16), coarse=("units", "shortcut"))
    found = pairs(swept, 2)
    assert len(found) == 4
    assert all(one.config.batch_size == torn.config.batch_size for one, torn in found)
    assert compared(jobs(n_subnetworks=(2,))) == []


@pytest.mark.parametrize("sweep", [{"strategy": ("serial", "gpipe")}, {"epochs": (0,)}])
def test_nothing_where_no_gang_of_subnetworks_trains(jobs, sweep):
    assert compared(jobs(n_subnetworks=(1, 2), **sweep)) == []


def test_nothing_where_actors_have_several_threads(jobs):
    swept = jobs(n_subnetworks=(1, 2), cores=8, options=Options(cpus_per_actor=2))
    assert compared(swept, cores=8) == []


def test_what_has_been_measured_is_not_asked_again(jobs, tmp_path):
    swept = jobs(n_subnetworks=(1, 2))
    store = Store(tmp_path)
    ((_, torn),) = uncompared(swept, store, 2)
    row = {"trial_id": torn.config.trial_id, "mode": "turns", "component": "step", "subnetwork": 0}
    row |= {"direction": "wall", "seconds": 1.0, "repeat": 0, "batch_size": 8, "device": "cpu"}
    store.write("timings", torn.config.trial_id, [row])
    assert uncompared(swept, store, 2) == []
