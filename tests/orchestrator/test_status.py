"""A sweep seen from its store alone."""

import fcntl
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from rich.console import Console

from analysis.measure import Measure
from orchestrator import status
from orchestrator.status import SweepStatus, TrialStatus, look, main
from orchestrator.storage.store import ANNOUNCED, LOCK, Store
from tests.unreadable import make_unreadable


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """One trial of each kind; the sweep was to run a, b and e."""
    store = Store(tmp_path / "store")
    store.announce({trial_id: {"epochs": 4} for trial_id in "abe"})
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


CONFIG = {"dataset": "digits", "network": "resnet", "depth": 20, "strategy": "parareal", "epochs": 4}


@pytest.fixture
def swept(tmp_path: Path) -> Store:
    """Two N and two learning rates; one trial has begun, and one is of a store without options."""
    store = Store(tmp_path / "swept")
    asked = {
        f"digits-resnet-20-n{n}-s0-{n}{rate}": CONFIG | {"n_subnetworks": n, "learning_rate": rate, "seed": 0}
        for n in (1, 3)
        for rate in (0.1, 0.2)
    }
    store.announce(asked)
    trial_id, config = next(iter(asked.items()))
    known = {"trial_id": trial_id, "status": "running", "error": "", "partition_sizes": "9", "graphs": None}
    store.write("trials", trial_id, [config | known])
    epochs = [{"trial_id": trial_id, "epoch": 1, "seconds": 3.0, "validation_error": 12.345}]
    store.write("epochs", trial_id, epochs)
    return store


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("metric", ["perplexity", "loss {in %}", "error", "status"])
def test_the_metric_has_its_name(metric: str, width: int) -> None:
    measure = Measure(metric, "", "lower")
    trial = TrialStatus("a", "N = 1", "running", 4, epoch=1, validation_error=9.5, measure=measure)
    console = Console(width=width)
    with console.capture() as captured:
        console.print(SweepStatus(running=True, trials=(trial,)))
    assert ("error" if metric == "status" else metric) in captured.get()
    assert "9.5" in captured.get()


@pytest.mark.parametrize("width", [40, 80])
def test_trials_are_called_by_what_they_differ_in_at_any_width(
    swept: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    with swept.lock():
        assert main([str(swept.path)]) == 3
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= width
    for n in (1, 3):
        for rate in (0.1, 0.2):
            assert f"N = {n}, learning rate {rate}" in shown
    for said in ("running", "1/4", "12.35 %", "3.0 s", "0:00:09"):
        assert said in shown
    assert "digits" not in shown
    assert "…" not in shown


def test_trials_are_called_by_their_ids_when_asked_and_where_nothing_else_is_known(
    swept: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(swept.path), "--ids"])
    shown = capsys.readouterr().out
    assert "digits-resnet-20-n1-s0-10.1" in "".join(shown.split())
    assert "N = 1" not in shown
    # What earlier versions announced.
    (swept.path / ANNOUNCED).write_text('{"x": 7}')
    main([str(swept.path)])
    assert "x " in capsys.readouterr().out


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
    said = capsys.readouterr().err
    assert "a.parquet is damaged (" in said
    assert "the sweep's command sets it aside and makes it again" in said


@pytest.mark.parametrize("place", [".", "trials", "epochs/a.parquet", ANNOUNCED, LOCK])
def test_what_cannot_be_read_just_now_is_refused_with_that_reason(
    store: Store, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    with store.lock():
        pass
    path = make_unreadable(store.path / place)
    assert main([str(store.path)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(f"error: {path} cannot be read (")


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b'{"one": true}'])
def test_a_damaged_list_of_trials_is_named(
    store: Store, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    (store.path / ANNOUNCED).write_bytes(content)
    assert main([str(store.path)]) == 2
    assert "remove it, the next sweep writes it anew" in capsys.readouterr().err
