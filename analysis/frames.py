"""The result store as tidy frames."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.figure import Figure

from analysis import figures, speed_up, steps, tables

TIME = pa.timestamp("us", tz="UTC")

SCHEMAS = {
    "trials": pa.schema(
        {
            "trial_id": pa.string(),
            "status": pa.string(),
            "error": pa.string(),
            "started": TIME,
            "finished": TIME,
            "network": pa.string(),
            "depth": pa.int64(),
            "width": pa.int64(),
            "dataset": pa.string(),
            "n_subnetworks": pa.int64(),
            "partition": pa.string(),
            "partition_sizes": pa.string(),
            "preprocess": pa.string(),
            "coarse": pa.string(),
            "n_coarse_units": pa.int64(),
            "strategy": pa.string(),
            "seed": pa.int64(),
            "epochs": pa.int64(),
            "batch_size": pa.int64(),
            "train_subset": pa.int64(),
            "validation_subset": pa.int64(),
            "precision": pa.string(),
            "channels_last": pa.bool_(),
            "compiled": pa.bool_(),
            "devices": pa.string(),
        }
    ),
    "epochs": pa.schema(
        {
            "trial_id": pa.string(),
            "epoch": pa.int64(),
            "learning_rate": pa.float64(),
            "train_loss": pa.float64(),
            "train_error": pa.float64(),
            "validation_loss": pa.float64(),
            "validation_error": pa.float64(),
            "seconds": pa.float64(),
            "samples_per_second": pa.float64(),
            "step_seconds": pa.float64(),
            "bytes_sent": pa.int64(),
            "peak_memory_bytes": pa.int64(),
        }
    ),
    "timings": pa.schema(
        {
            "trial_id": pa.string(),
            "mode": pa.string(),
            "component": pa.string(),
            "subnetwork": pa.int64(),
            "direction": pa.string(),
            "seconds": pa.float64(),
            "repeat": pa.int64(),
            "batch_size": pa.int64(),
            "device": pa.string(),
        }
    ),
}
"""Columns this package relies on, by kind; a store may hold more, and they are kept."""


class StoreError(ValueError):
    """The path is no result store, or its files contradict each other."""


class StoreWarning(UserWarning):
    """A file of the store could not be read and was left out."""


@dataclass(frozen=True)
class Results:
    """A result store at the moment it was read.

    Integers are nullable (Int64), floats have NaN where missing, times are UTC, errors are in %.

    Attributes:
        store: the folder.
        trials: one row a trial: status, every config value, versions, host.
        epochs: one row a trial and epoch.
        timings: one row a measured component, direction and repeat.
    """

    store: Path
    trials: pd.DataFrame
    epochs: pd.DataFrame
    timings: pd.DataFrame

    def with_config(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Join ``epochs`` or ``timings`` with the columns of ``trials``.

        A name both have is the frame's own; the trial's value becomes ``<name>_config`` (an
        epoch's ``learning_rate`` is the scheduled one, ``learning_rate_config`` the initial one).
        """
        return frame.merge(self.trials, on="trial_id", suffixes=("", "_config"))

    def table1(self, *, epoch: tables.EpochChoice = "last") -> pd.DataFrame:
        """Error rates; see `analysis.tables.table1`."""
        return tables.table1(self.trials, self.epochs, epoch=epoch)

    def table2(self) -> pd.DataFrame:
        """Gradient calculating times; see `analysis.tables.table2`."""
        return tables.table2(self.trials, self.timings)

    def steps(self) -> pd.DataFrame:
        """Times of a training step; see `analysis.steps.steps`."""
        return steps.steps(self.trials, self.epochs, self.timings)

    def figure3(self) -> Figure:
        """Validation error against epoch; see `analysis.figures.figure3`."""
        return figures.figure3(self.trials, self.epochs)

    def speed_up(self) -> Figure:
        """Speed-up over N = 1 against N; see `analysis.speed_up.speed_up`."""
        return speed_up.speed_up(self.steps())


def load(store: str | Path) -> Results:
    """Read a result store, also while a sweep writes to it.

    Raises:
        StoreError: ``store`` is no result store, or one column has incompatible types.

    Warns:
        StoreWarning: a file is truncated; it is named and the others are read.
    """
    store = Path(store)
    if not any((store / kind).is_dir() for kind in SCHEMAS):
        raise StoreError(
            f"{store} is no result store: it holds none of the folders {', '.join(SCHEMAS)}; "
            "pass the folder a sweep wrote, such as results/quickstart"
        )
    return Results(store, **{kind: _read(store / kind, schema) for kind, schema in SCHEMAS.items()})


def _read(folder: Path, schema: pa.Schema) -> pd.DataFrame:
    found = [pa.Table.from_pylist([], schema=schema)]
    for path in sorted(folder.glob("[!.]*.parquet")):
        try:
            table = pq.read_table(path, partitioning=None)
        except (pa.ArrowInvalid, OSError) as error:
            warnings.warn(f"left out {path}: {error}", StoreWarning, stacklevel=3)
        else:
            found.append(_comparable(table))
    try:
        table = pa.concat_tables(found, promote_options="permissive")
    except pa.ArrowTypeError as error:
        raise StoreError(
            f"the files in {folder} contradict each other ({error}): "
            "keep results of different versions in different stores"
        ) from error
    frame: pd.DataFrame = table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    for field in schema:
        if pa.types.is_integer(field.type):
            frame[field.name] = frame[field.name].astype("Int64")
    return frame


def _comparable(table: pa.Table) -> pa.Table:
    """Bring the columns of one file to types that can be stacked and grouped by."""
    for i, field in enumerate(table.schema):
        if pa.types.is_nested(field.type):  # spelt out, "[80, 120]": lists cannot be hashed
            texts = [None if value is None else str(value) for value in table[i].to_pylist()]
            table = table.set_column(i, field.name, pa.array(texts, pa.string()))
        elif pa.types.is_timestamp(field.type):  # pandas writes a lone NaT without its time zone
            table = table.set_column(i, field.name, table[i].cast(TIME, safe=False))
    return table
