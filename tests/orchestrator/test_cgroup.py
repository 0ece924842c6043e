"""Limits as Linux tells them, in folders that look like its own."""

import math

import pytest

from orchestrator.cgroup import MemoryKills, cpu_quota, memory_limit


@pytest.fixture
def process(tmp_path):
    """Makes a process of these groups: lines of its ``cgroup``, (root, type, options) of mounts, files."""

    def make(groups, mounts, files):
        folder = tmp_path / "self"
        folder.mkdir()
        (folder / "cgroup").write_text("\n".join(groups) + "\n")
        lines = [
            f"30 23 0:{i} {root} {tmp_path}/sys/{name} rw,relatime shared:9 - {system} cgroup {options}"
            for i, (name, root, system, options) in enumerate(mounts)
        ]
        (folder / "mountinfo").write_text("\n".join(["22 1 8:1 / / rw - ext4 /dev/sda rw", *lines]) + "\n")
        for name, content in files.items():
            file = tmp_path / "sys" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content + "\n")
        return folder

    return make


V2 = [("", "/", "cgroup2", "rw")]
V1 = [("cpu,cpuacct", "/", "cgroup", "rw,cpu,cpuacct"), ("memory", "/", "cgroup", "rw,memory")]


def test_without_groups_or_limits_there_is_no_limit(process, tmp_path):
    assert (cpu_quota(tmp_path), memory_limit(tmp_path)) == (math.inf, math.inf)
    files = {"a/cpu.max": "max 100000", "a/memory.max": "max"}
    assert cpu_quota(made := process(["0::/a"], V2, files)) == math.inf
    assert memory_limit(made) == math.inf


def test_of_version_2_the_narrowest_limit_on_the_way_up_counts(process):
    files = {"job/cpu.max": "150000 100000", "job/step/cpu.max": "max 100000", "job/memory.max": "1500000000"}
    made = process(["0::/job/step"], V2, files | {"job/step/memory.max": "9000000000"})
    assert cpu_quota(made) == 1.5
    assert memory_limit(made) == 1.5e9


def test_of_version_1_every_controller_has_folders_of_its_own(process):
    files = {
        "cpu,cpuacct/docker/a/cpu.cfs_quota_us": "50000",
        "cpu,cpuacct/docker/a/cpu.cfs_period_us": "100000",
        "cpu,cpuacct/cpu.cfs_quota_us": "-1",
        "memory/docker/a/memory.limit_in_bytes": "2000000000",
        "memory/memory.limit_in_bytes": "9223372036854771712",
    }
    made = process(["4:memory:/docker/a", "3:cpu,cpuacct:/docker/a", "0::/"], V1, files)
    assert cpu_quota(made) == 0.5
    assert memory_limit(made) == 2e9


def test_a_container_that_is_told_its_path_on_the_host_finds_its_own_groups(process):
    mounts = [("cpu", "/docker/a", "cgroup", "rw,cpu"), ("memory", "/docker/a", "cgroup", "rw,memory")]
    files = {"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}
    assert cpu_quota(process(["3:cpu:/docker/a", "2:memory:/docker/a"], mounts, files)) == 2


@pytest.mark.parametrize(
    ("groups", "mounts", "counter", "limit"),
    [
        (["0::/a"], V2, ("a/memory.events", "low 0\noom 1\noom_kill {}\n"), ("a/memory.max", "1500000000")),
        (
            ["5:memory:/a", "0::/"],
            V1,
            ("memory/a/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill {}"),
            ("memory/a/memory.limit_in_bytes", "1500000000"),
        ),
    ],
)
def test_a_process_that_the_kernel_ended_for_its_memory_is_explained(
    process, tmp_path, groups, mounts, counter, limit
):
    name, text = counter
    made = process(groups, mounts, {name: text.format(3), **dict([limit])})
    kills = MemoryKills(made)
    assert kills.explain("an actor died") == "an actor died"
    (tmp_path / "sys" / name).write_text(text.format(4))
    said = "an actor died (the kernel ended a process for lack of memory, which is limited to 1.5 GB here)"
    assert kills.explain("an actor died") == said
    assert MemoryKills(made).explain("an actor died") == "an actor died"


def test_this_machine_can_be_asked():
    assert cpu_quota() > 0
    assert memory_limit() > 0
    assert MemoryKills().explain("why") == "why"
