"""What a sweep tells MLflow, read back by MLflow itself."""

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import mlflow
import pytest
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from ray import cloudpickle
from ray.tune import Callback
from rich.console import Console

from orchestrator.config import Options, Sweep
from orchestrator.observers.mlflow import MLflow, check
from orchestrator.storage.store import Store
from orchestrator.trial import Job

(CONFIG,) = Sweep(n_subnetworks=(3,), seed=(5,), epochs=(9,)).trials()
JOB = cast(Job, SimpleNamespace(config=CONFIG))


class Trial:
    """What Tune says of a trial."""

    def __init__(self) -> None:
        self.config = {"trial_id": CONFIG.trial_id}

    def __str__(self) -> str:
        return CONFIG.trial_id


TRIAL = Trial()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "quickstart")


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # needs no server and no database
    return str(tmp_path / "mlflow")


@pytest.fixture
def start(store: Store, uri: str) -> Callable[[], MLflow]:
    """A sweep begins, and with it the trial."""

    def start() -> MLflow:
        callback = MLflow([JOB], store, uri, Console(file=io.StringIO()))
        callback.setup()
        callback.log_trial_start(TRIAL)
        return callback

    return start


def train(callback: MLflow, store: Store, *epochs: int, reported: bool = True) -> None:
    for epoch in epochs:
        rows = [row for row in store.read("epochs", CONFIG.trial_id) if row["epoch"] < epoch]
        row = {"epoch": epoch, "seconds": 2.0, "validation_error": 60.0 / epoch}
        store.write("epochs", CONFIG.trial_id, [*rows, row])
        if reported:
            callback.log_trial_result(0, TRIAL, row)


def end(callback: MLflow, store: Store, status: str) -> None:
    store.write("trials", CONFIG.trial_id, [{"trial_id": CONFIG.trial_id, "status": status}])
    callback.log_trial_end(TRIAL)


def runs(uri: str) -> list[Run]:
    """All runs of the store's experiment, first one first."""
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("quickstart")
    assert experiment is not None
    return client.search_runs([experiment.experiment_id], order_by=["attributes.start_time"])


def history(uri: str, run: Run, metric: str) -> list[tuple[int, float]]:
    values = mlflow.MlflowClient(uri).get_metric_history(run.info.run_id, metric)
    return [(value.step, value.value) for value in values]


def test_a_trial_is_a_run_with_its_options_and_epochs(
    store: Store, uri: str, start: Callable[[], MLflow]
) -> None:
    callback = start()
    train(callback, store, 1, 2, 3)
    end(callback, store, "finished")
    (run,) = runs(uri)
    assert run.info.run_name == CONFIG.trial_id
    assert run.info.status == "FINISHED"
    assert run.data.params == {"trial_id": CONFIG.trial_id} | {k: str(v) for k, v in vars(CONFIG).items()}
    assert history(uri, run, "validation_error") == [(1, 60.0), (2, 30.0), (3, 20.0)]
    assert "trial_id" not in run.data.metrics


def test_a_trial_that_ends_badly_has_failed(store: Store, uri: str, start: Callable[[], MLflow]) -> None:
    callback = start()
    train(callback, store, 1)
    train(callback, store, 2, reported=False)
    end(callback, store, "diverged")
    (run,) = runs(uri)
    assert run.info.status == "FAILED"
    assert [step for step, _ in history(uri, run, "seconds")] == [1, 2]


def test_a_process_that_is_started_again_goes_on_with_its_run(
    store: Store, uri: str, start: Callable[[], MLflow]
) -> None:
    callback = start()
    train(callback, store, 1)
    train(callback, store, 2, reported=False)  # it died before it could report
    callback.log_trial_start(TRIAL)
    train(callback, store, 3)
    (run,) = runs(uri)
    assert [step for step, _ in history(uri, run, "seconds")] == [1, 2, 3]


def test_a_later_command_begins_with_the_epochs_that_there_are(
    store: Store, uri: str, start: Callable[[], MLflow]
) -> None:
    train(start(), store, 1, 2)
    train(start(), store, 3)
    first, second = runs(uri)
    assert [step for step, _ in history(uri, first, "seconds")] == [1, 2]
    assert [step for step, _ in history(uri, second, "seconds")] == [1, 2, 3]


def test_a_server_that_is_away_for_a_while_gets_everything_and_stops_nothing(
    store: Store, uri: str, start: Callable[[], MLflow], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise MlflowException("connection refused")

    callback = start()
    with monkeypatch.context() as broken:
        broken.setattr(callback.mlflow_util, "log_metrics", away)
        train(callback, store, 1, 2)
    train(callback, store, 3)
    (run,) = runs(uri)
    assert [step for step, _ in history(uri, run, "seconds")] == [1, 2, 3]


def test_a_server_that_is_not_there_is_a_refusal(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check(uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ValueError, match=r"no MLflow answers at http://127\.0\.0\.1:1 .*: start one, or"):
        check("http://127.0.0.1:1")


def test_tune_can_pickle_it(start: Callable[[], MLflow]) -> None:
    assert isinstance(cloudpickle.loads(cloudpickle.dumps(start())), Callback)


def test_without_mlflow_the_option_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    Options(mlflow="http://localhost:5000")
    monkeypatch.setattr("orchestrator.config.options.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"--mlflow http://localhost:5000 needs .* pip install mlflow"):
        Options(mlflow="http://localhost:5000")
