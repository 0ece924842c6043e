"""Sweeps through the faults that need a whole command, a disk or a cluster of their own.

Those of a single trial are in test_recovery.py; many at random in benchmarks/faults.py.
"""

import os
import re
import subprocess
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

from orchestrator.storage.store import Store
from tests.integration.command import TINY, Command, epochs

TRIAL = "ImplicitFunc"
"""What Tune calls the process of a trial."""


def expect_the_numbers_of(finished, store):
    actual = epochs(store)
    expected = epochs(finished)
    expected = expected[expected["trial_id"].isin(actual["trial_id"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(actual, expected, check_exact=True)


def test_killed_and_frozen_processes_change_no_number_and_nothing_private_is_written(finished, tmp_path):
    faults = {
        ("-n1-", "epoch 1/3"): ("SerialActor", psutil.Process.suspend),
        ("-n2-", "epoch 1/3"): (TRIAL, psutil.Process.kill),
        ("-n2-", "epoch 2/3"): (TRIAL, psutil.Process.suspend),
    }
    store = tmp_path / "store"
    command = Command(*TINY, "--timeout", "4", "--store", str(store))
    output = ""
    for line in command.lines():
        output += line
        for place in [place for place in faults if all(word in line for word in place)]:
            title, fault = faults.pop(place)
            fault(command.processes(title)[0])
            if title == "SerialActor":
                status, refusal = Command(*TINY, "--store", str(store)).finish()
                assert (status, refusal.count("another sweep is running on")) == (2, 1), refusal
    assert command.process.wait() == 0, output
    assert faults == {}, output
    assert "no sign of life from network for" in output
    assert output.count("its process was lost: going on from the last checkpoint") == 2
    expect_the_numbers_of(finished, store)
    assert command.await_end_of_descendants(30) == []

    token = Path.home() / ".ray" / "auth_token"
    secrets = [command.mark, *([token.read_text().strip()] if token.exists() else [])]
    for secret in secrets:
        assert secret not in output
        for file in filter(Path.is_file, store.rglob("*")):
            assert secret.encode() not in file.read_bytes(), file


def test_a_trial_whose_process_dies_again_and_again_fails_with_the_reason(tmp_path):
    command = Command(*TINY, "--n-subnetworks", "2", "--max-failures", "1", "--store", str(tmp_path))
    output = ""
    for line in command.lines():
        output += line
        if ": running, " in line:
            while not (victims := command.processes(f"{TRIAL}.train")):
                time.sleep(0.02)
            victims[0].kill()
    assert command.process.wait() == 1, output
    assert "Traceback" not in output
    assert re.search(r"-n2-.*: failed: .*died", output)
    assert "the same command tries again what failed" in output
    (trial,) = pd.read_parquet(tmp_path / "trials").to_dict("records")
    assert trial["status"] == "failed"
    assert "died" in trial["error"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of eight megabytes."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no small disk: {done.stderr}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(file):
    with file.open("wb", buffering=0) as handle:
        try:
            while True:
                handle.write(b"x" * 4096)
        except OSError:
            return


def test_a_full_disk_ends_the_sweep_with_its_name_and_once_there_is_room_it_goes_on(finished, small_disk):
    store, filler = small_disk / "store", small_disk / "filler"
    command = Command(*TINY, "--timing-repeats", "0", "--store", str(store))
    output = ""
    for line in command.lines():
        output += line
        if "epoch 1/3" in line and not filler.exists():
            fill(filler)
    assert command.process.wait() == 1, output
    assert "cannot be written (No space left on device): make room" in output
    assert "Traceback" not in output
    (trial_id,) = {path.stem for path in (store / "epochs").glob("[!.]*.parquet")}
    kept = len(Store(store).read("epochs", trial_id))
    assert kept >= 1
    assert command.await_end_of_descendants(30) == []

    filler.unlink()
    status, output = Command(*TINY, "--timing-repeats", "0", "--store", str(store)).finish()
    assert status == 0, output
    assert f"{trial_id}: epoch 1/3" not in output
    expect_the_numbers_of(finished, store)


@pytest.fixture
def lost_and_found():
    """A cluster whose second node comes and goes."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    yield cluster
    cluster.shutdown()


def test_a_lost_node_changes_no_number_and_a_lost_cluster_is_said(finished, tmp_path, lost_and_found):
    on_cluster = [*TINY, "--n-subnetworks", "2", "--cpus-per-actor", "1", "--timing-repeats", "0"]
    on_cluster += ["--address", lost_and_found.address]
    node = lost_and_found.add_node(num_cpus=2)
    command = Command(*on_cluster, "--store", str(tmp_path / "one"))
    output = ""
    for line in command.lines():
        output += line
        if "epoch 1/3" in line:
            lost_and_found.remove_node(node, allow_graceful=False)
        if "lost 1 of 4 gangs" in line:
            lost_and_found.add_node(num_cpus=2)
    assert command.process.wait() == 0, output
    assert "lost 1 of 4 gangs" in output
    expect_the_numbers_of(finished, tmp_path / "one")

    command = Command(*on_cluster, "--store", str(tmp_path / "two"))
    next(line for line in command.lines() if "epoch 1/3" in line)
    lost_and_found.shutdown()
    start = time.monotonic()
    status, output = command.finish()
    assert status == 1, output
    assert time.monotonic() - start < 30
    assert "its Ray cluster is gone: every finished epoch is in" in output
    assert len(epochs(tmp_path / "two")) >= 1
