"""How a running sweep looks: a live table on a terminal, plain lines elsewhere."""

import time
from datetime import timedelta
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from analysis.measure import Measure
from analysis.reading import UnreadableError
from orchestrator.observers.observer import Observer
from orchestrator.storage.store import Store, StoreError
from orchestrator.terminal import Rows
from orchestrator.trial import Job, labels, task_columns

SHOWN = {"trial": "{}", "status": "{}", "epoch": "epoch {}", "error": "error {}"}
"""Columns of the table, and what is said where there is no room for one."""


class Display(Observer):
    """A Tune callback that shows trials done and running, epoch, error and time left.

    Args:
        jobs: the trials of this run.
        store: says how a trial ended.
        console: where to show it.
    """

    def __init__(self, jobs: list[Job], store: Store, console: Console) -> None:
        self._jobs = {job.config.trial_id: job for job in jobs}
        self._labels = labels(jobs)
        self._store = store
        self._console = console
        self._epoch = dict.fromkeys(self._jobs, 0)
        self._error: dict[str, str] = {}
        self._status = dict.fromkeys(self._jobs, "waiting")
        self._start = time.monotonic()
        self._n_reported = 0  # epochs run so far: not those of an earlier run, but those run twice
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def setup(self, *args: Any, **kwargs: Any) -> None:
        """Begin to show."""
        if self._live is not None:
            self._live.start()
            self._refresh()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has its devices."""
        self._change(trial, "running")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A trial has finished an epoch."""
        trial_id = trial.config["trial_id"]
        if "remark" in result:
            self.say(f"{self._labels[trial_id]}: {result['remark']}")
        if "epoch" not in result:
            return
        if not self._n_reported:
            self._start = time.monotonic() - result["seconds"]
        self._n_reported += 1
        self._epoch[trial_id] = result["epoch"]
        measure = self._measure(trial_id)
        self._error[trial_id] = measure.value(result.get("validation_error", float("nan")))
        self._refresh(
            f"{self._labels[trial_id]}: epoch {result['epoch']}/{self._epochs(trial_id)}, "
            f"validation {measure.metric} {self._error[trial_id]}, {self._summary()}"
        )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has ended by itself; the store says how."""
        try:
            status = self._store.status(trial.config["trial_id"])
        except (StoreError, UnreadableError):  # as the trial has said
            status = None
        self._change(trial, "failed" if status in (None, "running") else status)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial's process has died, and another will go on."""
        label = self._labels[trial.config["trial_id"]]
        self.say(f"{label}: its process was lost: going on from the last checkpoint")
        self._change(trial, "waiting")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial's process has died."""
        self._change(trial, "failed")

    def stop(self) -> None:
        """Stop showing; the last state stays on the terminal."""
        if self._live is not None:
            self._live.stop()

    def say(self, line: str) -> None:
        """Show a line for good; on a terminal above the table."""
        self._console.print(line, highlight=False, soft_wrap=True, markup=False)

    def _change(self, trial: Any, status: str) -> None:
        trial_id = trial.config["trial_id"]
        self._status[trial_id] = status
        self._refresh(f"{self._labels[trial_id]}: {status}, {self._summary()}")

    def _refresh(self, line: str | None = None) -> None:
        if self._live is not None:
            self._live.update(self._table(), refresh=True)
        elif line is not None:
            self.say(line)

    def _epochs(self, trial_id: str) -> int:
        return self._jobs[trial_id].config.epochs

    def _measure(self, trial_id: str) -> Measure:
        return Measure(**task_columns(self._jobs[trial_id].tearing.network.task))

    def _summary(self) -> str:
        """Trials done and the time left, by the pace of the epochs so far."""
        done = sum(status not in ("waiting", "running") for status in self._status.values())
        text = f"{done}/{len(self._jobs)} trials done"
        if not self._n_reported or done == len(self._jobs):
            return text
        left = sum(
            self._epochs(i) - self._epoch[i]
            for i, status in self._status.items()
            if status in ("waiting", "running")
        )
        seconds = (time.monotonic() - self._start) / self._n_reported * left
        return f"{text}, about {timedelta(seconds=round(seconds))} left"

    def _table(self) -> Group:
        # A long sweep does not fit a terminal: what runs comes first, then what ended last.
        order = sorted(self._jobs, key=lambda i: _ORDER.get(self._status[i], 1))
        cells = [
            (
                self._labels[trial_id],
                self._status[trial_id],
                f"{self._epoch[trial_id]}/{self._epochs(trial_id)}",
                self._error.get(trial_id, ""),
            )
            for trial_id in order
        ]
        whole = Rows(SHOWN, cells, left=["status"])
        room = self._console.height - 6
        if not whole.fits(self._console.width):
            room //= LINES
        shown = Rows(SHOWN, cells[: max(1, room)], left=["status"])
        more = [Text(f"and {len(cells) - len(shown.cells)} more")] if len(cells) > len(shown.cells) else []
        return Group(Text(self._summary(), "bold"), shown, *more)


_ORDER = {"running": 0, "waiting": 2}
LINES = 3
"""That a trial takes at most where there is no room for a table."""
