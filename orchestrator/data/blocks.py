"""Arrays a few samples at a time: what is computed of a block takes no more memory than the block."""

import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Rows = npt.NDArray[np.int64]

BYTES = 1 << 24
"""Bytes that are in hand at a time."""


def blocks(array: Array, rows: Rows | None = None) -> Iterator[Array]:
    """The array's samples, or chosen ones, in order: 16 MiB at a time, or one sample where that is larger.

    Of an array in a file, no more than a block is in this process: its pages stay with the system.
    """
    whole = in_file(array)
    n = max(1, BYTES // max(1, array[:1].nbytes))
    for start in range(0, len(array if rows is None else rows), n):
        yield array[start : start + n] if rows is None else array[rows[start : start + n]]
        if whole is not None:
            mapping(whole).madvise(mmap.MADV_DONTNEED)


def in_file(array: Array) -> "np.memmap[Any, Any] | None":
    """The array of a whole file that an array is, or is a view of; None where it is in memory."""
    base: Any = array
    while base is not None:
        if isinstance(base, np.memmap) and isinstance(base.base, mmap.mmap):
            return None if base.mode == "c" else base  # that mode keeps changes to itself
        base = getattr(base, "base", None)
    return None


def mapping(whole: "np.memmap[Any, Any]") -> mmap.mmap:
    """What lies under the array of a whole file."""
    under = whole.base
    assert isinstance(under, mmap.mmap)  # so `in_file` has found it
    return under
