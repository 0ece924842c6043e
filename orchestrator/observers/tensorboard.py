"""TensorBoard's view of a sweep: event files beside the store, made from its rows.

``<store>/tensorboard/<trial_id>/events.out.tfevents.…``; ``tensorboard --logdir <store>/tensorboard``
shows them, while the sweep runs too.
"""

import math
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import hparams, scalar

from orchestrator.observers.observer import Observer
from orchestrator.storage.store import Row, Store
from orchestrator.trial import Job

SCALARS = {
    "train_loss": "loss/train",
    "validation_loss": "loss/validation",
    "train_error": "{}/train",
    "validation_error": "{}/validation",
    "learning_rate": "learning_rate",
    "step_seconds": "seconds/step",
    "seconds": "seconds/epoch",
}
"""TensorBoard's name for columns of the epochs frame, with the task's metric; its step is the epoch."""


class TensorBoard(Observer):
    """A Tune callback that keeps the event files of the trials that run.

    A trial that starts, for the first time or again, gets a new file with every epoch that the store has,
    which takes the place of earlier ones. So no epoch is missing or seen twice, whatever has died before.

    Args:
        jobs: the trials of this run.
        store: where their rows come from, and beside which the files lie.
    """

    def __init__(self, jobs: list[Job], store: Store) -> None:
        self._jobs = {job.config.trial_id: job for job in jobs}
        self._store = store
        self._files: dict[str, _EventFile] = {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has its devices, for the first time or again."""
        trial_id = trial.config["trial_id"]
        self._close(trial_id)
        folder = self._store.path / "tensorboard" / trial_id
        with suppress(OSError):  # a full disk is for the trial itself to tell
            self._files[trial_id] = _EventFile(folder, self._jobs[trial_id])
        self._catch_up(trial_id)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A trial has finished an epoch."""
        self._catch_up(trial.config["trial_id"])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has ended by itself."""
        trial_id = trial.config["trial_id"]
        self._catch_up(trial_id)  # the epoch in which it diverged is reported by the store alone
        self._close(trial_id)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial's process has died for the last time."""
        self.on_trial_complete(iteration, trials, trial)

    def _catch_up(self, trial_id: str) -> None:
        if trial_id in self._files:
            with suppress(OSError):
                self._files[trial_id].extend(self._store.read("epochs", trial_id))

    def _close(self, trial_id: str) -> None:
        if trial_id in self._files:
            with suppress(OSError):
                self._files.pop(trial_id).close()


class _EventFile:
    """A trial's new event file; what earlier ones in the folder say counts no more."""

    def __init__(self, folder: Path, job: Job) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # Viewers read a folder's files by name; the writer's own names tell seconds apart, no less.
        self._writer = EventsWriter(str(folder / "events"), filename_suffix=f".{time.time_ns()}")
        self._n_rows = 0
        task = job.tearing.network.task
        metric = f"{task.metric}_{'percent' if task.unit == '%' else task.unit}".rstrip("_").replace(" ", "_")
        self._tags = {column: tag.format(metric) for column, tag in SCALARS.items()}
        # To viewers: forget what earlier files said from epoch 1 on. (One that is open loses its way if
        # they are removed.)
        self._add(session_log=SessionLog(status=SessionLog.START), step=1)
        values = {
            name: value if isinstance(value, bool | int | float) else str(value)
            for name, value in asdict(job.config).items()
        }
        experiment, start, _ = hparams(values, dict.fromkeys(self._tags.values()))
        for summary in (experiment, start):
            self._add(summary=summary)
        self._writer.flush()

    def extend(self, rows: Sequence[Row]) -> None:
        """Add the rows that are new: ``rows`` are a trial's, from epoch 1 on."""
        new = rows[self._n_rows :]
        self._n_rows += len(new)
        # Epochs that are added together count as trained one after the other until now.
        moment = time.time() - sum(row["seconds"] for row in new)
        for row in new:
            moment += row["seconds"]
            for column, tag in self._tags.items():
                if row[column] is not None and math.isfinite(row[column]):  # not where a trial diverged
                    self._add(summary=scalar(tag, row[column]), step=row["epoch"], wall_time=moment)
        self._writer.flush()

    def close(self) -> None:
        """Nothing more will come."""
        self._writer.close()

    def _add(self, **event: Any) -> None:
        self._writer.write_event(Event(**{"wall_time": time.time()} | event))
