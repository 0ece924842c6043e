"""The test split: unseen in training, measured once at its end, by every strategy to the same number."""

from dataclasses import replace

import numpy as np
import pytest
import ray
from ray.util.placement_group import placement_group, remove_placement_group

from models.task import build_task
from orchestrator.data.datasets import load_dataset
from orchestrator.devices import GangResources, n_actors
from orchestrator.plan import describe, tear_as_asked
from orchestrator.storage.store import Store
from orchestrator.trial import Job, data_columns, run_trial


def with_test_images(images, *, rows=slice(None)):
    """The images, of which those that validate are to be tested on too."""
    return replace(
        images, test_inputs=images.validation_inputs[rows], test_targets=images.validation_targets[rows]
    )


def run(config, images, store):
    """Run a trial to its end; returns its row and its epochs."""
    resources = GangResources(n_actors(config.n_subnetworks, config.strategy), "cpu", cpus=0.1, gpus=0)
    group = placement_group(resources.bundles)
    try:
        job = Job(
            config,
            tear_as_asked(config, describe(config, images)),
            resources,
            data_columns(images, config, build_task(config.task)),
        )
        run_trial(
            job,
            *(ray.put(images), group, store),
            max_failures=0,
            timeout=60.0,
            progress=lambda row: None,
            tell=print,
        )
    finally:
        remove_placement_group(group)
    (row,) = store.read("trials", config.trial_id)
    return row, store.read("epochs", config.trial_id)


@pytest.mark.parametrize("strategy", ["parareal", "serial", "data_parallel", "gpipe"])
def test_it_is_measured_with_the_weights_of_the_last_epoch(pooled, trial, tmp_path, strategy):
    config = trial(strategy=strategy, network="mlp", depth=6, width=12, epochs=1, validation_subset=21)
    images = load_dataset(config.dataset, train_subset=config.train_subset, validation_subset=21)
    row, (epoch,) = run(config, with_test_images(images), Store(tmp_path))
    assert row["status"] == "finished"
    assert row["n_test"] == 21
    assert row["test_error"] == pytest.approx(epoch["validation_error"])
    assert 0 < row["test_error"] <= 100


def test_a_trial_that_was_interrupted_before_the_test_is_tested_alone(pooled, trial, tmp_path):
    config = trial(network="mlp", depth=6, width=12, epochs=1)
    images = load_dataset(config.dataset, train_subset=config.train_subset, validation_subset=20)
    store = Store(tmp_path)
    row, epochs = run(config, images, store)
    assert (row["n_test"], row["test_error"]) == (0, None)
    wrong = np.flatnonzero(images.validation_targets >= 0)[:7]
    row, again = run(config, with_test_images(images, rows=wrong), store)
    assert again == epochs  # nothing was trained again
    assert row["test_error"] * 7 / 100 == pytest.approx(round(row["test_error"] * 7 / 100))
