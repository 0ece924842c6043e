"""Sweeps through the faults that need a whole command, a disk or a cluster of their own.

Those of a single trial are in test_recovery.py; many at random in benchmarks/faults.py.
"""

import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

from orchestrator.storage.store import Store
from tests.integration.command import TINY, UNTIMED, Command, epochs

TRIAL = "ImplicitFunc"
"""What Tune calls the process of a trial."""
TIMEOUT = 4
"""Seconds of silence after which a process counts as frozen."""


def expect_the_numbers_of(finished, store):
    actual = epochs(store)
    expected = epochs(finished)
    expected = expected[expected["trial_id"].isin(actual["trial_id"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(actual, expected, check_exact=True)


def of(title, fault):
    """Do that to a process of this title."""
    return lambda command: fault(command.processes(title)[0])


def freeze_for_a_while(command):
    """Freeze the main process for twice as long as others may be silent, as Ctrl-Z and ``fg`` do."""
    command.process.send_signal(signal.SIGSTOP)
    threading.Timer(2 * TIMEOUT, command.process.send_signal, [signal.SIGCONT]).start()


def test_killed_and_frozen_processes_change_no_number_and_nothing_private_is_written(finished, tmp_path):
    faults = {
        ("N = 1: ", "epoch 1/3"): of(TRIAL, psutil.Process.kill),
        ("N = 1: ", "epoch 2/3"): of(TRIAL, psutil.Process.suspend),
        ("N = 2: ", "epoch 1/3"): freeze_for_a_while,
    }
    store = tmp_path / "store"
    command = Command(*UNTIMED, "--timeout", str(TIMEOUT), "--store", str(store))
    output = ""
    for line in command.lines():
        output += line
        for place in [place for place in faults if all(word in line for word in place)]:
            faults.pop(place)(command)
            if not faults:  # no line that strikes waits for this
                status, refusal = Command(*TINY, "--store", str(store)).finish()
                assert (status, refusal.count("another sweep is running on")) == (2, 1), refusal
    assert command.process.wait() == 0, output
    assert faults == {}, output
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
    command = Command(*UNTIMED, "--n-subnetworks", "2", "--max-failures", "1", "--store", str(tmp_path))
    output = ""
    for line in command.lines():
        output += line
        if ": running, " in line:
            while not (victims := command.processes(f"{TRIAL}.train")):
                time.sleep(0.02)
            victims[0].kill()
    assert command.process.wait() == 1, output
    assert "Traceback" not in output
    assert re.search(r"N = 2: failed: .*died", output)
    assert "the same command tries again what failed" in output
    (trial,) = pd.read_parquet(tmp_path / "trials").to_dict("records")
    assert trial["status"] == "failed"
    assert "died" in trial["error"]


def test_a_trial_that_starts_again_to_a_damaged_row_fails_once_and_in_lines(tmp_path):
    command = Command(*UNTIMED, "--n-subnetworks", "1", "--epochs", "200", "--store", str(tmp_path))
    output = ""
    for line in command.lines():
        output += line
        if "epoch 1/200" in line:
            (row,) = (tmp_path / "trials").glob("[!.]*.parquet")
            row.write_bytes(b"")
            command.processes(TRIAL)[0].kill()
    assert command.process.wait() == 1, output
    assert output.count("its process was lost") == 1
    assert "N = 1: failed" in output
    assert "run the same command again to have it made again" in output
    assert "warning: left out: " in output
    assert 'File "' not in output
    assert ".py:" not in output
    assert command.await_end_of_descendants(30) == []


def test_trials_that_ray_ends_for_lack_of_memory_fail_with_that_reason(tmp_path):
    options = ["--n-subnetworks", "2", "--max-failures", "0", "--timing-repeats", "500"]  # seconds
    short_of_memory = {"RAY_memory_usage_threshold": "0.001", "RAY_memory_monitor_refresh_ms": "100"}
    command = Command(*TINY, *options, "--store", str(tmp_path), **short_of_memory)
    status, output = command.finish()
    assert status == 1, output
    assert "Traceback" not in output
    assert re.search(r"N = 2: not timed: .*running low on memory", output)
    (trial,) = pd.read_parquet(tmp_path / "trials").to_dict("records")
    assert trial["status"] == "failed"
    assert "running low on memory" in trial["error"]
    assert "\n" not in trial["error"]
    assert command.await_end_of_descendants(30) == []


def test_a_lost_head_is_noticed_and_the_same_command_goes_on(tmp_path):
    options = [*UNTIMED, "--epochs", "200", "--n-subnetworks", "1", "--store", str(tmp_path)]
    command = Command(*options)
    next(line for line in command.lines() if "epoch 1/200" in line)
    (head,) = (child for child in command.descendants() if child.name() == "gcs_server")
    head.kill()
    started = time.monotonic()
    status, output = command.finish()
    assert time.monotonic() - started < 20
    assert status == 1, output
    assert "its Ray cluster is gone: every finished epoch is in" in output
    assert ".cc:" not in output  # of Ray's own log
    assert command.await_end_of_descendants(30) == []

    done = len(epochs(tmp_path))
    again = Command(*options)
    first = next(line for line in again.lines() if "/200" in line)
    assert int(re.search(r"epoch (\d+)/200", first)[1]) in (done, done + 1)  # its checkpoint may be missing
    again.process.send_signal(signal.SIGTERM)
    assert again.finish()[0] == 128 + signal.SIGTERM


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
    options = [*UNTIMED, "--n-subnetworks", "1", "--store", str(store)]
    command = Command(*options)
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
    status, output = Command(*options).finish()
    assert status == 0, output
    assert "epoch 1/3" not in output
    expect_the_numbers_of(finished, store)


@pytest.fixture
def cluster():
    """A cluster of one node, that others may join."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    yield cluster
    cluster.shutdown()


def test_a_lost_node_changes_no_number(finished, cluster, tmp_path):
    node = cluster.add_node(num_cpus=2)
    options = ["--n-subnetworks", "2", "--cpus-per-actor", "1", "--address", cluster.address]
    command = Command(*UNTIMED, *options, "--store", str(tmp_path))
    output = ""
    for line in command.lines():
        output += line
        if "epoch 1/3" in line:
            cluster.remove_node(node, allow_graceful=False)
        if "waits for the devices of a lost host" in line:
            cluster.add_node(num_cpus=2)
    assert command.process.wait() == 0, output
    assert "lost 1 of 4 gangs" in output
    expect_the_numbers_of(finished, tmp_path)
