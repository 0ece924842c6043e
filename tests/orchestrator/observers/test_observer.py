"""What only shows a sweep cannot end it."""

import io
from types import SimpleNamespace

import cloudpickle
import pytest
from ray.tune import Callback
from ray.tune.callback import CallbackList
from rich.console import Console

from orchestrator.config import Sweep
from orchestrator.observers.display import Display
from orchestrator.observers.observer import EVENTS, Harmless
from orchestrator.observers.tensorboard import TensorBoard
from orchestrator.storage.store import Store
from tests.unreadable import make_unreadable

(CONFIG,) = Sweep(n_subnetworks=(3,), seed=(5,), epochs=(9,)).trials()
JOB = SimpleNamespace(config=CONFIG)
TRIAL = SimpleNamespace(config={"trial_id": CONFIG.trial_id})
EVENT = {"iteration": 0, "trials": [], "trial": TRIAL}


def damage(path):
    path.write_bytes(path.read_bytes()[:50])


@pytest.mark.parametrize("harm", [damage, make_unreadable])
def test_a_store_that_cannot_be_read_ends_no_sweep(tmp_path, harm):
    store, said = Store(tmp_path), []
    for kind in ("trials", "epochs"):
        store.write(kind, CONFIG.trial_id, [{"trial_id": CONFIG.trial_id}])
        harm(tmp_path / kind / f"{CONFIG.trial_id}.parquet")
    display = Display([JOB], store, Console(file=io.StringIO()))
    observers = [Harmless(observer, said.append) for observer in (display, TensorBoard([JOB], store))]
    callbacks = CallbackList(observers)
    callbacks.setup(stop=None)
    for _ in range(2):
        callbacks.on_trial_start(**EVENT)
        callbacks.on_trial_result(**EVENT, result={"epoch": 1, "seconds": 1.0})
        callbacks.on_trial_complete(**EVENT)
    assert any(line.startswith("Display has missed something (") for line in said)
    assert all(line.endswith("): the sweep goes on") for line in said)
    assert len(set(said)) == len(said)


def test_everything_that_tune_says_arrives():
    class Listener(Callback):
        def __init__(self):
            self.heard = []
            for event in EVENTS:
                setattr(self, event, lambda event=event, **info: self.heard.append((event, info)))

    listener = Listener()
    callbacks = CallbackList([Harmless(listener, print)])
    for event in EVENTS:
        getattr(callbacks, event)(**EVENT)
    assert listener.heard == [(event, EVENT) for event in EVENTS]
    assert "on_trial_error" in EVENTS


def test_tune_can_pickle_it():
    assert isinstance(cloudpickle.loads(cloudpickle.dumps(Harmless(Callback(), print))), Callback)
