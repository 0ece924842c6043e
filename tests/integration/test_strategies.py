"""Data-parallel and pipelined trials through the death of their actors, against the serial trial."""

import signal
import threading
import time
from dataclasses import replace

import pandas as pd
import psutil
import pytest
import ray
from ray.util.placement_group import placement_group, remove_placement_group

from orchestrator.datasets import load_dataset
from orchestrator.devices import GangResources, n_actors
from orchestrator.gang import Gang, GangError
from orchestrator.plan import describe, tear_as_asked
from orchestrator.store import Store
from orchestrator.trial import Job, run_trial

COMPARED = ["epoch", "learning_rate", "train_loss", "train_error", "validation_loss", "validation_error"]


def run(config, store, progress=lambda row: None):
    """Run a trial to its end; returns its epochs, its row and its timings."""
    images = load_dataset(config.dataset, train_subset=config.train_subset)
    resources = GangResources(n_actors(config.n_subnetworks, config.strategy), "cpu", cpus=0.1, gpus=0)
    group = placement_group(resources.bundles)
    try:
        job = Job(config, tear_as_asked(config, describe(config, images)), resources)
        run_trial(job, ray.put(images), group, store, max_failures=1, timeout=60.0, progress=progress)
    finally:
        remove_placement_group(group)
    frames = (pd.DataFrame(store.read(kind, config.trial_id)) for kind in ("epochs", "trials", "timings"))
    return tuple(frames)


def own_processes(title):
    """Processes of this test's Ray whose title begins so."""
    children = psutil.Process().children(recursive=True)
    return [process for process in children if (process.cmdline() or [""])[0].startswith(title)]


def signal_in_the_middle_of_an_epoch(actor, what, hit):
    """Send a signal to one process of an actor class as soon as it is seen running an epoch."""
    deadline = time.monotonic() + 60
    while not hit and time.monotonic() < deadline:
        for process in own_processes(f"ray::{actor}.run_epoch")[-1:]:
            process.send_signal(what)
            hit.append(process)


@pytest.fixture(scope="module")
def serial_config(trial):
    return trial(
        n_subnetworks=1, network="mlp", depth=6, width=12, epochs=3, train_subset=400, validation_subset=None
    )


@pytest.fixture(scope="module")
def serial_epochs(local_ray, serial_config, tmp_path_factory):
    epochs, trials, _ = run(serial_config, Store(tmp_path_factory.mktemp("serial")))
    assert list(trials["status"]) == ["finished"]
    return epochs


@pytest.mark.parametrize(
    ("strategy", "actor", "component"),
    [("data_parallel", "DataParallelActor", "worker"), ("1f1b", "PipelineActor", "stage")],
)
def test_a_trial_that_loses_an_actor_ends_with_the_serial_trials_numbers(
    serial_config, serial_epochs, tmp_path, strategy, actor, component
):
    config = replace(serial_config, strategy=strategy, n_subnetworks=2)
    killed = []

    def kill_in_the_second_epoch(row):
        if row["epoch"] == 1:
            arguments = (actor, signal.SIGKILL, killed)
            threading.Thread(target=signal_in_the_middle_of_an_epoch, args=arguments).start()

    epochs, trials, timings = run(config, Store(tmp_path), kill_in_the_second_epoch)
    assert killed
    assert not killed[0].is_running()
    assert list(trials["status"]) == ["finished"]
    pd.testing.assert_frame_equal(epochs[COMPARED], serial_epochs[COMPARED], check_exact=False, rtol=1e-9)
    assert (epochs["bytes_sent"] > 0).all()
    assert set(timings["component"]) == {component}
    assert set(timings["subnetwork"]) == {1, 2}
    assert set(timings["direction"]) == {"forward", "backward", "wait", "optimizer"}
    assert (timings["seconds"] >= 0).all()


def test_a_frozen_stage_ends_the_gang(local_ray, trial):
    config = trial(strategy="gpipe", network="mlp", depth=6, width=12, train_subset=None)
    images = load_dataset(config.dataset, train_subset=config.train_subset)
    resources = GangResources(2, "cpu", cpus=0.1, gpus=0)
    group = placement_group(resources.bundles)
    frozen = []
    try:
        tearing = tear_as_asked(config, describe(config, images))
        with Gang(config, tearing, ray.put(images), resources, group) as gang:
            gang.connect(timeout=5)
            arguments = ("PipelineActor", signal.SIGSTOP, frozen)
            threading.Thread(target=signal_in_the_middle_of_an_epoch, args=arguments).start()
            with pytest.raises(GangError, match="lost a peer: stage-"):
                gang.run_epoch(1)
        assert frozen
    finally:
        for process in frozen:
            process.kill()
        remove_placement_group(group)
