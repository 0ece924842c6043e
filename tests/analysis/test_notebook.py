from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "analysis.ipynb"
TIMES = {
    **{("preprocess", 1): [(0.1, 0.1)] * 3, ("subnetwork", 1): [(1.0, 2.0)] * 3},
    **{("postprocess", 0): [(0.1, 0.1)] * 3},
}


@pytest.fixture
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def test_notebook_is_kept_without_outputs(notebook):
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_notebook_runs_on_a_small_store_and_shows_figures_and_tables(notebook, store, monkeypatch):
    for n in (1, 3):
        for seed in (0, 1):
            trial_id = store.trial(n, seed, errors=[9.0, 5.0, 4.0 - seed / n])
            store.timings(trial_id, TIMES, critical_path=[3.0, 3.1, 3.2])
    monkeypatch.setenv("STORE", str(store.path))
    NotebookClient(notebook, resources={"metadata": {"path": NOTEBOOK.parent}}).execute()
    shown = [
        output["data"] for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output
    ]
    assert sum("image/png" in data for data in shown) == 5
    assert sum("text/html" in data for data in shown) == 3
    assert "4 trials: 4 finished." in shown[0]["text/html"]
