"""Steps measured in turns, by real gangs side by side."""

from itertools import pairwise

import pytest
import torch
from rich.console import Console

from models import resnet
from orchestrator import turns
from orchestrator.config import Options, Sweep
from orchestrator.devices import Available
from orchestrator.plan import make_plan
from orchestrator.storage.store import Store


@pytest.fixture
def options():
    return Options(timing_repeats=2, timeout=60)


@pytest.fixture
def plan(options):
    """Two ways to tear a small network in two, and the network."""
    sweep = Sweep(
        **{
            "n_subnetworks": (1, 2),
            "seed": (0,),
            "depth": (20,),
            "width": (4,),
            "coarse": ("units", "shortcut"),
        },
        **{"epochs": (1,), "train_subset": (64,), "validation_subset": (20,), "batch_size": (8,)},
    )
    return make_plan(sweep, options, Available(2, 0))


def test_each_pair_has_rounds_of_its_own_and_is_measured_once(local_ray, plan, options, tmp_path, capsys):
    store = Store(tmp_path / "store")
    for job in plan.jobs:
        store.write("trials", job.config.trial_id, [{"trial_id": job.config.trial_id}])
    asked = turns.uncompared(plan.jobs, store, 2)
    assert [torn.config.coarse for _, torn in asked] == ["units", "shortcut"]

    turns.run_turns(asked, plan.data, store, options, Console())

    rounds = {
        job.config.trial_id: [row["repeat"] for row in store.read("timings", job.config.trial_id)]
        for job in plan.jobs
    }
    by_pair = [(rounds[serial.config.trial_id], rounds[torn.config.trial_id]) for serial, torn in asked]
    assert by_pair == [([0, 1, 2, 3], [0, 1]), ([0, 1, 2, 3], [2, 3])]
    rows = [row for job in plan.jobs for row in store.read("timings", job.config.trial_id)]
    assert {(row["mode"], row["component"], row["direction"]) for row in rows} == {("turns", "step", "wall")}
    assert all(0 < row["seconds"] < 60 for row in rows)
    assert turns.uncompared(plan.jobs, store, 2) == []
    assert all(before != after for before, after in pairwise(capsys.readouterr().out.splitlines()))


class RefusesToTrain(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled() and len(x) == 8:
            raise torch.OutOfMemoryError("no memory left")
        return x


def refusing(input_shape, n_classes):
    network = resnet(depth=20, width=4, n_classes=n_classes, input_shape=input_shape)
    return torch.nn.Sequential(
        network.preprocess(), *(unit() for unit in network.units), RefusesToTrain(), network.postprocess()
    )


def test_a_pair_that_cannot_be_measured_is_said_and_the_next_one_is_measured(
    local_ray, plan, options, tmp_path, capsys
):
    sweep = Sweep(
        **{
            "n_subnetworks": (1, 2),
            "seed": (0,),
            "network": ("tests.integration.test_steps_in_turns:refusing",),
            "depth": (None,),
        },
        **{"width": (None,), "epochs": (1,), "train_subset": (64,), "validation_subset": (20,)},
        batch_size=(8,),
    )
    refused = make_plan(sweep, options, Available(2, 0))
    store = Store(tmp_path / "store")
    asked = [*turns.pairs(refused.jobs, 2), *turns.pairs(plan.jobs, 2)[:1]]
    turns.run_turns(asked, refused.data | plan.data, store, options, Console())
    output = capsys.readouterr().out
    assert output.count("in turns: not measured: ") == 1
    assert "no memory left" in output
    assert "Traceback" not in output
    assert [bool(store.read("timings", torn.config.trial_id)) for _, torn in asked] == [False, True]
