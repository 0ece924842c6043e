import shlex
import subprocess
from dataclasses import asdict

import pytest

from analysis import load
from analysis.reproduce import PROGRAM, commands, origin
from orchestrator.arguments import parse
from orchestrator.config import Sweep


def sweep(**options):
    return Sweep(**{"n_subnetworks": (1, 3, 6), "seed": (0, 1), "depth": 56, "width": 8} | options)


QUICKSTART = sweep()
SWEEPS = {
    "quickstart": [QUICKSTART],
    "every way to tear": [
        sweep(
            partition=("uniform", "staggered"),
            preprocess=("strided", "stem"),
            coarse=("units", "shortcut"),
            n_coarse_units=(None, 5),
            strategy=("serial", "data_parallel"),
        )
    ],
    "pipelines": [
        sweep(strategy=("parareal", "gpipe"), partition=("uniform", "staggered"), batch_size=(60,))
    ],
    "names for a shell": [
        sweep(dataset=('parquet:/my data/it\'s $HOME "*"',), network=("my.nets:net",), depth=(None,))
    ],
    "no milestones": [sweep(schedule=("cosine",), milestones=(), train_subset=(None, 100))],
    "two commands": [QUICKSTART, sweep(n_subnetworks=(1, 12), seed=(7,), milestones=(3,))],
    "a missing corner": [sweep(seed=(0,)), sweep(seed=(1,), n_subnetworks=(1, 3))],
}
ENOUGH = {"pipelines": 2, "two commands": 2, "a missing corner": 2}


def run_before(store, sweeps):
    """Store the trials of sweeps as the orchestrator does; returns their ids."""
    trials = {trial.trial_id: trial for sweep in sweeps for trial in sweep.trials()}
    for trial_id, trial in trials.items():
        values = {"trial_id": trial_id, "status": "finished", "devices": "3 cpu", "commit": "abc"}
        row = values | asdict(trial) | {"milestones": " ".join(map(str, trial.milestones))}
        store.write("trials", trial_id, [row])
    return set(trials)


def words(command):
    """What a shell makes of a command, without the program."""
    shown = subprocess.run(
        ["sh", "-c", command.replace(PROGRAM, r"printf '%s\0'", 1)],
        capture_output=True,
        text=True,
        check=True,
    )
    return shown.stdout.split("\0")[:-1]


@pytest.mark.parametrize("name", SWEEPS)
def test_commands_run_exactly_the_trials_of_the_store(store, name):
    expected = run_before(store, SWEEPS[name])
    results = load(store.path)
    found = commands(results.trials, results.timings)
    assert len(found) <= ENOUGH.get(name, 1)
    trials = [trial.trial_id for command in found for trial in parse(words(command)).sweep.trials()]
    assert set(trials) == expected
    assert len(trials) == len(expected)


def test_command_repeats_the_timings_and_leaves_the_store_alone(store):
    run_before(store, [QUICKSTART])
    trial_id = load(store.path).trials["trial_id"][0]
    store.timings(trial_id, {("subnetwork", 1): [(1.0, 1.0)] * 7})
    results = load(store.path)
    (command,) = commands(results.trials, results.timings)
    options = parse(words(command)).options
    assert (options.timing_repeats, options.devices) == (7, "cpu")
    assert options.store not in (None, str(store.path))
    assert "--n-subnetworks 1 3 6" in command
    assert shlex.split(command)[:3] == shlex.split(PROGRAM)


def test_empty_store_has_nothing_to_run_again(store):
    results = load(store.path)
    assert commands(results.trials, results.timings) == []


def test_origin_says_where_files_differed(store):
    assert origin(load(store.path).trials) == ""
    store.trial(1, commit="abc")
    assert origin(load(store.path).trials) == "Run at commit abc of the project."
    store.trial(3, commit="def+")
    assert "abc and def+" in origin(load(store.path).trials)
    assert "differed" in origin(load(store.path).trials)
