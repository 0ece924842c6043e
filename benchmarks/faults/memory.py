"""The fault of memory: a control group of the sweep's own, as a container has, gets too small for a while."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from random import Random

from benchmarks.faults.fault import DEAR, Fault, NotNowError, Undo
from benchmarks.faults.running import Running

_GROUPS = Path("/sys/fs/cgroup/memory")  # version 1
_ROOM = 4 << 20
"""Bytes beyond what the sweep holds at that moment: what it allocates next is too much."""


@contextmanager
def memory_group(name: str) -> Iterator[Path | None]:
    """A new group without a limit; None where there can be none."""
    group = _GROUPS / name
    try:
        group.mkdir(exist_ok=True)
    except OSError:
        yield None
        return
    yield group
    with suppress(OSError):  # somebody is left in it, which the outcome says
        group.rmdir()


def _limit(group: Path, size: int) -> None:
    (group / "memory.limit_in_bytes").write_text(str(size), encoding="utf-8")


def _tighten(running: Running, rng: Random) -> Undo:
    if running.group is None:
        raise NotNowError("no group of its own")
    used = int((running.group / "memory.usage_in_bytes").read_text(encoding="utf-8"))
    for _ in range(5):  # caches go first
        with suppress(OSError):
            _limit(running.group, used + _ROOM)
            break
        time.sleep(0.1)
    return partial(_limit, running.group, -1)


OF_MEMORY: dict[str, Fault] = {"container's memory full for 6 s": Fault(_tighten, 6, DEAR)}
"""By name."""
