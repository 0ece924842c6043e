"""How a trial ends."""

import math
from dataclasses import replace

import pytest

from analysis.reading import UnreadableError
from orchestrator.actors.actor import EpochReport
from orchestrator.config import Options, Sweep
from orchestrator.devices import Available
from orchestrator.plan import make_plan
from orchestrator.storage.store import Store
from orchestrator.trial import _DivergedError, _epochs, _Record
from tests.unreadable import make_unreadable

METRICS = {"learning_rate": 0.1, "train_loss": 1.0, "train_error": 50.0, "validation_error": 90.0}


class Told:
    """A gang of one actor that says this of every epoch."""

    def __init__(self, **changes):
        self.report = EpochReport(
            completed=True,
            seconds=1.0,
            step_seconds=[0.5, 0.5],
            activities={},
            processor_activities={},
            processor_seconds=0.5,
            bytes_sent=0.0,
            peak_memory_bytes=1,
            state=b"state",
        )
        self.report = replace(self.report, **changes)

    def run_epoch(self, epoch):
        return {"network": self.report}


@pytest.fixture
def run(tmp_path):
    """Runs a trial of two epochs with a gang; returns the epochs that have a checkpoint."""
    sweep = Sweep(
        n_subnetworks=(1,), depth=(29,), width=(2,), dataset=("synthetic:1x8x8x4x64",), epochs=(2,), seed=(0,)
    )
    (job,) = make_plan(sweep, Options(), Available(cpus=2, gpus=0)).jobs
    store = Store(tmp_path)

    def run(gang):
        with store.claim(job.config.trial_id):
            return [row["epoch"] for row in _epochs(gang, job, _Record(job, store), store, print)]

    return run


def test_a_trial_that_ends_with_finite_losses_is_finished(run):
    assert run(Told(metrics=METRICS | {"validation_loss": 2.0})) == [1, 2]


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_last_step_that_throws_the_weights_away_is_a_divergence(run, loss):
    with pytest.raises(_DivergedError, match="the validation loss was not finite in epoch 1"):
        run(Told(metrics=METRICS | {"validation_loss": loss}))


def test_a_trial_whose_checkpoint_cannot_be_read_just_now_does_not_begin_again(run, tmp_path):
    told = Told(metrics=METRICS | {"validation_loss": 2.0})
    assert run(told) == [1, 2]
    (path,) = (tmp_path / "checkpoints").glob("*/epoch-0002/manifest.json")
    make_unreadable(path)
    with pytest.raises(UnreadableError, match=rf"^{path} cannot be read"):
        run(told)


def test_a_loss_that_is_not_finite_ends_the_trial_before_validation(run):
    with pytest.raises(_DivergedError, match=r"^the loss was not finite in epoch 1"):
        run(Told(metrics=METRICS, completed=False))
