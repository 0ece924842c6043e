"""The result store: a folder of Parquet files, one file a (trial, kind).

    <store>/trials/<trial_id>.parquet      what was asked, how it went
    <store>/epochs/<trial_id>.parquet      a row an epoch
    <store>/timings/<trial_id>.parquet     a row a measurement
    <store>/checkpoints/<trial_id>/        see orchestrator.checkpoint

``pandas.read_parquet("<store>/epochs")`` reads all trials at once, at any time: files are replaced
whole. Nothing measured is removed.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock
import pandas as pd

from orchestrator.files import write_atomically

KINDS = ("trials", "epochs", "timings")

Row = Mapping[str, Any]


class StoreError(ValueError):
    """A folder that cannot serve as a store; says what to do."""


class Store:
    """A result store, made when it is not there.

    Args:
        path: the folder.

    Raises:
        StoreError: the path is a file, a folder of other things, or cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser().absolute()
        if self.path.exists() and not self.path.is_dir():
            raise StoreError(f"{self.path} is a file, not a folder: give --store another name")
        entries = {entry.name for entry in self.path.iterdir()} if self.path.exists() else set()
        if entries and "trials" not in entries and entries != {_LOCK}:
            raise StoreError(
                f"{self.path} holds other things and no result store ({len(entries)} entries, no trials/): "
                "give --store an empty or a new folder"
            )
        try:
            for kind in KINDS:
                (self.path / kind).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{self.path} cannot be written ({error.strerror}): give --store a folder of yours"
            ) from error
        if not os.access(self.path / "trials", os.W_OK):
            raise StoreError(f"{self.path} cannot be written: give --store a folder of yours")

    def lock(self) -> filelock.BaseFileLock:
        """Take the store for this process alone; released with the process, however it ends.

        Raises:
            StoreError: another sweep holds it.
        """
        lock = filelock.FileLock(self.path / _LOCK)
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout as error:
            raise StoreError(
                f"another sweep is running on {self.path}: wait for it or give --store another folder"
            ) from error
        return lock

    def write(self, kind: str, trial_id: str, rows: Sequence[Row]) -> None:
        """Replace a trial's file of that kind by these rows."""
        frame = pd.DataFrame(list(rows))
        write_atomically(
            self._file(kind, trial_id), lambda path: frame.to_parquet(path, engine="pyarrow", index=False)
        )

    def read(self, kind: str, trial_id: str) -> list[dict[str, Any]]:
        """A trial's rows of that kind, in order; none if it has none.

        Raises:
            StoreError: the file is damaged.
        """
        path = self._file(kind, trial_id)
        if not path.exists():
            return []
        try:
            return pd.read_parquet(path).to_dict("records")  # type: ignore[return-value]
        except (OSError, ValueError) as error:  # pyarrow's errors are one or the other
            raise StoreError(
                f"{path} is damaged ({str(error).splitlines()[0]}): remove it to have it made again"
            ) from error

    def status(self, trial_id: str) -> str | None:
        """What a trial's row says: running, finished, diverged or failed; None if there is no row."""
        rows = self.read("trials", trial_id)
        return rows[0]["status"] if rows else None

    def checkpoints(self, trial_id: str) -> Path:
        """Where a trial's checkpoints lie."""
        return self.path / "checkpoints" / trial_id

    def _file(self, kind: str, trial_id: str) -> Path:
        return self.path / kind / f"{trial_id}.parquet"


_LOCK = ".lock"
