"""The command as a user runs it: a whole sweep, run again, killed and run again."""

import shutil
import signal
import tempfile
import time
from pathlib import Path

import pandas as pd
import pytest

from analysis import load
from orchestrator.heir import scratch_prefix
from orchestrator.sweep import main
from tests.integration.command import TINY, UNTIMED, Command, epochs


def test_a_sweep_leaves_results_report_and_tables(finished):
    results = load(finished)
    assert set(results.trials["status"]) == {"finished"}
    assert sorted(results.trials["n_subnetworks"]) == [1, 2]
    assert results.epochs.groupby("trial_id")["epoch"].apply(list).tolist() == [[1, 2, 3]] * 2
    virtual = results.timings[results.timings["mode"] == "virtual"]
    components = {"preprocess", "subnetwork", "coarse_network", "postprocess"}
    assert set(virtual["component"]) == components | {"step"}
    assert (virtual["seconds"] > 0).all()
    assert not (finished / ".ray").exists()
    for name in ("figure3.png", "figure3.svg", "table1.csv", "table1.md", "table1.tex", "table2.csv"):
        assert (finished / "report" / name).stat().st_size > 0


def test_the_same_command_again_runs_nothing(finished, tmp_path, capsys):
    finished = shutil.copytree(finished, tmp_path / "copy")
    before = {path: path.read_bytes() for path in finished.glob("*/*.parquet")}
    assert main([*TINY, "--store", str(finished)]) == 0
    assert "nothing to run" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in finished.glob("*/*.parquet")} == before


def test_killed_in_the_middle_and_run_again_it_ends_with_the_same_numbers(finished, tmp_path):
    expected = epochs(finished)
    command = Command(*UNTIMED, "--store", str(tmp_path))
    for line in command.lines():
        if "epoch 2/3" in line:  # epoch 3 of the first trial is under way
            command.process.send_signal(signal.SIGKILL)
            break
    command.process.wait()
    assert command.await_end_of_descendants(90) == []
    done = epochs(tmp_path)
    assert 2 <= len(done) < len(expected)

    again = Command(*UNTIMED, "--store", str(tmp_path))
    status, output = again.finish()
    assert status == 0, output
    assert "epoch 1/3" in output  # of the trial that had not begun
    assert output.count("epoch 1/3") == output.count("epoch 2/3") == 1
    assert again.await_end_of_descendants(20) == []
    for process in (command.process.pid, again.process.pid):
        assert not list(Path(tempfile.gettempdir()).glob(f"{scratch_prefix(process)}*"))
    actual = epochs(tmp_path)
    expected = expected[expected["trial_id"].isin(actual["trial_id"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(actual, expected, check_exact=True)


def test_rows_that_are_lost_are_made_again_or_said(finished, tmp_path):
    store = shutil.copytree(finished, tmp_path / "copy")
    trained, timed = sorted(path.stem for path in (store / "trials").glob("*.parquet"))
    (store / "epochs" / f"{trained}.parquet").unlink()
    (store / "timings" / f"{timed}.parquet").write_bytes(b"")
    (store / "trials" / f"{timed}.parquet").unlink()
    status, output = Command(*TINY, "--store", str(store)).finish()
    assert status == 0, output
    assert "N = 1: epochs are missing in the store: it is trained again" in output
    assert "2/2 trials done" in output
    assert "Last result" not in output  # as Tune says of a trial whose epochs were all there
    assert f"timings/{timed}.parquet is damaged (" in output
    said = "".join(output.split())
    assert f"Wall-clocktimingsoffinishedtrialsaremissinginthestore,{timed}:" in said
    pd.testing.assert_frame_equal(epochs(store), epochs(finished), check_exact=True)
    timings = load(store).timings
    modes = set(timings.loc[timings["trial_id"] == timed, "mode"])
    assert "virtual" in modes
    assert "wall" not in modes


@pytest.mark.parametrize("names", [["SIGINT", "SIGINT"], ["SIGTERM"], ["SIGUSR1"]])
def test_interrupted_it_stops_at_once_and_says_how_to_go_on(tmp_path, names):
    numbers = [getattr(signal, name) for name in names]
    command = Command(*UNTIMED, "--n-subnetworks", "1", "--epochs", "200", "--store", str(tmp_path))
    next(line for line in command.lines() if "epoch 1/200" in line)
    started = time.monotonic()
    for number in numbers:
        command.process.send_signal(number)
        time.sleep(0.3)  # as a hand does; the second comes while the first is heeded
    status, output = command.finish()
    assert status == 128 + numbers[0], output
    assert time.monotonic() - started < 20
    assert "the same command goes on from there" in output
    assert "Traceback" not in output
    assert command.await_end_of_descendants(20) == []
    assert len(epochs(tmp_path)) >= 1
