"""The network that a trial of any strategy has trained, in one process and elsewhere."""

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import ray
import torch
from ray.util.placement_group import placement_group, remove_placement_group

from orchestrator import export, load_network
from orchestrator.actors.metrics import Totals
from orchestrator.data.batches import Batches
from orchestrator.data.datasets import load_dataset
from orchestrator.devices import GangResources, n_actors
from orchestrator.initial import initial_weights, weights_fingerprint
from orchestrator.own_code import fingerprint
from orchestrator.plan import describe, tear_as_asked
from orchestrator.storage import checkpoint
from orchestrator.storage.store import Store
from orchestrator.trial import Job, data_columns, run_trial
from tests.integration.command import MEASURED
from tests.test_docs import ROOT, blocks


def images_of(config):
    return load_dataset(
        config.dataset, train_subset=config.train_subset, validation_subset=config.validation_subset
    )


def run(config, store, **options):
    """Run a trial to its end; returns the rows of its epochs."""
    images = images_of(config)
    resources = GangResources(n_actors(config.n_subnetworks, config.strategy), "cpu", cpus=0.1, gpus=0)
    group = placement_group(resources.bundles)
    tearing = tear_as_asked(config, describe(config, images))
    known = data_columns(images, config, tearing.network.task)
    weights = initial_weights(config, tearing)
    known |= {"code_fingerprint": fingerprint(config.network)}
    known |= {"initial_fingerprint": weights_fingerprint(weights)}
    job = Job(config, tearing, resources, known, weights)
    options = {"max_failures": 0, "timeout": 60.0, "progress": lambda row: None, "tell": print} | options
    try:
        run_trial(job, ray.put(images), group, store, **options)
    finally:
        remove_placement_group(group)
    assert store.status(config.trial_id) == "finished"
    return store.read("epochs", config.trial_id)


@torch.no_grad()
def validate(network, config):
    """Loss and error of a network on a trial's validation images."""
    dtype = config.compute(torch.device("cpu")).weight_dtype
    held_out = Batches(images_of(config), batch_size=config.batch_size, seed=0, dtype=dtype).validation
    total = Totals(network.tearing.network.task, torch.device("cpu"))
    for images, labels in map(held_out, range(held_out.n_steps)):
        outputs = network(images)
        total.add(network.tearing.network.task.loss(outputs, labels), outputs, labels)
    return total.loss, total.metric


@pytest.mark.parametrize(
    "options",
    [
        {"n_subnetworks": 3, "precision": "float64"},
        {"n_subnetworks": 2, "strategy": "data_parallel", "precision": "float64"},
        {"n_subnetworks": 3},
        {"n_subnetworks": 3, "n_iterations": 2},
        {"n_subnetworks": 1},
        {"n_subnetworks": 2, "strategy": "serial", "channels_last": True},
        {"n_subnetworks": 2, "strategy": "data_parallel"},
        {"n_subnetworks": 3, "strategy": "gpipe", "batch_size": 12},
        {"n_subnetworks": 2, "strategy": "1f1b"},
        {"n_subnetworks": 2, "network": "mlp", "depth": 6, "width": 12, "coarse": "shortcut"},
    ],
    ids=lambda options: " ".join(map(str, options.values())),
)
def test_it_validates_as_the_store_says(pooled, trial, tmp_path, options):
    config = trial(**{"precision": "float32"} | options)
    store = Store(tmp_path)
    last = run(config, store)[-1]
    network = load_network(tmp_path, seed=0)
    assert not network.training
    assert network.n_iterations == config.n_iterations
    loss, error = validate(network, config)
    assert error == last["validation_error"]
    # Workers add up their own batches first; of several iterations, differences are what travels.
    rounded = config.strategy == "data_parallel" or config.n_iterations > 1
    assert loss == (pytest.approx(last["validation_loss"], rel=1e-6) if rounded else last["validation_loss"])


def kept(store, config):
    return checkpoint.epochs(store.checkpoints(config.trial_id))


def test_the_best_epoch_can_be_kept(pooled, trial, tmp_path):
    config = trial(network="mlp", depth=6, width=12, learning_rate=0.1, seed=1, epochs=6)
    store = Store(tmp_path)
    rows = run(config, store, keep_best=True)
    errors = [row["validation_error"] for row in rows]
    best = 1 + errors.index(min(errors))
    assert best < 5  # else it would show nothing
    assert kept(store, config) == [best, 5, 6]
    network = load_network(store.path, config.trial_id, epoch="best")
    assert validate(network, config) == (rows[best - 1]["validation_loss"], min(errors))
    assert validate(load_network(store.path, epoch=5), config)[1] == errors[4]
    with pytest.raises(ValueError, match=r"no checkpoint of epoch 4: there are those of \d and 5 and 6$"):
        load_network(store.path, epoch=4)


@pytest.mark.parametrize("strategy", ["parareal", "1f1b"])
def test_more_epochs_go_on_bit_for_bit_from_a_finished_trial(pooled, trial, tmp_path, strategy):
    options = {"strategy": strategy, "network": "mlp", "depth": 6, "width": 12, "milestones": (1, 3)}
    short, long = (trial(**options, epochs=epochs) for epochs in (2, 4))
    told, began = [], []
    store = Store(tmp_path / "longer")
    run(short, store)
    rows = run(long, store, tell=told.append, progress=lambda row: began.append(row["epoch"]))
    assert told == [f"goes on from the 2 epochs of {short.trial_id}"]
    assert began == [3, 4]
    at_once = Store(tmp_path / "at once")
    expected = run(long, at_once)
    for row, other in zip(rows, expected, strict=True):
        assert {name: row[name] for name in row if name not in MEASURED} == {
            name: other[name] for name in other if name not in MEASURED
        }
    states, others = (load_latest(s, long) for s in (store, at_once))
    assert states.keys() == others.keys()
    for part, state in states.items():
        torch.testing.assert_close(state, others[part], rtol=0, atol=0)
    assert {row["repeat"] for row in store.read("timings", long.trial_id)} == {0, 1, 2, 3}
    assert len(store.read("epochs", short.trial_id)) == 2


def load_latest(store, config):
    _, states = checkpoint.load_latest(store.checkpoints(config.trial_id), tell=pytest.fail)
    return {part: torch.load(io.BytesIO(state), weights_only=True) for part, state in states.items()}


def test_a_trial_of_any_strategy_begins_with_the_weights_that_it_is_given(pooled, trial, tmp_path):
    options = {"network": "mlp", "depth": 6, "width": 12}
    first, file = Store(tmp_path / "first"), tmp_path / "serial.safetensors"
    expected = {n: run(trial(**options, n_subnetworks=n), first)[-1]["validation_loss"] for n in (1, 2)}
    export.export(load_network(first.path, n_subnetworks=1), file)
    for n, strategy, source in ((1, "1f1b", file), (1, "data_parallel", file), (2, "parareal", first.path)):
        # Steps too short to change anything.
        asked = {"strategy": strategy, "initial": str(source), "learning_rate": 1e-300, "epochs": 1}
        (row,) = run(trial(**options, **asked), Store(tmp_path / strategy))
        assert row["validation_loss"] == pytest.approx(expected[n], rel=1e-12), strategy


def test_the_page_of_the_trained_network_does_what_it_says(pooled, trial, tmp_path, monkeypatch):
    """Every block, in order; what it loads elsewhere, it loads in a process without this project."""
    monkeypatch.chdir(tmp_path)
    config = trial(network="mlp", depth=6, width=12, precision="float32", train_subset=None)
    run(replace(config, batch_size=64), Store("results/quickstart"))
    (trial_id,) = (path.stem for path in Path("results/quickstart/trials").iterdir())
    for suffix in (".pt2", ".onnx", ".safetensors"):
        assert export.main(["results/quickstart", trial_id, f"network{suffix}"]) == 0
    names = {}
    for block in blocks(ROOT / "docs" / "take-away.md", "python"):
        exec(block, names)
        if "logits" in names:
            expected = names["network"](names["images"]).detach()
            torch.testing.assert_close(torch.as_tensor(names.pop("logits")), expected)
    elsewhere = "import sys, torch; images = torch.load('images.pt')\n" + "\n".join(
        block for block in blocks(ROOT / "docs" / "take-away.md", "python") if "logits" in block
    )
    torch.save(names["images"][:7], "images.pt")
    elsewhere += "assert not sys.modules.keys() & {'models', 'orchestrator'}, sys.modules"
    subprocess.run([sys.executable, "-c", elsewhere], check=True)
