"""A Ray that is lost while a process waits for it, each in a process of its own."""

import subprocess
import sys

import pytest

from orchestrator.heir import started_by

BEGIN = """
import shutil, signal, time
from ray._private import worker
from orchestrator import cluster, ray_watch
cluster.connect(None, cpus=1)
node = worker._global_node

def send(kind, number):
    node.all_processes[kind][0].process.send_signal(number)

def wait_for_the_reason():
    while True:
        ray_watch.check()
        time.sleep(0.1)

def leave():
    cluster.disconnect()
    print("left", flush=True)
"""
NOTICED = """
try:
    with ray_watch.watching(timeout=60):
        ray_watch.check()
        {}
        wait_for_the_reason()
except ray_watch.LostError as error:
    print(error, flush=True)
leave()
"""


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ('send("raylet", signal.SIGKILL)', "Ray's raylet has ended on this machine (status -9)"),
        ("shutil.rmtree(node.get_session_dir_path())", "has been removed: have whatever cleans"),
        ("now = time.time; time.time = lambda: now() - 90", "clock of this machine was set back by 90 s"),
    ],
)
def test_what_is_lost_is_raised_where_somebody_waits(fault, said):
    code = BEGIN + NOTICED.format(fault)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert said in done.stdout
    assert done.stdout.endswith("left\n"), done.stderr


def test_a_frozen_gcs_ends_a_process_that_waits_for_it_without_end():
    stuck = 'with ray_watch.watching(timeout=1): send("gcs_server", signal.SIGSTOP); time.sleep(300)'
    done = subprocess.run([sys.executable, "-c", BEGIN + stuck], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "no sign of life from Ray's GCS for 1 s" in done.stderr


def test_a_ray_that_is_well_is_left_alone():
    clocks = "now = time.time; time.time = lambda: now() - 4; time.sleep(2); time.time = lambda: now() + 9999"
    well = f"with ray_watch.watching(timeout=5): {clocks}; time.sleep(2)\nray_watch.check(); leave()"
    done = subprocess.run([sys.executable, "-c", BEGIN + well], capture_output=True, text=True, timeout=60)
    assert done.stdout == "left\n", done.stderr


def test_nothing_of_a_ray_outlasts_who_has_started_it_and_is_killed():
    killed = "import os; print(os.getpid(), node.get_temp_dir_path(), flush=True); os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", BEGIN + killed], capture_output=True, text=True, timeout=60)
    process, folder = done.stdout.split()
    assert done.stderr == ""
    assert started_by(folder, int(process)) == set()
