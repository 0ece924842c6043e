"""The result store as tidy frames; ``analysis.schema`` says what every column means."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa

from analysis.gathered import parts
from analysis.reading import entries
from analysis.schema import COLUMNS, SCHEMAS, TIME, Column

# What draws and computes is imported where it is used: the orchestrator's processes import this package
# for its schema, and have no use for matplotlib and scipy.
if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from analysis.tables import EpochChoice

TABLES = ("table1", "table2", "steps", "time_to_error")
FIGURES = ("worth_it", "figure3", "error_against_time", "time_shares", "speed_up")
"""Methods of `Results`."""


class StoreError(ValueError):
    """The path is no result store, or its files contradict each other."""


class StoreWarning(UserWarning):
    """A file of the store could not be read and was left out."""


@dataclass(frozen=True, repr=False)
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

    def table1(self, *, epoch: EpochChoice = "last") -> pd.DataFrame:
        """Error rates; see `analysis.tables.table1`."""
        from analysis.tables import table1

        return table1(self.trials, self.epochs, epoch=epoch)

    def table2(self) -> pd.DataFrame:
        """Gradient calculating times; see `analysis.tables.table2`."""
        from analysis.tables import table2

        return table2(self.trials, self.timings)

    def steps(self) -> pd.DataFrame:
        """Times of a training step; see `analysis.steps.steps`."""
        from analysis.steps import steps

        return steps(self.trials, self.epochs, self.timings)

    def time_to_error(self, *, thresholds: Sequence[float] | None = None) -> pd.DataFrame:
        """Training time to given errors; see `analysis.time_to_error.time_to_error`."""
        from analysis.time_to_error import time_to_error

        return time_to_error(self.trials, self.epochs, thresholds=thresholds)

    def worth_it(self) -> Figure:
        """Errors against speed-ups, both over N = 1; see `analysis.worth_it.worth_it`."""
        from analysis.worth_it import trade_off, worth_it

        return worth_it(trade_off(self.trials, self.epochs, self.timings)).figure()

    def figure3(self) -> Figure:
        """Validation error against epoch; see `analysis.curves.figure3`."""
        from analysis.curves import figure3

        return figure3(self.trials, self.epochs).figure()

    def error_against_time(self) -> Figure:
        """Validation error against training time; see `analysis.curves.error_against_time`."""
        from analysis.curves import error_against_time

        return error_against_time(self.trials, self.epochs).figure()

    def time_shares(self) -> Figure:
        """Time of a gradient by component; see `analysis.time_shares.time_shares`."""
        from analysis.time_shares import time_shares

        return time_shares(self.table2()).figure()

    def speed_up(self) -> Figure:
        """Speed-up over N = 1 against N; see `analysis.speed_up.speed_up`."""
        from analysis.speed_up import speed_up

        return speed_up(self.steps()).figure()

    def __repr__(self) -> str:
        from analysis.summary import progress

        frames = ", ".join(f".{name} ({rows} rows)" for name, rows in self._rows().items())
        methods = ", ".join(f".{name}()" for name in (*TABLES, *FIGURES))
        return f"{self.store}: {progress(self.trials)}\n{frames}\n{methods}"

    def _repr_html_(self) -> str:
        """What Jupyter shows: how far the sweep is, Table 1, and what else there is to ask for."""
        from analysis.markup import fill
        from analysis.render import text_table1
        from analysis.summary import progress

        return fill(
            "results.html",
            store=self.store,
            progress=progress(self.trials),
            table1=text_table1(self.table1()),
            frames=self._rows(),
            tables=TABLES,
            figures=FIGURES,
        )

    def _rows(self) -> dict[str, int]:
        return {kind: len(getattr(self, kind)) for kind in SCHEMAS}


def load(store: str | Path) -> Results:
    """Read a result store, also while a sweep writes to it.

    Raises:
        StoreError: ``store`` is no result store, or one column has incompatible types.
        UnreadableError: one of its folders cannot be read.

    Warns:
        StoreWarning: a file is damaged or cannot be read; it is named and the others are read.
    """
    store = Path(store)
    if not SCHEMAS.keys() & {entry.name for entry in entries(store)}:
        raise StoreError(
            f"{store} is no result store: it holds none of the folders {', '.join(SCHEMAS)}; "
            "pass the folder a sweep wrote, such as results/quickstart"
        )
    return Results(store, **{kind: _read(store / kind, columns) for kind, columns in COLUMNS.items()})


def _read(folder: Path, columns: Sequence[Column]) -> pd.DataFrame:
    found = [pa.Table.from_pylist([], schema=SCHEMAS[folder.name])]  # so that no column is missing
    for part in parts(folder):
        if part.error is not None:
            warnings.warn(f"left out: {part.error}", StoreWarning, stacklevel=3)
        else:
            found.append(_comparable(part.table))
    try:
        table = pa.concat_tables(found, promote_options="permissive")
    except pa.ArrowTypeError as error:
        raise StoreError(
            f"the files in {folder} contradict each other ({error}): "
            "keep results of different versions in different stores"
        ) from error
    frame: pd.DataFrame = table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    for column in columns:
        if column.default is not None:
            frame[column.name] = frame[column.name].fillna(column.default).astype(type(column.default))
        if pa.types.is_integer(column.type):
            frame[column.name] = frame[column.name].astype("Int64")
    return frame


def _comparable(table: pa.Table) -> pa.Table:
    """Bring the columns of some files to types that can be stacked and grouped by."""
    for i, field in enumerate(table.schema):
        if pa.types.is_nested(field.type):  # spelt out, "[80, 120]": lists cannot be hashed
            texts = [None if value is None else str(value) for value in table[i].to_pylist()]
            table = table.set_column(i, field.name, pa.array(texts, pa.string()))
        elif pa.types.is_timestamp(field.type):  # pandas writes a lone NaT without its time zone
            table = table.set_column(i, field.name, table[i].cast(TIME, safe=False))
    return table
