"""The result store: a folder of Parquet files, one file a (trial, kind).

    <store>/trials/<trial_id>.parquet      what was asked, how it went
    <store>/epochs/<trial_id>.parquet      a row an epoch
    <store>/timings/<trial_id>.parquet     a row a measurement
    <store>/checkpoints/<trial_id>/        see orchestrator.storage.checkpoint
    <store>/tensorboard/<trial_id>/        see orchestrator.observers.tensorboard
    <store>/sweep.json                     the trials of the last sweep, see orchestrator.status

A name that begins with a dot is no result: a file half-written, a lock, a damaged file set aside, or the
rows of very many files together (``analysis.gathered``).

``pandas.read_parquet("<store>/epochs")`` reads all trials at once, at any time: files are replaced
whole, and all files of a kind have the same columns. Nothing measured is removed.
"""

import errno
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import filelock
import pandas as pd
import pyarrow as pa

from analysis.gathered import NAME, Part, gathered_parquet, parts
from analysis.reading import DamagedError, read_table, sealed, sealed_parquet
from analysis.schema import SCHEMAS
from orchestrator.storage.files import NO_LOCKS, expanded, remove, write_atomically, writing

LOCK = ".lock"
"""The file that a sweep locks while it runs."""

ANNOUNCED = "sweep.json"
"""The file that says which trials the last sweep was to run: what was asked, by trial_id."""

_MANY = 200  # files that are worth being gathered: they take half a second to read one by one
_PATIENCE = 120.0  # seconds: far longer than Ray needs to end what a killed command has left

Row = Mapping[str, Any]


class StoreError(ValueError):
    """A folder that cannot serve as a store; says what to do."""


def usable(path: str | Path) -> Path:
    """The absolute path of a folder that can serve as a store; nothing is made.

    Raises:
        StoreError: it is a file, a folder of other things, or cannot be written or made.
    """
    folder = expanded(path).absolute()
    try:
        if folder.exists() and not folder.is_dir():
            raise StoreError(f"{folder} is a file, not a folder: give --store another name")
        names = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
        if names and "trials" not in names:
            raise StoreError(
                f"{folder} holds other things and no result store ({len(names)} entries, "
                "no trials/): give --store an empty or a new folder"
            )
        places = [folder / "trials", folder, *folder.parents]
        there = next(place for place in places if os.path.lexists(place))
        if not there.is_dir():
            raise OSError(errno.ENOTDIR, f"{there} is no folder")
        if not os.access(there, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, f"no right to write in {there}")
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be written ({error.strerror}): give --store a folder of yours"
        ) from error
    return folder


class Store:
    """A result store, made when it is not there.

    Args:
        path: the folder.

    Raises:
        StoreError: it cannot be one, see :func:`usable`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = usable(path)
        try:
            for kind in SCHEMAS:
                (self.path / kind).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{self.path} cannot be written ({error.strerror}): give --store a folder of yours"
            ) from error

    def lock(self) -> AbstractContextManager[object]:
        """Take the store for this process alone, until the ``with`` block or the process ends.

        Raises:
            StoreError: another sweep holds it, or it cannot be written or locked.
        """
        try:
            # Not at once: orchestrator.status looks for a moment.
            return _acquire(self.path / LOCK, timeout=1)
        except filelock.Timeout as error:
            raise StoreError(
                f"another sweep is running on {self.path}: wait for it or give --store another folder"
            ) from error
        except OSError as error:
            raise StoreError(f"{self.path} cannot be written ({error.strerror}): make room there") from error

    @contextmanager
    def claim(self, trial_id: str) -> Iterator[None]:
        """Have a trial's files for this process alone, without what a killed one left half-written.

        The trials of a sweep that was killed a moment ago are still going for some seconds: this waits
        until they are gone.

        Raises:
            StoreError: another process keeps the trial.
            WriteError: the disk is full or not to be written.
        """
        folder = self.checkpoints(trial_id)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                held = _acquire(folder / LOCK, timeout=_PATIENCE)
            except filelock.Timeout as error:
                raise StoreError(
                    f"another process has been at {trial_id} for {_PATIENCE:g} s: end it, or give --store "
                    "another folder"
                ) from error
        with held:
            for half in (*folder.glob(".*.tmp"), *self.path.glob(f"*/.{trial_id}.parquet.*.tmp")):
                remove(half)
            yield

    def announce(self, asked: Mapping[str, Row]) -> None:
        """Say which trials a sweep is about to run: by trial_id, the columns that say what is asked."""

        def write(temporary: Path) -> None:
            temporary.write_text(sealed(dict(asked)), encoding="utf-8")

        write_atomically(self.path / ANNOUNCED, write)

    def write(self, kind: str, trial_id: str, rows: Sequence[Row]) -> None:
        """Replace a trial's file of that kind by these rows; a value that a row lacks is empty.

        Raises:
            ValueError: a row has a column that the kind has not.
        """
        schema = SCHEMAS[kind]
        if unknown := {name for row in rows for name in row} - set(schema.names):
            raise ValueError(f"{kind} has no column {', '.join(sorted(unknown))}: add it to SCHEMAS")
        frame = pd.DataFrame(list(rows), columns=schema.names, dtype=object)
        table = pa.Table.from_pandas(frame, schema, preserve_index=False)
        write_atomically(self._file(kind, trial_id), partial(_write, content=sealed_parquet(table)))

    def read(self, kind: str, trial_id: str) -> list[dict[str, Any]]:
        """A trial's rows of that kind, in order, None where empty; none if it has none.

        Raises:
            StoreError: the file is damaged.
            UnreadableError: the file cannot be read just now.
        """
        try:
            rows: list[dict[str, Any]] = read_table(self._file(kind, trial_id)).to_pylist()
        except FileNotFoundError:
            return []
        except DamagedError as error:
            raise StoreError(f"{error}: run the same command again to have it made again") from error
        return rows

    def read_all(self, kind: str) -> list[dict[str, Any]]:
        """All trials' rows of that kind; a column that a file lacks is empty.

        Raises:
            StoreError: a file is damaged.
        """
        columns = dict.fromkeys(SCHEMAS[kind].names)
        return [columns | row for table in self._tables(kind) for row in table.to_pylist()]

    def values(self, kind: str, column: str, trial_ids: Iterable[str]) -> dict[str, list[Any]]:
        """One column of these trials' rows of a kind, by ``trial_id``; of trials that have rows.

        Raises:
            StoreError: a file is damaged.
            UnreadableError: a file cannot be read just now.
        """
        found: dict[str, list[Any]] = {}
        for table in self._tables(kind, [self._file(kind, trial_id) for trial_id in sorted(trial_ids)]):
            frame = table.select(["trial_id", column]).to_pandas(types_mapper=pd.ArrowDtype)
            for trial_id, values in frame.groupby("trial_id", sort=False)[column]:
                found.setdefault(str(trial_id), []).extend(values.tolist())
        return found

    def _tables(self, kind: str, files: Sequence[Path] | None = None) -> Iterator[pa.Table]:
        """The rows of all files of a kind, or of these."""
        for part in parts(self.path / kind, files):
            if isinstance(part.error, DamagedError):
                raise StoreError(
                    f"{part.error}: run the same command again to have it made again"
                ) from part.error
            if part.error is not None:
                raise part.error
            yield part.table

    def set_aside_damaged(self) -> list[str]:
        """Hide every damaged file, and have its trial run again; says which, and why.

        The file is kept beside its place, as ``.NAME.damaged``.

        Raises:
            UnreadableError: a file cannot be read just now, damaged or not; nothing is moved.
            WriteError: the disk is full or not to be written.
        """
        damaged: dict[Path, DamagedError] = {}
        whole: list[Part] = []
        for part in (part for kind in SCHEMAS for part in parts(self.path / kind)):
            if isinstance(part.error, DamagedError):
                damaged[part.files[0]] = part.error
            elif part.error is not None:
                raise part.error
            else:
                whole.append(part)
        told = []
        for path, why in damaged.items():
            aside = path.with_name(f".{path.name}.damaged")
            with writing(aside):
                path.replace(aside)
            told.append(f"{why}: set aside as {aside.name}")
            if path.parent.name == "epochs" and self._file("trials", path.stem) not in damaged:
                for row in self.read("trials", path.stem):
                    self.write("trials", path.stem, [row | {"status": "failed", "error": str(why)}])
        self._gather(whole)
        return told

    def gather(self) -> None:
        """Have very many files read as few from now on, see ``analysis.gathered``.

        Raises:
            WriteError: the disk is full or not to be written.
        """
        found = (part for kind in SCHEMAS for part in parts(self.path / kind))
        self._gather([part for part in found if part.error is None])

    def _gather(self, found: list[Part]) -> None:
        for kind in SCHEMAS:
            folder = self.path / kind
            of_kind = [part for part in found if part.files[0].parent == folder]
            if sum(len(part.files) for part in of_kind if not part.known) < _MANY:
                continue
            by_schema: dict[str, list[Part]] = {}
            for part in of_kind:
                by_schema.setdefault(str(part.table.schema.remove_metadata()), []).append(part)
            for half in folder.glob(f".{NAME.format('*')}.*.tmp"):
                remove(half)
            there = [folder / NAME.format(number) for number in range(len(by_schema))]
            for path, alike in zip(there, by_schema.values(), strict=True):
                write_atomically(path, partial(_write, content=gathered_parquet(alike)))
            for path in {*folder.glob(NAME.format("*"))} - {*there}:
                remove(path)

    def status(self, trial_id: str) -> str | None:
        """What a trial's row says: running, finished, diverged or failed; None if there is no row."""
        rows = self.read("trials", trial_id)
        return rows[0]["status"] if rows else None

    def checkpoints(self, trial_id: str) -> Path:
        """Where a trial's checkpoints lie."""
        return self.path / "checkpoints" / trial_id

    def _file(self, kind: str, trial_id: str) -> Path:
        return self.path / kind / f"{trial_id}.parquet"


def best_epoch(rows: Iterable[Row], better: str) -> int | None:
    """The first epoch with the best validation figure among rows of ``epochs``; None if all have none."""
    sign = -1 if better == "higher" else 1
    measured = [row for row in rows if not math.isnan(row["validation_error"])]
    best = min(measured, key=lambda row: sign * row["validation_error"], default=None)
    return None if best is None else int(best["epoch"])


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _acquire(path: Path, *, timeout: float) -> AbstractContextManager[object]:
    """Lock a file by the kernel, whose lock goes with the process however that ends.

    Raises:
        StoreError: the file system has no such locks.
        filelock.Timeout: another process has it.
        OSError: it cannot be written.
    """
    try:
        return filelock.FileLock(path, fallback_to_soft=False).acquire(timeout=timeout)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        raise StoreError(
            f"{path.parent} is on a file system without locks ({error.strerror}): give --store a folder on "
            "another, and --mirror for a copy here"
        ) from error
