"""Sweeps from Python: of a script's own functions, on a Ray that runs already, interrupted, refused."""

from pathlib import Path

import nbformat
import pandas as pd
import pytest
import ray
from nbclient import NotebookClient

from analysis import load
from orchestrator import Options, Sweep, SweepError, run
from tests.preloaded import start_python

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "sweep.ipynb"
TINY = {"n_subnetworks": (1, 2), "epochs": 2, "train_subset": 64, "validation_subset": 40, "batch_size": 16}

SCRIPT = """
import sys
import torch
from torch import nn
from analysis import load
from orchestrator import Options, Sweep, run

WIDTH = 6

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        return x + torch.relu(self.linear(x))

def network(input_shape, n_classes):
    first = nn.Sequential(nn.Flatten(), nn.Linear(64, WIDTH))
    return nn.Sequential(first, *(Block() for _ in range(4)), nn.Linear(WIDTH, n_classes))

sweep = Sweep(network=network, n_subnetworks=2, epochs=1, train_subset=64, learning_rate=0.01)
results = run(sweep, Options(store=sys.argv[1], timing_repeats=0))
print("finished", list(results.trials["status"]), results.epochs.shape)
"""


def test_a_scripts_own_network_is_swept_once_and_its_changed_self_beside(tmp_path):
    script = tmp_path / "script.py"
    store = tmp_path / "store"

    def trials(text):
        script.write_text(text)
        process = start_python([str(script), str(store)], folder=tmp_path)
        output = process.stdout.read()
        assert process.wait() == 0, output
        assert "finished ['finished'" in output
        return output, set(pd.read_parquet(store / "trials")["trial_id"])

    _, first = trials(SCRIPT)
    output, again = trials(SCRIPT + "# a remark\n")
    assert again == first
    assert "nothing to run" in output
    _, both = trials(SCRIPT.replace("WIDTH = 6", "WIDTH = 7"))
    assert both > first
    assert len(both) == 2


def test_a_ray_that_runs_already_is_used_and_left_running(local_ray, tmp_path, capsys):
    sweep = Sweep(depth=20, width=4, **TINY).but(n_subnetworks=2)
    results = run(sweep, Options(store=str(tmp_path), timing_repeats=0))
    assert ray.is_initialized()
    assert list(results.trials["status"]) == ["finished"]
    assert results.epochs["epoch"].tolist() == [1, 2]
    assert "validation error" in capsys.readouterr().out


def test_a_diverging_trial_leaves_the_rest_of_the_sweep_alone(local_ray, tmp_path):
    sweep = Sweep(depth=20, width=4, **TINY).but(learning_rate=(1e30, 0.1), n_subnetworks=1)
    with pytest.raises(SweepError, match=r"learning rate 1e\+30.*: diverged: .*not finite"):
        run(sweep, Options(store=str(tmp_path), timing_repeats=0))
    trials = load(tmp_path).trials.set_index("learning_rate")["status"]
    assert trials.to_dict() == {1e30: "diverged", 0.1: "finished"}


def test_what_cannot_work_is_refused_before_anything_begins(tmp_path):
    with pytest.raises(ValueError, match="depth 30 is not 9n"):
        run(Sweep(depth=30, **TINY), Options(store=str(tmp_path / "store")))
    assert not (tmp_path / "store").exists()
    assert not ray.is_initialized()


def test_the_notebook_sweeps_what_it_defines_and_takes_it_away(tmp_path, monkeypatch):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)
    monkeypatch.setenv("STORE", str(tmp_path / "store"))
    NotebookClient(notebook, resources={"metadata": {"path": NOTEBOOK.parent}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    printed = "".join(output.get("text", "") for output in outputs)
    assert "validation error" in printed
    rows = pd.read_parquet(tmp_path / "store" / "trials")
    assert list(rows["status"]) == ["finished"] * 2
    trial_id = rows.set_index("n_subnetworks")["trial_id"][3]
    epochs = pd.read_parquet(tmp_path / "store" / "epochs" / f"{trial_id}.parquet")
    assert f"{epochs['validation_error'].iloc[-1]:.2f} % are wrong" in printed
