"""A trial that loses actors ends with the numbers of an undisturbed one."""

import contextlib
import re
import threading
import time

import pandas as pd
import psutil
import pytest
import ray
from ray.util.placement_group import placement_group, remove_placement_group

from orchestrator.actors import gang as module_of_gang
from orchestrator.actors import liveness
from orchestrator.actors.gang import Gang, GangError
from orchestrator.data.datasets import load_dataset
from orchestrator.devices import GangResources, n_actors
from orchestrator.plan import describe, tear_as_asked
from orchestrator.storage.files import remove
from orchestrator.storage.store import Store
from orchestrator.trial import Job, run_trial
from tests.integration.command import MEASURED


def run(config, store, *, progress=lambda row: None, tell=print, max_failures=2, timeout=60.0):
    images = load_dataset(config.dataset, train_subset=config.train_subset)
    resources = GangResources(n_actors(config.n_subnetworks, config.strategy), "cpu", cpus=0.1, gpus=0)
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
            tell=tell,
        )
    finally:
        remove_placement_group(group)
    return pd.DataFrame(store.read("epochs", config.trial_id)), store.read("trials", config.trial_id)[0]


def own_processes():
    """Those of this test's own Ray: other sweeps may run on this machine."""
    return psutil.Process().children(recursive=True)


def strike(title, how, struck):
    """Do that to a process as soon as it is seen under that title."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        for process in own_processes():
            try:
                found = process.cmdline()[:1] == [f"ray::{title}"]
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
            if found:
                how(process)
                struck.append(process)
                return
        time.sleep(0.01)


@pytest.fixture(scope="module")
def config(trial):
    return trial(n_subnetworks=2, epochs=3, train_subset=200, validation_subset=None, precision="float32")


@pytest.fixture(scope="module")
def undisturbed(pool, config, tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(module_of_gang, "ray", pool)
        epochs, record = run(config, Store(tmp_path_factory.mktemp("undisturbed")))
    assert record["status"] == "finished"
    assert list(epochs["epoch"]) == [1, 2, 3]
    return epochs


def test_killed_actors_change_no_number(local_ray, config, undisturbed, tmp_path):
    actors, killed = ["SubnetworkActor", "DriverActor"], []

    def kill_one_in_the_next_epoch(row):
        if actors:
            title = f"{actors.pop(0)}.run_epoch"
            threading.Thread(target=strike, args=(title, psutil.Process.kill, killed)).start()

    epochs, record = run(config, Store(tmp_path), progress=kill_one_in_the_next_epoch)
    assert len(killed) == 2
    assert not any(process.is_running() for process in killed)
    assert record["status"] == "finished"
    pd.testing.assert_frame_equal(
        epochs.drop(columns=MEASURED), undisturbed.drop(columns=MEASURED), check_exact=True
    )


def test_a_frozen_actor_changes_no_number_and_does_not_outlive_its_gang(
    local_ray, config, undisturbed, tmp_path
):
    frozen, told = [], []
    freezer = threading.Thread(
        target=strike, args=("SubnetworkActor.run_epoch", psutil.Process.suspend, frozen)
    )
    freezer.start()
    epochs, record = run(config, Store(tmp_path), tell=told.append, timeout=6.0)
    freezer.join()
    assert record["status"] == "finished"
    assert re.search("no sign of life from subnetwork-[12] for|lost a peer", told[0])
    pd.testing.assert_frame_equal(
        epochs.drop(columns=MEASURED), undisturbed.drop(columns=MEASURED), check_exact=True
    )
    assert psutil.wait_procs(frozen, timeout=10)[1] == []


def test_an_actor_frozen_before_it_is_there_is_not_waited_for_for_ever(local_ray, config, monkeypatch):
    monkeypatch.setattr(liveness, "SLOW_START", 3.0)
    images = load_dataset(config.dataset, train_subset=config.train_subset)
    resources = GangResources(3, "cpu", cpus=0.1, gpus=0)
    group = placement_group(resources.bundles)
    frozen = []
    title = "SubnetworkActor.__init__"
    freezer = threading.Thread(target=strike, args=(title, psutil.Process.suspend, frozen))
    freezer.start()
    try:
        tearing = tear_as_asked(config, describe(config, images))
        with Gang(config, tearing, ray.put(images), resources, group) as gang:
            freezer.join()
            with pytest.raises(GangError, match=r"no sign of life from .*subnetwork-[12].* for [3-5] s"):
                gang.connect(timeout=1.0)
    finally:
        remove_placement_group(group)
    assert psutil.wait_procs(frozen, timeout=10)[1] == []


def test_damage_is_told_and_mended_by_running_epochs_again(pooled, trial, tmp_path):
    config, store = trial(n_subnetworks=1, train_subset=64), Store(tmp_path)
    expected, _ = run(config, store)
    last = store.checkpoints(config.trial_id) / "epoch-0002"

    def again():
        told, done = [], []
        epochs, record = run(config, store, tell=told.append, progress=lambda row: done.append(row["epoch"]))
        assert record["status"] == "finished"
        pd.testing.assert_frame_equal(
            epochs.drop(columns=MEASURED), expected.drop(columns=MEASURED), check_exact=True
        )
        return told, done

    (last / "network.pt").write_bytes((last / "network.pt").read_bytes()[:1000])
    told, done = again()
    assert f"{last} is damaged (network.pt): using the one before" in told[0]
    assert (len(told), done) == (1, [2])

    remove(tmp_path / "epochs" / f"{config.trial_id}.parquet")
    told, done = again()
    assert told == ["the rows of the epochs up to 2 are missing: training begins again"]
    assert done == [1, 2]


def test_a_trial_goes_on_from_its_last_checkpoint(pooled, config, undisturbed, tmp_path):
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


def test_a_loss_that_is_not_finite_stops_the_trial(pooled, trial, tmp_path):
    diverging = trial(learning_rate=1e30, epochs=4, precision="float32")
    epochs, record = run(diverging, Store(tmp_path))
    assert record["status"] == "diverged"
    assert "not finite" in record["error"]
    assert len(epochs) < 4
