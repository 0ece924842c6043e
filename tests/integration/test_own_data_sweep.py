"""The command of docs/own-data.md sweeps a regression on that page's table, reported in its own unit."""

import re
import shlex
from pathlib import Path

from analysis import load
from orchestrator import load_network
from orchestrator.data.batches import Batches
from orchestrator.data.datasets import load_dataset
from tests.preloaded import start_python

PAGE = (Path(__file__).parents[2] / "docs" / "own-data.md").read_text(encoding="utf-8")
# Later options win: the same path, in seconds.
SMALLER = ["--n-subnetworks", "2", "--seed", "0", "--epochs", "2", "--timing-repeats", "0"]


def test_a_regression_is_swept_as_the_page_says(tmp_path, monkeypatch):
    (module,) = re.findall(r"```python\n# my_data\.py\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "my_data.py").write_text(module, encoding="utf-8")
    (command,) = re.findall(r"python (-m orchestrator\.sweep --dataset my_data.*?[^\\])\n", PAGE, re.DOTALL)
    words = [*shlex.split(command.replace("\\\n", " ")), *SMALLER]
    process = start_python(words, folder=tmp_path)
    output = process.stdout.read()
    assert process.wait() == 0, output
    assert "RMSE" in output
    assert "points" in output

    store = tmp_path / "results" / "diabetes"
    trials = load(store).trials.set_index("n_subnetworks")
    assert set(trials["status"]) == {"finished"}
    assert set(trials["unit"]) == {"points"}
    assert trials["test_error"].between(20, 300).all()  # of a target between 25 and 346
    assert "RMSE" in (store / "report" / "report.html").read_text(encoding="utf-8")

    # and the network that comes back is as good as the one that was trained
    monkeypatch.syspath_prepend(tmp_path)
    network = load_network(store, n_subnetworks=2)
    test = Batches(load_dataset("my_data:diabetes"), batch_size=100, seed=0).test
    inputs, targets = test(0)
    task = network.tearing.network.task
    error = task.value(task.sums(network(inputs), targets).tolist())
    assert abs(error - trials["test_error"][2]) < 1e-3
