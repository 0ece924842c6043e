"""What a container, a batch system or a service manager allows a process: Linux control groups, v1 and v2."""

import math
from collections.abc import Iterator
from pathlib import Path

_NO_LIMIT = 1 << 60
"""Bytes; version 1 writes a number beyond this where there is no limit."""


def cpu_quota(process: Path = Path("/proc/self")) -> float:
    """Processor cores' worth of time that it may take, as by ``docker --cpus``; infinite without a quota."""
    quotas = [math.inf]
    for folder in _groups("cpu", process):
        quota, period = (_read(folder / "cpu.max") or "max 1").split()  # version 2
        if (older := _read(folder / "cpu.cfs_quota_us")) and int(older) > 0:  # version 1: -1 is none
            quota, period = older, _read(folder / "cpu.cfs_period_us")
        if quota != "max":
            quotas.append(int(quota) / int(period))
    return min(quotas)


def memory_limit(process: Path = Path("/proc/self")) -> float:
    """Bytes of memory that it may take together with others of its groups; infinite without a limit."""
    limits = [math.inf]
    for folder in _groups("memory", process):
        limit = _read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes") or "max"
        if limit != "max" and int(limit) < _NO_LIMIT:
            limits.append(int(limit))
    return min(limits)


class MemoryKills:
    """The processes of this one's group that the kernel has ended for lack of memory, from now on.

    Args:
        process: whose group; for tests.
    """

    def __init__(self, process: Path = Path("/proc/self")) -> None:
        self._process = process
        self._before = self._count()

    def explain(self, reason: str) -> str:
        """The reason of a process's end with what the kernel did, if it did."""
        if self._count() <= self._before:
            return reason
        limit = memory_limit(self._process)
        limited = "" if math.isinf(limit) else f", which is limited to {limit / 1e9:.1f} GB here"
        return f"{reason} (the kernel ended a process for lack of memory{limited})"

    def _count(self) -> int:
        """As the group itself counts; those above it count others too."""
        for folder in _groups("memory", self._process):
            for name in ("memory.events", "memory.oom_control"):
                for line in _read(folder / name).splitlines():
                    if line.startswith("oom_kill "):
                        return int(line.split()[1])
        return 0


def _groups(controller: str, process: Path) -> Iterator[Path]:
    """The folders of a process's groups that this controller may have limits in, the innermost first."""
    paths: dict[str, str] = {}
    for line in _read(process / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        paths |= dict.fromkeys(controllers.split(","), path)
    for line in _read(process / "mountinfo").splitlines():
        mount, _, kind = line.partition(" - ")
        root, at = mount.split()[3:5]
        system, _, options = kind.split()[:3]
        if system == "cgroup2":
            path = paths.get("", root)
        elif system == "cgroup" and controller in options.split(","):
            path = paths.get(controller, root)
        else:
            continue
        # Without a namespace of its own a container is told its path on the host, and sees its own part.
        below = path if root == "/" else path.removeprefix(root)
        folder = Path(at, below.lstrip("/"))
        yield from (group for group in (folder, *folder.parents) if group.is_relative_to(at))


def _read(file: Path) -> str:
    """Its text; "" if it is not there or not for this process."""
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
