"""A trial that loses actors ends with the numbers of an undisturbed one."""

import contextlib
import threading
import time

import pandas as pd
import psutil
import pytest
import ray
from ray.util.placement_group import placement_group, remove_placement_group

from orchestrator.datasets import load_dataset
from orchestrator.devices import GangResources
from orchestrator.files import remove
from orchestrator.plan import describe, tear_as_asked
from orchestrator.store import Store
from orchestrator.trial import Job, run_trial

MEASURED = ["seconds", "samples_per_second", "step_seconds", "peak_memory_bytes"]
"""Columns of the epochs frame that differ from run to run."""


def run(config, store, *, progress=lambda row: None, max_failures=2, timeout=60.0):
    images = load_dataset(config.dataset, train_subset=config.train_subset)
    resources = GangResources(config.n_subnetworks + 1, "cpu", cpus=0.1, gpus=0)
    group = placement_group(resources.bundles)
    try:
        job = Job(config, tear_as_asked(config, describe(config, images)), resources)
        run_trial(
            job,
            ray.put(images),
            group,
            store,
            max_failures=max_failures,
            timeout=timeout,
            progress=progress,
        )
    finally:
        remove_placement_group(group)
    return pd.DataFrame(store.read("epochs", config.trial_id)), store.read("trials", config.trial_id)[0]


def own_processes():
    """Those of this test's own Ray: other sweeps may run on this machine."""
    return psutil.Process().children(recursive=True)


def kill_in_the_middle_of_an_epoch(name, killed):
    """Kill an actor's process as soon as it is seen running an epoch."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for process in own_processes():
            try:
                running = process.cmdline()[:1] == [f"ray::{name}.run_epoch"]
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
            if running:
                process.kill()
                killed.append(process)
                return


@pytest.fixture(scope="module")
def config(trial):
    return trial(n_subnetworks=2, epochs=3, train_subset=400, validation_subset=None, precision="float32")


@pytest.fixture(scope="module")
def undisturbed(local_ray, config, tmp_path_factory):
    epochs, record = run(config, Store(tmp_path_factory.mktemp("undisturbed")))
    assert record["status"] == "finished"
    assert list(epochs["epoch"]) == [1, 2, 3]
    return epochs


@pytest.mark.parametrize("actor", ["SubnetworkActor", "DriverActor"])
def test_a_killed_actor_changes_no_number(local_ray, config, undisturbed, tmp_path, actor):
    killed = []

    def kill_in_the_next_epoch(row):
        if row["epoch"] == 1 and not killed:
            threading.Thread(target=kill_in_the_middle_of_an_epoch, args=(actor, killed)).start()

    epochs, record = run(config, Store(tmp_path), progress=kill_in_the_next_epoch)
    assert killed
    assert not killed[0].is_running()
    assert record["status"] == "finished"
    pd.testing.assert_frame_equal(
        epochs.drop(columns=MEASURED), undisturbed.drop(columns=MEASURED), check_exact=True
    )


def test_a_trial_goes_on_from_its_last_checkpoint(local_ray, config, undisturbed, tmp_path):
    """As after the death of the trial's own process, with a row written but not its checkpoint."""
    store = Store(tmp_path)

    class InterruptError(Exception):
        pass

    def interrupt(row):
        if row["epoch"] == 2:
            raise InterruptError

    with pytest.raises(InterruptError):
        run(config, store, progress=interrupt)
    assert store.status(config.trial_id) == "running"
    remove(store.checkpoints(config.trial_id) / "epoch-0002")
    again = []
    epochs, record = run(config, store, progress=lambda row: again.append(row["epoch"]))
    assert again == [2, 3]
    assert record["status"] == "finished"
    pd.testing.assert_frame_equal(
        epochs.drop(columns=MEASURED), undisturbed.drop(columns=MEASURED), check_exact=True
    )


def test_a_trial_that_loses_every_gang_fails_with_the_reason(local_ray, config, tmp_path):
    stop = threading.Event()

    def kill_all():
        while not stop.is_set():
            for process in own_processes():
                with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                    if (process.cmdline() or [""])[0].startswith("ray::SubnetworkActor"):
                        process.kill()
            stop.wait(0.05)

    killer = threading.Thread(target=kill_all)
    killer.start()
    try:
        _, record = run(config, Store(tmp_path), max_failures=1)
    finally:
        stop.set()
        killer.join()
    assert record["status"] == "failed"
    assert "lost 2 gangs in a row" in record["error"]


def test_a_loss_that_is_not_finite_stops_the_trial(local_ray, trial, tmp_path):
    diverging = trial(learning_rate=1e30, epochs=4, precision="float32")
    epochs, record = run(diverging, Store(tmp_path))
    assert record["status"] == "diverged"
    assert "not finite" in record["error"]
    assert len(epochs) < 4
