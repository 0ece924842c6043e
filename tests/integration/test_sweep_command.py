"""The command as a user runs it: a whole sweep, run again, killed and run again."""

import os
import signal
import subprocess
import sys
import time
import uuid
from functools import partial
from pathlib import Path

import pandas as pd
import psutil
import pytest

from analysis import load

MEASURED = ["seconds", "samples_per_second", "step_seconds", "peak_memory_bytes"]
TINY = ["--n-subnetworks", "1", "2", "--seed", "0", "--depth", "20", "--width", "4", "--epochs", "3"]
TINY += ["--train-subset", "640", "--timing-repeats", "2"]


class Command:
    """``python -m orchestrator.sweep`` in a process of its own, whose descendants can be found."""

    def __init__(self, *options: str) -> None:
        self.mark = uuid.uuid4().hex
        self.process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator.sweep", *options],
            env=os.environ | {"PARAREAL_TEST": self.mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # As from a terminal: a test run in the background of a script has interruptions ignored,
            # and hands that on.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )

    def lines(self):
        """Its output as it comes."""
        assert self.process.stdout is not None
        return iter(self.process.stdout)

    def finish(self):
        """Wait for its end; returns exit status and output."""
        output = "".join(self.lines())
        return self.process.wait(), output

    def descendants(self):
        """Processes it has started, directly or not, that are still there."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("PARAREAL_TEST") == self.mark:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
                continue
        return found

    def await_end_of_descendants(self, seconds):
        _, alive = psutil.wait_procs(self.descendants(), timeout=seconds)
        return alive


def epochs(store):
    frame = pd.read_parquet(Path(store, "epochs")).sort_values(["trial_id", "epoch"], ignore_index=True)
    return frame.drop(columns=MEASURED)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A store that an undisturbed sweep has filled."""
    store = tmp_path_factory.mktemp("finished")
    command = Command(*TINY, "--store", str(store))
    status, output = command.finish()
    assert status == 0, output
    assert command.await_end_of_descendants(20) == []
    assert "Table 1" in output
    assert "2/2 trials done" in output
    return store


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


def test_the_same_command_again_runs_nothing_and_more_values_only_the_new_trials(finished):
    before = {path: path.read_bytes() for path in finished.glob("*/*.parquet")}
    status, output = Command(*TINY, "--store", str(finished)).finish()
    assert status == 0
    assert "nothing to run" in output
    assert {path: path.read_bytes() for path in finished.glob("*/*.parquet")} == before

    more = [option if option != "2" else "3" for option in TINY]
    status, output = Command(*more, "--store", str(finished)).finish()
    assert status == 0
    assert "1/1 trials done" in output
    assert {path: path.read_bytes() for path in before} == before


def test_killed_in_the_middle_and_run_again_it_ends_with_the_same_numbers(finished, tmp_path):
    expected = epochs(finished)
    command = Command(*TINY, "--store", str(tmp_path))
    for line in command.lines():
        if "epoch 2/3" in line:  # epoch 3 of the first trial is under way
            command.process.kill()
            break
    command.process.wait()
    assert command.await_end_of_descendants(90) == []
    done = epochs(tmp_path)
    assert 2 <= len(done) < len(expected)

    again = Command(*TINY, "--store", str(tmp_path))
    status, output = again.finish()
    assert status == 0, output
    assert "epoch 1/3" in output  # of the trial that had not begun
    assert output.count("epoch 1/3") == output.count("epoch 2/3") == 1
    assert again.await_end_of_descendants(20) == []
    actual = epochs(tmp_path)
    expected = expected[expected["trial_id"].isin(actual["trial_id"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(actual, expected, check_exact=True)


def test_a_diverging_trial_leaves_the_rest_of_the_sweep_alone(tmp_path):
    command = Command(
        *(*TINY, "--learning-rate", "1e30", "0.1", "--timing-repeats", "0", "--n-subnetworks", "2"),
        *("--store", str(tmp_path)),
    )
    status, output = command.finish()
    assert status == 1
    assert "not finite" in output
    trials = load(tmp_path).trials.set_index("learning_rate")["status"]
    assert trials.to_dict() == {1e30: "diverged", 0.1: "finished"}


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_interrupted_it_stops_at_once_and_says_how_to_go_on(tmp_path, name):
    command = Command(*TINY, "--epochs", "200", "--store", str(tmp_path))
    next(line for line in command.lines() if "epoch 1/200" in line)
    command.process.send_signal(getattr(signal, name))
    started = time.monotonic()
    status, output = command.finish()
    assert status == 130, output
    assert time.monotonic() - started < 20
    assert "the same command goes on from there" in output
    assert "Traceback" not in output
    assert command.await_end_of_descendants(20) == []
    assert len(epochs(tmp_path)) >= 1
