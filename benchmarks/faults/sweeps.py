"""The sweeps that are struck, and what they lead to undisturbed."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd
import pyarrow as pa

from analysis.reading import DamagedError, entries, read_table
from analysis.schema import COLUMNS, SCHEMAS
from orchestrator.storage.provenance import versions
from tests.integration.command import MEASURED, Command

DISK = "24m"
"""Size of the disk that each sweep has for itself, where root runs the benchmark."""
_ALL = ["--partition", "uniform", "--seed", "0", "--timing-repeats", "0", "--timeout", "8", "--epochs", "240"]
_SMALL = [*_ALL, "--train-subset", "320", "--validation-subset", "64"]
_MLP = ["--network", "mlp", "--depth", "8", "--width", "16"]
_OWN = ["--dataset", "benchmarks.faults.data:waves", "--task", "regression", "--n-subnetworks", "1", "2"]

SWEEPS = {
    "serial and parareal": [*_SMALL, "--n-subnetworks", "1", "3", "--depth", "20", "--width", "4"],
    "two replicas": [*_SMALL, *_MLP, "--n-subnetworks", "2", "--n-replicas", "2"],
    "data parallel": [*_SMALL, *_MLP, "--n-subnetworks", "1", "2", "--strategy", "data_parallel"],
    "own data, AdamW, clipping": [
        *(*_ALL, *_MLP, *_OWN, "--optimizer", "adamw", "--learning-rate", "0.01", "--clip-norm", "1")
    ],
}
"""Options of each, by name."""

_KEYS = ["trial_id", "epoch"]
_OF_THE_MOMENT = {"trials": ["started", "finished", *versions()], "epochs": MEASURED}
"""Columns that differ from run to run: times, memory, versions."""


@contextmanager
def disk(folder: Path) -> Iterator[Path]:
    """An empty folder, on a small disk of its own if that can be had."""
    unmount(folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)], capture_output=True)
    yield folder
    unmount(folder)
    shutil.rmtree(folder, ignore_errors=True)


def unmount(folder: Path) -> None:
    """Take the folder's disk away, if it has one: an earlier run may have been killed."""
    if folder.is_mount():
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def undisturbed(folder: Path, name: str) -> Path:
    """The store of a sweep without a fault, with what it said as ``output``; made when it is not there."""
    store = folder / "undisturbed" / name.replace(" ", "-").replace(",", "")
    output = store.with_suffix(".output")
    if not output.exists():
        shutil.rmtree(store, ignore_errors=True)
        status, said = Command(*SWEEPS[name], "--store", str(store)).finish()
        if status != 0:
            raise RuntimeError(said)
        output.write_text(said, encoding="utf-8")
    return store


def compare(store: Path, reference: Path) -> tuple[int, list[str]]:
    """How many rows the store lacks or has twice, and each value that differs from the reference's.

    Of a damaged file all rows are lacking: the next command makes them again.
    """
    lost = 0
    wrong: list[str] = []
    for kind, dropped in _OF_THE_MOMENT.items():
        keys = _KEYS[: 1 + (kind == "epochs")]
        columns = [column.name for column in COLUMNS[kind] if column.name not in dropped]
        actual, expected = (_rows(path, kind)[columns].set_index(keys) for path in (store, reference))
        shared = expected.index.intersection(actual.index)
        a, e = actual[~actual.index.duplicated()].loc[shared], expected.loc[shared]
        lost += len(expected) - len(shared) + int(actual.index.duplicated().sum())
        differs = ~((a == e) | (a.isna() & e.isna()))
        for column in differs:
            cells = zip(a.index, differs[column], a[column], e[column], strict=True)
            wrong += [f"{kind} {row} {column}: {x!r}, not {y!r}" for row, differ, x, y in cells if differ]
    return lost, wrong


def _rows(store: Path, kind: str) -> pd.DataFrame:
    tables = [SCHEMAS[kind].empty_table()]
    for file in entries(store / kind):
        with suppress(DamagedError):
            tables.append(read_table(file))
    return pa.concat_tables(tables, promote_options="default").to_pandas()


def ordinary(line: str) -> str:
    """The line without its numbers, by which one that every sweep says is known."""
    return re.sub(r"[\d\s.,:−–±%+─-]+", "", line)
