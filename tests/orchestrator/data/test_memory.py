import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.data import memory
from orchestrator.data.errors import DatasetError


def test_free_memory_is_no_more_than_the_machine_has():
    lines = Path("/proc/meminfo").read_text().splitlines()
    total = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal"))
    assert 0 < memory.free_memory() < total


def test_what_fits_is_let_pass_and_what_does_not_is_told_with_numbers(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 2**30)
    memory.require(2**10, (1, 2**10, 2**10))
    with pytest.raises(
        DatasetError, match=r"^1,025 images of 1×1024×1024 take 1\.0 GiB.*1\.0 GiB are free: use --train"
    ):
        memory.require(2**10 + 1, (1, 2**10, 2**10))


def test_a_limit_of_the_process_counts():
    code = (
        "import resource; from orchestrator.data.memory import free_memory\n"
        "size = next(int(l.split()[1]) for l in open('/proc/self/status') if l.startswith('VmSize')) * 1024\n"
        "resource.setrlimit(resource.RLIMIT_AS, (size + 2**26, resource.RLIM_INFINITY)); print(free_memory())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) <= 2**26


def test_a_control_groups_limit_counts_and_what_it_can_drop_is_free(tmp_path):
    assert list(memory._free_in_group(tmp_path)) == []
    for name, text in (
        ("memory.max", "max"),
        ("memory.current", "300"),
        ("memory.stat", "anon 9\ninactive_file 100"),
    ):
        (tmp_path / name).write_text(text)
    assert list(memory._free_in_group(tmp_path)) == []
    (tmp_path / "memory.max").write_text("1000\n")
    assert list(memory._free_in_group(tmp_path)) == [800]
