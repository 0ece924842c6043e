"""Measurements in a process of their own: what they return, and that no end of theirs goes unnoticed."""

import os
import signal
from pathlib import Path

import psutil
import pytest
import torch
from ray._private.services import JEMALLOC_SO

from orchestrator.alone import MeasurementError, run_alone
from orchestrator.devices import GangResources

ONE_CORE = GangResources(1, "cpu", cpus=1, gpus=0)


def test_the_result_comes_from_another_process_which_ends(local_ray):
    def measure(device):
        return os.getpid(), device, torch.get_num_threads()

    pid, *rest = run_alone(measure, ONE_CORE, timeout=60)
    assert rest == [torch.device("cpu"), 1]
    assert pid != os.getpid()
    if psutil.pid_exists(pid):
        psutil.Process(pid).wait(timeout=30)


@pytest.mark.skipif(JEMALLOC_SO is None, reason="Ray brings no jemalloc for this machine")
def test_workers_allocate_with_jemalloc(local_ray):
    loaded = run_alone(lambda device: Path("/proc/self/maps").read_text(), ONE_CORE, timeout=60)
    assert "libjemalloc" in loaded


def test_an_error_is_told_in_a_line(local_ray):
    def measure(device):
        raise torch.OutOfMemoryError("no memory\nleft")

    with pytest.raises(MeasurementError, match=r"left$") as error:
        run_alone(measure, ONE_CORE, timeout=60)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("fault", "message"), [(signal.SIGKILL, "died"), (signal.SIGSTOP, r"no sign of life for \d s")]
)
def test_a_killed_or_frozen_process_is_noticed_and_its_device_is_free_again(local_ray, fault, message):
    with pytest.raises(MeasurementError, match=message):
        run_alone(lambda device: os.kill(os.getpid(), fault), ONE_CORE, timeout=2)
    assert run_alone(lambda device: device.type, ONE_CORE, timeout=60) == "cpu"
