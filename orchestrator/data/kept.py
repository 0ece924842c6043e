"""Folders of arrays on disk, made once by whoever needs them first: decoded images, or copies of arrays.

They lie in ``DATA_DIR/decoded`` and hold nothing that could not be made again: remove them as you like.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import numpy as np

from analysis.reading import DamagedError, read_json, sealed
from orchestrator.data.blocks import Array, Rows, blocks
from orchestrator.data.errors import DatasetError
from orchestrator.storage.files import NO_LOCKS, remove, write_atomically, writing

FOLDER = "decoded"
"""What such folders lie in, below the folder of data sets."""

LARGE = 1 << 26
"""Bytes of an array from which on it is not left in memory: processes of a host share its pages as a file."""

_ABOUT = "about.json"

_HEADER_BYTES = 128  # of an array file
_HEADERS = "headers"  # the key of what is checked of the arrays: their numbers may be gigabytes


def made(folder: Path, make: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """See that a folder is there; returns what its maker has said of it.

    One process makes it under another name, while others wait; what one that was killed has left, the next
    removes.

    Args:
        folder: what is to be there.
        make: fills a new folder with files, and returns what is to be known of them, as JSON has it.

    Raises:
        DatasetError: what is known of it is damaged, or an array there has another size or header.
        WriteError: the disk is full or not to be written.
    """

    def write(temporary: Path) -> None:
        temporary.mkdir()
        known = make(temporary)
        write_known(temporary / _ABOUT, known | {_HEADERS: _headers(temporary)})

    if not (folder / _ABOUT).exists():
        with writing(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with locked(folder):
                if not (folder / _ABOUT).exists():
                    for left in folder.parent.glob(f".{folder.name}.*.tmp"):
                        remove(left)
                    write_atomically(folder, write)
    known = read_known(folder / _ABOUT)
    there = _headers(folder)
    if known.pop(_HEADERS, there) != there:  # earlier versions wrote none
        raise DatasetError(f"arrays in {folder} are not those written: remove {folder}, it is made again")
    return known


def _headers(folder: Path) -> dict[str, list[int | str]]:
    """By array file: its size, and a checksum of its header, which says what its bytes mean."""
    found: dict[str, list[int | str]] = {}
    for file in sorted(folder.glob("*.npy")):
        with file.open("rb") as opened:
            header = opened.read(_HEADER_BYTES)
        found[file.name] = [file.stat().st_size, hashlib.sha256(header).hexdigest()]
    return found


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Have a file or folder of data to this process alone; others wait. The lock goes with the process.

    Raises:
        DatasetError: the file system has no such locks.
    """
    try:
        lock = filelock.FileLock(path.with_name(f".{path.name}.lock"), fallback_to_soft=False).acquire()
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        raise DatasetError(
            f"{path.parent} is on a file system without locks ({error.strerror}): give --data-dir a folder "
            "on another"
        ) from error
    with lock:
        yield


def read_known(file: Path) -> dict[str, Any]:
    """What :func:`write_known` has written.

    Raises:
        DatasetError: the file is damaged.
    """
    try:
        known: dict[str, Any] = read_json(file)
        if not isinstance(known, dict):
            raise DamagedError(f"{file} is damaged (it holds no object)")
    except DamagedError as error:
        raise DatasetError(f"{error}: remove {file.parent}, it is made again") from error
    return known


def write_known(file: Path, known: dict[str, Any]) -> None:
    """Write what is known to a file, which is whole or not there.

    Raises:
        WriteError: the disk is full or not to be written.
    """

    def write(temporary: Path) -> None:
        temporary.write_text(sealed(known), encoding="utf-8")

    write_atomically(file, write)


def create(file: Path, shape: tuple[int, ...], kind: Any) -> "np.memmap[Any, Any]":
    """A new array file (.npy) for which the disk has room, mapped to be written."""
    with writing(file):
        array = np.lib.format.open_memmap(file, "w+", kind, shape)
        with file.open("r+b") as opened:  # or else a full disk would end the process that writes
            os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
    return array


def scratch(folder: Path, shape: tuple[int, ...], kind: Any) -> Array:
    """An array to be written: a large one in a file without a name, which goes with the array.

    Raises:
        DatasetError: the disk has no room.
        WriteError: it is not to be written.
    """
    n_bytes = prod(shape) * np.dtype(kind).itemsize
    if n_bytes < LARGE:
        return np.empty(shape, kind)
    require_room(folder / "scratch", n_bytes, "its samples")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, n_bytes)
            return np.memmap(file, kind, "r+", shape=shape)


def opened(file: Path) -> Array:
    """The array of a file (.npy), mapped read-only."""
    return np.lib.format.open_memmap(file, "r")


class Copy(NamedTuple):
    """An array to be copied: all samples or some, as they are or as another kind of number."""

    array: Array
    rows: Rows | None = None
    kind: Any = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the copy."""
        return len(self.array if self.rows is None else self.rows), *self.array.shape[1:]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the copy."""
        return self.array.dtype if self.kind is None else np.dtype(self.kind)


def keep(folder: Path, copies: Mapping[str, Copy]) -> dict[str, Array]:
    """Copies of arrays, mapped from a folder of files, which is made if need be.

    Raises:
        DatasetError: the disk has no room.
        WriteError: it is not to be written.
    """

    def make(temporary: Path) -> dict[str, Any]:
        n_bytes = sum(prod(copy.shape) * copy.dtype.itemsize for copy in copies.values())
        require_room(folder, n_bytes, f"{folder.name}'s arrays")
        for name, copy in copies.items():
            target, start = create(temporary / f"{name}.npy", copy.shape, copy.dtype), 0
            for block in blocks(copy.array, copy.rows):
                target[start : start + len(block)] = block
                start += len(block)
        return {}

    made(folder, make)
    return {name: opened(folder / f"{name}.npy") for name in copies}


def require_room(folder: Path, n_bytes: int, what: str) -> None:
    """See that the disk holds so much more.

    Raises:
        DatasetError: it does not.
    """
    there = next(parent for parent in folder.absolute().parents if parent.exists())
    free = shutil.disk_usage(there).free
    if n_bytes > free:
        raise DatasetError(
            f"{what} take {_gib(n_bytes)} of disk in {folder.parent}, where {_gib(free)} are free: make "
            "room, give --data-dir on another disk, or use --train-subset and --validation-subset, or a "
            "smaller --image-size"
        )


def _gib(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:,.1f} GiB"
