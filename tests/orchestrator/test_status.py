"""A sweep seen from its store alone."""

import fcntl
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator import status
from orchestrator.status import look, main
from orchestrator.storage.store import LOCK, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """One trial of each kind; the sweep was to run a, b and e."""
    store = Store(tmp_path / "store")
    store.announce({"a": 4, "b": 4, "e": 4})
    for trial_id, state, n_epochs in [
        ("a", "finished", 4),
        ("b", "running", 2),
        ("c", "running", 1),
        ("d", "diverged", 3),
    ]:
        error = "the loss was not finite in epoch 3" if state == "diverged" else ""
        row = {"trial_id": trial_id, "status": state, "error": error, "epochs": 4}
        store.write("trials", trial_id, [row])
        epochs = [
            {"trial_id": trial_id, "epoch": i, "seconds": 10.0 + i, "validation_error": 50.0 / i}
            for i in range(1, n_epochs + 1)
        ]
        store.write("epochs", trial_id, epochs)
    return store


def statuses(store: Store) -> dict[str, str]:
    return {trial.trial_id: trial.status for trial in look(store.path).trials}


def finish(store: Store, *trial_ids: str) -> None:
    for trial_id in trial_ids:
        store.write("trials", trial_id, [{"trial_id": trial_id, "status": "finished", "epochs": 4}])


def test_while_a_sweep_holds_the_store_its_trials_run_and_wait(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    with store.lock():
        # c is of an earlier sweep, which was killed
        expected = {"a": "finished", "b": "running", "c": "interrupted", "d": "diverged", "e": "waiting"}
        assert statuses(store) == expected
        assert main([str(store.path)]) == 3
    shown = capsys.readouterr().out
    assert shown.startswith("running (1 of 5 trials finished)")
    assert "d: the loss was not finite in epoch 3" in shown


def test_what_runs_comes_first_and_says_how_long_it_will_take(store: Store) -> None:
    with store.lock():
        first, *others = look(store.path).trials
    assert (first.trial_id, first.epoch, first.epochs, first.validation_error) == ("b", 2, 4, 25.0)
    assert first.epoch_seconds == 11.5
    assert first.left == timedelta(seconds=23)
    assert [trial.left for trial in others] == [None] * 4


def test_without_a_sweep_what_was_running_was_interrupted(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    with store.lock():
        pass
    expected = {"a": "finished", "b": "interrupted", "c": "interrupted", "d": "diverged", "e": "not started"}
    assert statuses(store) == expected
    assert main([str(store.path)]) == 1
    assert capsys.readouterr().out.startswith("dead: repeat the command to go on (1 of 5")


def test_when_all_is_over_the_exit_status_says_whether_all_is_well(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(store, "b", "c", "e")
    assert main([str(store.path)]) == 1  # d diverged
    finish(store, "d")
    assert main([str(store.path)]) == 0
    assert "ended (5 of 5 trials finished)" in capsys.readouterr().out


def test_watching_ends_with_the_sweep(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = store.lock()
    waited = []

    def sleep(seconds: float) -> None:
        """The sweep ends while the second time is waited."""
        waited.append(seconds)
        if len(waited) == 2:
            finish(store, "b", "c", "d", "e")
            lock.__exit__(None, None, None)

    monkeypatch.setattr(status.time, "sleep", sleep)
    with lock:
        assert main([str(store.path), "--watch", "7"]) == 0
    assert waited == [7.0, 7.0]


def test_interrupted_watching_is_no_traceback(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(status.time, "sleep", interrupt)
    with store.lock():
        assert main([str(store.path), "--watch", "7"]) == 130


def test_looking_changes_nothing_and_needs_no_right_to_write(store: Store) -> None:
    with store.lock():
        pass
    before = {path: path.stat().st_mtime_ns for path in store.path.rglob("*")}
    (store.path / LOCK).chmod(0o444)
    look(store.path)
    assert {path: path.stat().st_mtime_ns for path in store.path.rglob("*")} == before


def test_a_sweep_that_starts_while_somebody_looks_is_not_refused(store: Store) -> None:
    with store.lock():
        pass
    with (store.path / LOCK).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        threading.Timer(0.2, fcntl.flock, (file, fcntl.LOCK_UN)).start()
        with store.lock():
            assert look(store.path).running


def test_an_empty_store_is_a_store(tmp_path: Path) -> None:
    assert main([str(Store(tmp_path / "new").path)]) == 0


def test_what_is_no_store_or_damaged_is_refused(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "is no result store" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()
    (store.path / "trials" / "a.parquet").write_bytes(b"PAR1")
    assert main([str(store.path)]) == 2
    assert "has a damaged file" in capsys.readouterr().err
