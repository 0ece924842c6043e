import io
import pickle
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
from ray.tune import Callback
from rich.console import Console

from models.task import Classification
from orchestrator.config import Sweep
from orchestrator.observers.display import Display
from orchestrator.storage.store import Store

CONFIGS = Sweep(n_subnetworks=(1, 3), seed=(0, 1), epochs=(4,)).trials()
LABELS = [f"N = {config.n_subnetworks}, seed {config.seed}" for config in CONFIGS]
TRIALS = [SimpleNamespace(config={"trial_id": config.trial_id}) for config in CONFIGS]


class Shown:
    """A display of these trials on a terminal or elsewhere, and what it has shown."""

    def __init__(self, folder, configs=CONFIGS, *, terminal=False, height=25, width=80):
        self.store = Store(folder)
        console = Console(file=io.StringIO(), force_terminal=terminal, width=width, height=height)
        self.output = console.file
        tearing = SimpleNamespace(network=SimpleNamespace(task=Classification()))
        jobs = [SimpleNamespace(config=config, tearing=tearing) for config in configs]
        self.display = Display(jobs, self.store, console)
        self.display.setup(stop=None, num_samples=1, total_num_samples=len(configs))

    def start(self, trial):
        self.display.on_trial_start(0, TRIALS, trial)

    def report(self, trial, epoch, error=12.345, seconds=0.5):
        result = {"epoch": epoch, "validation_error": error, "seconds": seconds}
        self.display.on_trial_result(0, TRIALS, trial, result)

    def end(self, trial, status="finished"):
        trial_id = trial.config["trial_id"]
        self.store.write("trials", trial_id, [{"trial_id": trial_id, "status": status}])
        self.display.on_trial_complete(0, TRIALS, trial)

    def text(self):
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.output.getvalue())


def test_elsewhere_than_on_a_terminal_each_event_is_a_plain_line(tmp_path):
    shown = Shown(tmp_path)
    shown.start(TRIALS[0])
    shown.report(TRIALS[0], 1)
    for epoch in (2, 3, 4):
        shown.report(TRIALS[0], epoch, error=2.0)
    shown.end(TRIALS[0])
    shown.display.stop()
    lines = shown.output.getvalue().splitlines()
    assert lines[0] == f"{LABELS[0]}: running, 0/4 trials done"
    assert lines[1].startswith(f"{LABELS[0]}: epoch 1/4, validation error 12.35 %, 0/4 trials done, about ")
    assert lines[-1].startswith(f"{LABELS[0]}: finished, 1/4 trials done, about ")
    assert len(lines) == 6
    assert "\x1b" not in shown.output.getvalue()


@pytest.mark.parametrize("status", ["diverged", "failed"])
def test_a_trial_that_came_to_a_bad_end_says_so_and_counts_as_done(tmp_path, status):
    shown = Shown(tmp_path)
    shown.end(TRIALS[2], status)
    assert f"{LABELS[2]}: {status}, 1/4 trials done" in shown.text()


def test_a_trial_whose_process_died_has_failed(tmp_path):
    shown = Shown(tmp_path)
    shown.display.on_trial_error(0, TRIALS, TRIALS[1])
    assert f"{LABELS[1]}: failed, 1/4 trials done" in shown.text()
    shown.display.on_trial_complete(0, TRIALS, TRIALS[3])  # ended, but left no row
    assert f"{LABELS[3]}: failed, 2/4 trials done" in shown.text()


@pytest.mark.parametrize("terminal", [True, False])
def test_what_went_wrong_and_was_mended_is_said(tmp_path, terminal):
    shown = Shown(tmp_path, terminal=terminal)
    shown.display.on_trial_result(0, TRIALS, TRIALS[0], {"remark": "an actor died: [Errno 7]"})
    shown.display.on_trial_recover(0, TRIALS, TRIALS[1])
    shown.display.stop()
    assert f"{LABELS[0]}: an actor died: [Errno 7]" in shown.text()
    assert f"{LABELS[1]}: its process was lost: going on from the last checkpoint" in shown.text()
    assert "0/4 trials done" in shown.text()


def test_a_result_without_an_epoch_is_no_news(tmp_path):
    shown = Shown(tmp_path)
    shown.display.on_trial_result(0, TRIALS, TRIALS[0], {"done": True})
    assert shown.text() == ""


def seconds_left(line):
    hours, minutes, seconds = re.search(r"about (\d+):(\d+):(\d+) left", line).groups()
    return 3600 * int(hours) + 60 * int(minutes) + int(seconds)


def test_the_time_left_follows_the_pace_so_far(tmp_path):
    shown = Shown(tmp_path)
    shown.report(TRIALS[0], 1, seconds=100.0)
    assert seconds_left(shown.text()) == pytest.approx(15 * 100, rel=0.02)


def test_epochs_of_an_earlier_run_took_no_time_in_this_one(tmp_path):
    configs = [replace(config, epochs=101) for config in CONFIGS[:2]]
    trials = [SimpleNamespace(config={"trial_id": config.trial_id}) for config in configs]
    shown = Shown(tmp_path, configs)
    for trial in trials:  # both resumed after 50 epochs, 51 of each left
        shown.start(trial)
    for trial in trials:
        shown.report(trial, 51, seconds=100.0)
    assert seconds_left(shown.text().splitlines()[-1]) == pytest.approx(100 * 50, rel=0.02)


def test_on_a_terminal_there_is_a_table_of_all_trials(tmp_path):
    shown = Shown(tmp_path, terminal=True)
    shown.start(TRIALS[1])
    shown.report(TRIALS[1], 2)
    shown.end(TRIALS[0])
    shown.display.stop()
    last = shown.text()[shown.text().rindex("1/4 trials done") :]
    rows = {line[: len(LABELS[0])]: line for line in last.splitlines() if line.startswith("N = ")}
    assert rows.keys() == set(LABELS)
    assert "running" in rows[LABELS[1]]
    assert "2/4" in rows[LABELS[1]]
    assert "12.35 %" in rows[LABELS[1]]
    assert "finished" in rows[LABELS[0]]
    assert "waiting" in rows[LABELS[3]]
    assert next(iter(rows)) == LABELS[1]  # what runs comes first


@pytest.mark.parametrize("width", [30, 40, 80])
def test_the_table_is_legible_on_a_narrow_terminal(tmp_path, width):
    configs = Sweep(n_subnetworks=(1, 3), seed=(0, 1), coarse=("units", "shortcut"), epochs=(200,)).trials()
    shown = Shown(tmp_path, configs, terminal=True, width=width)
    trial = SimpleNamespace(config={"trial_id": configs[-1].trial_id})
    shown.report(trial, 150)
    shown.display.stop()
    last = shown.text()[shown.text().rindex("0/6 trials done") :]
    assert "…" not in last
    assert max(map(len, last.splitlines())) <= width
    assert len(last.splitlines()) <= 25
    for said in ("N = 3, shortcut, seed 1", "150/200", "12.35 %"):
        assert said in " ".join(last.split())


def test_a_table_longer_than_the_terminal_shows_what_runs_and_counts_the_rest(tmp_path):
    configs = Sweep(n_subnetworks=(3,), seed=tuple(range(100))).trials()
    shown = Shown(tmp_path, configs, terminal=True, height=20)
    shown.start(SimpleNamespace(config={"trial_id": configs[70].trial_id}))
    shown.display.stop()
    last = shown.text()[shown.text().rindex("0/100 trials done") :]
    assert "seed 70 " in last
    assert "and 86 more" in last
    assert len(last.splitlines()) <= 20


def test_tune_can_pickle_it(tmp_path):
    for terminal in (True, False):
        shown = Shown(tmp_path, terminal=terminal)
        assert isinstance(pickle.loads(pickle.dumps(shown.display)), Callback)
        shown.display.stop()
