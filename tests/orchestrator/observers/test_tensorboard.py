"""Event files as TensorBoard itself reads them."""

import pickle
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ray.tune import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from models.task import Classification
from orchestrator.config import Sweep
from orchestrator.observers.tensorboard import SCALARS, TensorBoard
from orchestrator.storage.store import Store
from orchestrator.trial import Job

(CONFIG,) = Sweep(n_subnetworks=(3,), seed=(5,), epochs=(9,)).trials()
TAGS = {tag.format("error_percent") for tag in SCALARS.values()}
TRIAL = SimpleNamespace(config={"trial_id": CONFIG.trial_id})
TEARING = SimpleNamespace(network=SimpleNamespace(task=Classification()))
JOB = cast(Job, SimpleNamespace(config=CONFIG, tearing=TEARING))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def train(store: Store) -> Callable[..., None]:
    """Stores epochs as a trial does, and tells a callback of those that the trial lives to report."""

    def train(callback: TensorBoard, *epochs: int, reported: bool = True, **values: float) -> None:
        for epoch in epochs:
            rows = [row for row in store.read("epochs", CONFIG.trial_id) if row["epoch"] < epoch]
            measured = dict.fromkeys(SCALARS, epoch + 0.5) | {"seconds": 100.0} | values
            store.write("epochs", CONFIG.trial_id, [*rows, {"epoch": epoch, **measured}])
            if reported:
                callback.on_trial_result(0, [], TRIAL, {"epoch": epoch})

    return train


def start(store: Store) -> TensorBoard:
    callback = TensorBoard([JOB], store)
    callback.on_trial_start(0, [], TRIAL)
    return callback


def viewer(store: Store) -> EventAccumulator:
    return EventAccumulator(str(store.path / "tensorboard" / CONFIG.trial_id))


def epochs_seen(viewer: EventAccumulator, tag: str = "error_percent/validation") -> list[int]:
    viewer.Reload()
    return [event.step for event in viewer.Scalars(tag)] if tag in viewer.Tags()["scalars"] else []


def test_every_epoch_can_be_seen_at_once(store: Store, train: Callable[..., None]) -> None:
    callback, seen = start(store), viewer(store)
    for epoch in (1, 2, 3):
        train(callback, epoch, validation_error=10.0 / epoch)
        assert epochs_seen(seen) == list(range(1, epoch + 1))
    assert sorted(seen.Tags()["scalars"]) == sorted(TAGS)
    assert [event.value for event in seen.Scalars("error_percent/validation")] == pytest.approx(
        [10, 5, 10 / 3]
    )


def test_a_trial_that_goes_on_shows_every_epoch_once(store: Store, train: Callable[..., None]) -> None:
    first, seen = start(store), viewer(store)
    train(first, 1, 2, 3)
    train(first, 4, reported=False)  # the process died between storing and reporting it
    assert epochs_seen(seen) == [1, 2, 3]
    second = start(store)
    assert epochs_seen(seen) == epochs_seen(viewer(store)) == [1, 2, 3, 4]
    train(second, 4, 5)  # its checkpoint was damaged: epoch 4 is run again, to the same numbers
    second.on_trial_complete(0, [], TRIAL)
    assert epochs_seen(seen) == epochs_seen(viewer(store)) == [1, 2, 3, 4, 5]


def test_a_process_that_is_started_again_in_the_same_sweep_loses_nothing(
    store: Store, train: Callable[..., None]
) -> None:
    callback = start(store)
    train(callback, 1)
    train(callback, 2, reported=False)
    callback.on_trial_start(0, [], TRIAL)
    train(callback, 3)
    assert epochs_seen(viewer(store)) == [1, 2, 3]


def test_the_epoch_of_a_divergence_is_there_though_never_reported(
    store: Store, train: Callable[..., None]
) -> None:
    callback = start(store)
    train(callback, 1)
    train(callback, 2, reported=False, train_loss=float("nan"))
    callback.on_trial_complete(0, [], TRIAL)
    assert epochs_seen(viewer(store)) == [1, 2]


def test_epochs_of_before_lie_their_training_time_apart(store: Store, train: Callable[..., None]) -> None:
    train(start(store), 1, 2, 3, reported=False)
    start(store)
    seen = viewer(store)
    seen.Reload()
    times = [event.wall_time for event in seen.Scalars("learning_rate")]
    assert times == pytest.approx([times[-1] - 200, times[-1] - 100, times[-1]])
    assert abs(times[-1] - time.time()) < 60


def test_the_options_of_a_trial_are_its_hyperparameters(store: Store) -> None:
    start(store)
    seen = viewer(store)
    seen.Reload()
    content: Any = seen.PluginTagToContent("hparams")
    start_info = HParamsPluginData.FromString(content["_hparams_/session_start_info"]).session_start_info
    values = {name: getattr(v, v.WhichOneof("kind")) for name, v in start_info.hparams.items()}
    assert values.keys() == vars(CONFIG).keys()
    assert (values["n_subnetworks"], values["seed"], values["coarse"]) == (3, 5, "units")
    assert (values["augment"], values["train_subset"]) == (True, "None")
    experiment = HParamsPluginData.FromString(content["_hparams_/experiment"]).experiment
    assert {info.name.tag for info in experiment.metric_infos} == TAGS


def test_tune_can_pickle_it(store: Store) -> None:
    assert isinstance(pickle.loads(pickle.dumps(start(store))), Callback)
