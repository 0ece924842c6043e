"""Arrays that lie in files: every process of a host maps them, and they are in memory once."""

import mmap
import os
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from orchestrator.data.blocks import BYTES, Array, in_file, mapping
from orchestrator.data.errors import DatasetError
from orchestrator.data.kept import locked
from orchestrator.storage.files import writing

_AHEAD = 4  # blocks that are on their way from another host at a time


class Mapped(NamedTuple):
    """Where in a file an array lies, for a process that is to map it too.

    Attributes:
        file: its absolute path, the same on every host.
        size: of the file, in bytes.
        modified: when it was written, in nanoseconds; with the size what tells it from another.
        offset: of the first element in the file.
        shape: of the array.
        strides: of the array.
        kind: of its elements, as numpy writes it.
        host: Ray's name of a host that has the file; None without Ray.
    """

    file: str
    size: int
    modified: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    kind: str
    host: str | None

    def array(self) -> Array:
        """The array, read-only. A host that has no such file gets it from the one that has, once.

        Raises:
            DatasetError: there is another file in its place.
            WriteError: it has no room here.
        """
        file = Path(self.file)
        if not file.exists() and self.host is not None:
            _fetch(self, self.host)
        there = file.stat() if file.exists() else None
        if there is None or (there.st_size, there.st_mtime_ns) != (self.size, self.modified):
            raise DatasetError(
                f"{file} is {'not' if there is None else 'another file'} on {os.uname().nodename}, or has "
                "changed: leave it as it is while a sweep runs, and on other hosts remove it, or copy it "
                "with its time"
            )
        whole = np.memmap(file, np.uint8, "r")
        return np.ndarray(self.shape, self.kind, whole, self.offset, self.strides)


def mapped(array: Array) -> Mapped | None:
    """Where the array lies, if it is, as it is, in a file."""
    whole = in_file(array)
    if whole is None or not isinstance(whole.filename, str | Path) or not Path(whole.filename).exists():
        return None
    file = Path(whole.filename).resolve()
    start = whole.offset - whole.offset % mmap.ALLOCATIONGRANULARITY
    distance = array.ctypes.data - np.frombuffer(mapping(whole), np.uint8).ctypes.data
    there = file.stat()
    return Mapped(
        file=str(file),
        size=there.st_size,
        modified=there.st_mtime_ns,
        offset=start + distance,
        shape=array.shape,
        strides=array.strides,
        kind=array.dtype.str,
        host=_here(),
    )


def _here() -> str | None:
    """Ray's name of this host."""
    ray = sys.modules.get("ray")  # who has not imported it is on no cluster
    return ray.get_runtime_context().get_node_id() if ray is not None and ray.is_initialized() else None


def _fetch(wanted: Mapped, host: str) -> None:
    """Copy a file from another host to the same place here; goes on where a process was ended at it."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    if host == _here():
        return  # it has been removed
    file = Path(wanted.file)
    part = file.with_name(f".{file.name}.part")
    read = ray.remote(_read).options(
        num_cpus=0,
        scheduling_strategy=NodeAffinitySchedulingStrategy(host, soft=False),
    )
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        with locked(file):
            if file.exists():  # another process was first
                return
            with part.open("ab") as out:
                starts = range(out.tell(), wanted.size, BYTES)
                coming = [read.remote(wanted.file, start) for start in starts[:_AHEAD]]
                for i in range(len(starts)):
                    out.write(ray.get(coming.pop(0)).data)
                    coming += [read.remote(wanted.file, start) for start in starts[i + _AHEAD :][:1]]
                out.flush()
                os.fsync(out.fileno())
            os.utime(part, ns=(wanted.modified, wanted.modified))
            part.rename(file)


def _read(file: str, start: int) -> Array:
    return np.fromfile(file, np.uint8, BYTES, offset=start)
