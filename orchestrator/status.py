"""Shows how a sweep is getting on, from its store alone: ``python -m orchestrator.status STORE``."""

import fcntl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import tyro
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from analysis.command import command, complain, exit_status
from analysis.configuration import short_labels
from analysis.gathered import parts
from analysis.measure import COLUMNS as MEASURE
from analysis.measure import Measure
from analysis.reading import (
    DamagedError,
    UnreadableError,
    entries,
    read_json,
    unreadable,
)
from analysis.schema import COLUMNS, SCHEMAS
from orchestrator.storage.files import NO_LOCKS
from orchestrator.storage.store import ANNOUNCED, LOCK, StoreError
from orchestrator.terminal import Rows

SHOWN = {
    "trial": "{}",
    "status": "{}",
    "epoch": "epoch {}",
    "error": "error {}",
    "an epoch": "{} an epoch",
    "left": "{} left",
}
"""Columns of the table, and what is said where there is no room for one."""


@dataclass(frozen=True)
class TrialStatus:
    """How one trial is getting on.

    Attributes:
        trial_id: its key in the store.
        label: what it is called: what it differs from the others in.
        status: what the store says; ``interrupted`` where that is running but no sweep is at work on it;
            ``waiting`` or ``not started`` where it has not come to it.
        epochs: how many were asked for.
        error: why it ended, if not well.
        epoch: how many are done.
        validation_error: after the last of them, None before.
        measure: what that is: the error rate, or another task's metric.
        epoch_seconds: median training time of an epoch so far, None before.
    """

    trial_id: str
    label: str
    status: str
    epochs: int
    error: str = ""
    epoch: int = 0
    validation_error: float | None = None
    measure: Measure = field(default_factory=Measure)
    epoch_seconds: float | None = None

    @property
    def left(self) -> timedelta | None:
        """Training time left at the pace so far, validation not counted; None where nothing is running."""
        if self.status != "running" or self.epoch_seconds is None:
            return None
        return timedelta(seconds=round((self.epochs - self.epoch) * self.epoch_seconds))


@dataclass(frozen=True)
class SweepStatus:
    """How all trials of a store are getting on.

    Attributes:
        running: whether a sweep holds the store at this moment.
        trials: what runs first.
    """

    running: bool
    trials: tuple[TrialStatus, ...]

    @property
    def exit_status(self) -> int:
        """3 a sweep is running, 0 every trial has finished, 1 neither."""
        if self.running:
            return 3
        return 0 if all(trial.status == "finished" for trial in self.trials) else 1

    @property
    def summary(self) -> str:
        """One line: whether a sweep is at work, and how many trials are finished."""
        statuses = [trial.status for trial in self.trials]
        if self.running:
            state = "running"
        elif {"interrupted", "not started"} & set(statuses):
            state = "dead: repeat the command to go on"
        else:
            state = "ended"
        return f"{state} ({statuses.count('finished')} of {len(statuses)} trials finished)"

    def __rich__(self) -> Group:
        """The summary, a table of the trials, and why some ended badly."""
        cells = [
            (
                trial.label,
                trial.status,
                f"{trial.epoch}/{trial.epochs}",
                "" if trial.validation_error is None else trial.measure.value(trial.validation_error),
                "" if trial.epoch_seconds is None else f"{trial.epoch_seconds:.1f} s",
                "" if trial.left is None else str(trial.left),
            )
            for trial in self.trials
        ]
        reasons = [Text(f"{trial.label}: {trial.error}") for trial in self.trials if trial.error]
        metrics = {trial.measure.metric for trial in self.trials if trial.validation_error is not None}
        metric = metrics.pop() if len(metrics) == 1 and not metrics & SHOWN.keys() else "error"
        said = metric.replace("{", "{{").replace("}", "}}") + " {}"  # a user's own word
        shown = dict((metric, said) if name == "error" else (name, form) for name, form in SHOWN.items())
        return Group(Text(self.summary, "bold"), Rows(shown, cells, left=["status"]), *reasons)


def look(store: Path, *, ids: bool = False) -> SweepStatus:
    """Read how the trials of a store are getting on; changes nothing there.

    Args:
        store: the folder.
        ids: whether trials are called by their ids.

    Raises:
        StoreError: the folder is no result store, or a file in it is damaged.
        UnreadableError: a file in it cannot be read just now.
    """
    if "trials" not in {entry.name for entry in entries(store)}:
        raise StoreError(
            f"{store} is no result store: it holds no folder trials; pass the folder that a sweep wrote, "
            "such as results/quickstart"
        )
    # In this order: a sweep that ends meanwhile does not look interrupted.
    running = _is_held(store / LOCK)
    absent = dict.fromkeys(SCHEMAS["trials"].names)
    rows = {row["trial_id"]: absent | row for t in _tables(store, "trials") for row in t.to_pylist()}
    done = {trial_id: told for table in _tables(store, "epochs") for trial_id, told in _done(table)}
    announced = _announced(store / ANNOUNCED)
    asked = announced | rows
    labels = dict.fromkeys(asked) if ids else _labels(asked)

    unstarted = "waiting" if running else "not started"
    trials = {
        trial_id: TrialStatus(trial_id, labels[trial_id] or trial_id, unstarted, row["epochs"])
        for trial_id, row in asked.items()
    }
    for trial_id, row in rows.items():
        status = row["status"]
        if status == "running" and not (running and trial_id in announced):
            status = "interrupted"
        measure = Measure(**{name: row[name] for name in MEASURE if row.get(name) is not None})
        trial = replace(trials[trial_id], status=status, error=row["error"], measure=measure)
        if trial_id in done:
            trial = replace(trial, **done[trial_id])
        trials[trial_id] = trial
    order = {"running": 0, "waiting": 1}
    return SweepStatus(running, tuple(sorted(trials.values(), key=lambda t: order.get(t.status, 2))))


def _labels(asked: dict[str, dict[str, Any]]) -> dict[str, str]:
    """What trials are called, by their ids."""
    # The sizes of a partition are known of those alone that have begun.
    rows = [row | {"trial_id": trial_id, "partition_sizes": None} for trial_id, row in asked.items()]
    trials = pd.DataFrame(rows, columns=SCHEMAS["trials"].names, dtype=object)
    for column in COLUMNS["trials"]:
        trials[column.name] = trials[column.name].where(trials[column.name].notna(), column.default)
    return dict(zip(asked, short_labels(trials), strict=True))


def _is_held(lock: Path) -> bool:
    """Whether another process has locked this file. A shared lock asks without being in another's way."""
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno in NO_LOCKS:  # so no sweep can hold it
            return False
        raise unreadable(lock, error) from error
    return False


def _announced(path: Path) -> dict[str, dict[str, Any]]:
    """What was asked of the trials of the last sweep."""
    try:
        announced = read_json(path)
        # A number of epochs was all that earlier versions announced.
        asked = {i: row if isinstance(row, dict) else {"epochs": row} for i, row in announced.items()}
        if not asked or not all(type(row.get("epochs")) is int for row in asked.values()):
            raise DamagedError(f"{path} is damaged (a trial has no number of epochs)")
        return asked
    except FileNotFoundError:
        return {}
    except (DamagedError, AttributeError) as error:
        raise StoreError(f"{error}: remove it, the next sweep writes it anew") from error


def _tables(store: Path, kind: str) -> Iterator[pa.Table]:
    """The rows of a kind, those of a trial together."""
    for part in parts(store / kind):
        if isinstance(part.error, DamagedError):
            raise StoreError(
                f"{part.error}: the sweep's command sets it aside and makes it again"
            ) from part.error
        if part.error is not None:
            raise part.error
        yield part.table


def _done(epochs: pa.Table) -> Iterator[tuple[str, dict[str, Any]]]:
    """By trial, what is told of its epochs: in a moment also of a million."""
    wanted = ["trial_id", "epoch", "validation_error", "seconds"]
    frame = epochs.select(wanted).to_pandas().sort_values("epoch", kind="stable")
    by_trial = frame.groupby("trial_id")
    seconds = by_trial["seconds"].median()
    for trial_id, epoch, error, _ in by_trial.tail(1).itertuples(index=False):
        told = {"epoch": int(epoch), "validation_error": None if pd.isna(error) else float(error)}
        yield str(trial_id), told | {"epoch_seconds": float(seconds[trial_id])}


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit status."""

    def status(
        store: tyro.conf.Positional[Path],
        *,
        watch: float | None = None,
        ids: tyro.conf.FlagCreatePairsOff[bool] = False,
    ) -> int:
        """Show how the trials of a sweep are getting on, while it runs or afterwards, from its store alone.

        Needs no Ray and changes nothing. "dead" means that trials are unfinished and no sweep is at work:
        the command that started it goes on from the last epochs. "left" is training time at the pace so
        far, without validation. Exit status: 0 every trial is finished; 1 some are not, and no sweep is
        running; 2 no result store; 3 a sweep is running; 128 + n watching was ended by signal n.

        Args:
            store: the folder that a sweep writes, such as results/quickstart.
            watch: look again every so many seconds until no sweep is running.
            ids: call trials by their ids, as the store does, instead of by what they differ in.
        """
        now = look(store, ids=ids)
        if watch is None:
            Console().print(now)
            return now.exit_status
        with Live(now, auto_refresh=False) as live:
            while now.running:
                time.sleep(watch)
                now = look(store, ids=ids)
                live.update(now, refresh=True)
        return now.exit_status

    try:
        return tyro.cli(status, prog="python -m orchestrator.status", args=arguments)
    except (StoreError, UnreadableError) as error:
        complain(error)
        return 2
    except KeyboardInterrupt:
        return exit_status()


if __name__ == "__main__":
    command(main)
