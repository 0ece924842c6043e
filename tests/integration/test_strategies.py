"""Trials of all strategies: through the death of their actors, against the serial one; what they store."""

from dataclasses import replace

import pandas as pd
import psutil
import pytest
import ray
from ray.util.placement_group import placement_group, remove_placement_group

from orchestrator.actors import gang as module_of_gang
from orchestrator.actors.gang import Gang, GangError
from orchestrator.data.datasets import load_dataset
from orchestrator.devices import GangResources, n_actors
from orchestrator.plan import describe, tear_as_asked
from orchestrator.storage.store import Store
from orchestrator.trial import Job, run_trial

COMPARED = ["epoch", "learning_rate", "train_loss", "train_error", "validation_loss", "validation_error"]


def run(config, store, progress=lambda row: None):
    """Run a trial to its end; returns its epochs, its row and its timings."""
    images = load_dataset(config.dataset, train_subset=config.train_subset)
    size = n_actors(config.n_subnetworks, config.strategy, config.n_replicas)
    resources = GangResources(size, "cpu", cpus=0.1, gpus=0, n_replicas=config.n_replicas)
    group = placement_group(resources.bundles)
    try:
        job = Job(config, tear_as_asked(config, describe(config, images)), resources)
        run_trial(
            job, ray.put(images), group, store, max_failures=1, timeout=60.0, progress=progress, tell=print
        )
    finally:
        remove_placement_group(group)
    frames = (pd.DataFrame(store.read(kind, config.trial_id)) for kind in ("epochs", "trials", "timings"))
    return tuple(frames)


def one_process(actor):
    """A process of this test's own Ray that holds an actor of this class."""
    for process in psutil.Process().children(recursive=True):
        if (process.cmdline() or [""])[0].startswith(f"ray::{actor}"):
            return process
    raise AssertionError(f"no {actor}")


@pytest.fixture(scope="module")
def serial_config(trial):
    return trial(
        n_subnetworks=1, network="mlp", depth=6, width=12, epochs=3, train_subset=80, validation_subset=None
    )


@pytest.fixture(scope="module")
def serial_epochs(pool, serial_config, tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(module_of_gang, "ray", pool)
        epochs, trials, _ = run(serial_config, Store(tmp_path_factory.mktemp("serial")))
    assert list(trials["status"]) == ["finished"]
    return epochs


@pytest.mark.parametrize(
    ("strategy", "actor", "component", "saved"),
    [
        ("data_parallel", "DataParallelActor", "worker", {"worker-1"}),
        ("1f1b", "PipelineActor", "stage", {"stage-1", "stage-2"}),
    ],
)
def test_a_trial_that_loses_an_actor_ends_with_the_serial_trials_numbers(
    serial_config, serial_epochs, tmp_path, strategy, actor, component, saved
):
    store = Store(tmp_path)
    config = replace(serial_config, strategy=strategy, n_subnetworks=2)
    killed = []

    def kill_before_the_second_epoch(row):
        if row["epoch"] == 1 and not killed:
            killed.append(one_process(actor))
            killed[0].kill()

    epochs, trials, timings = run(config, store, kill_before_the_second_epoch)
    assert killed
    assert not killed[0].is_running()
    assert list(trials["status"]) == ["finished"]
    pd.testing.assert_frame_equal(epochs[COMPARED], serial_epochs[COMPARED], check_exact=False, rtol=1e-9)
    last = store.checkpoints(config.trial_id) / "epoch-0003"
    assert {path.stem for path in last.glob("*.pt")} == saved
    assert (epochs["bytes_sent"] > 0).all()
    assert set(timings["component"]) == {component}
    assert set(timings["subnetwork"]) == {1, 2}
    assert set(timings["direction"]) == {"forward", "backward", "wait", "optimizer"}
    assert (timings["seconds"] >= 0).all()


def test_a_trial_that_loses_an_actor_of_a_replica_ends_with_the_numbers_of_one_replica(
    pool, serial_config, tmp_path, monkeypatch
):
    options = {"strategy": "parareal", "n_subnetworks": 2, "n_coarse_units": 1}
    one = replace(serial_config, network="resnet", depth=29, width=4, **options)  # with BatchNorm
    with monkeypatch.context() as patch:
        patch.setattr(module_of_gang, "ray", pool)
        expected, _, of_one = run(one, Store(tmp_path / "one"))
    config, store = replace(one, n_replicas=2, batch_norm="synchronised"), Store(tmp_path / "two")
    killed = []

    def kill_before_the_second_epoch(row):
        if row["epoch"] == 1 and not killed:
            killed.append(one_process("SubnetworkActor"))
            killed[0].kill()

    epochs, trials, timings = run(config, store, kill_before_the_second_epoch)
    assert killed
    assert not killed[0].is_running()
    assert list(trials["status"]) == ["finished"]
    assert list(trials["devices"]) == ["6 cpu"]
    pd.testing.assert_frame_equal(epochs[COMPARED], expected[COMPARED], check_exact=False, rtol=1e-9)
    last = store.checkpoints(config.trial_id) / "epoch-0003"
    assert {path.stem for path in last.glob("*.pt")} == {"driver", "subnetwork-1", "subnetwork-2"}
    # Twice the messages of half the size, and the sums.
    assert (epochs["bytes_sent"] > 1.1 * expected["bytes_sent"]).all()
    what = ["component", "subnetwork", "direction", "repeat"]
    pd.testing.assert_frame_equal(timings[what], of_one[what])


@pytest.mark.parametrize("strategy", ["data_parallel", "gpipe"])
def test_a_loss_that_is_not_finite_stops_all_actors(pooled, trial, tmp_path, strategy):
    config = trial(strategy=strategy, network="mlp", depth=6, width=12, learning_rate=1e200, epochs=9)
    epochs, trials, _ = run(config, Store(tmp_path))
    assert list(trials["status"]) == ["diverged"]
    assert "not finite" in trials["error"][0]
    assert len(epochs) < 9


def test_a_frozen_stage_ends_the_gang(local_ray, trial):
    config = trial(strategy="gpipe", network="mlp", depth=6, width=12)
    images = load_dataset(config.dataset, train_subset=config.train_subset)
    resources = GangResources(2, "cpu", cpus=0.1, gpus=0)
    group = placement_group(resources.bundles)
    try:
        tearing = tear_as_asked(config, describe(config, images))
        with Gang(config, tearing, ray.put(images), resources, group) as gang:
            gang.connect(timeout=5)
            frozen = one_process("PipelineActor")
            frozen.suspend()
            with pytest.raises(GangError, match=r"(lost a peer:|no sign of life from) stage-"):
                gang.run_epoch(1)
        frozen.kill()
    finally:
        remove_placement_group(group)


@pytest.mark.parametrize("strategy", ["parareal", "gpipe"])
def test_an_epoch_lasts_until_its_last_actor_is_done(pooled, trial, tmp_path, strategy):
    config = trial(strategy=strategy, depth=38, width=16, train_subset=64, batch_size=64, epochs=2)
    epochs, _, timings = run(config, Store(tmp_path))
    actors = timings[timings["mode"] == "wall"].groupby(["repeat", "subnetwork"])["seconds"].sum()
    for epoch, seconds in zip(epochs["epoch"], epochs["seconds"], strict=True):  # of a single step
        assert actors[epoch - 1].max() <= seconds
