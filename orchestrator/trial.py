"""One trial: a gang through its epochs, from the last checkpoint on, through the death of actors."""

import itertools
import json
import math
import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import ray
from ray.exceptions import RayTaskError
from ray.util.placement_group import PlacementGroup
from torch import Tensor

from analysis.configuration import short_labels
from analysis.reading import UnreadableError
from models.task import Task
from models.tearing import Tearing
from orchestrator.actors.actor import EpochReport
from orchestrator.actors.gang import Gang, GangError, part_of
from orchestrator.actors.liveness import SLOW_START
from orchestrator.config import TrialConfig, config_columns
from orchestrator.data.data import Data
from orchestrator.devices import GangResources
from orchestrator.longer import begin_with_shorter
from orchestrator.storage import checkpoint
from orchestrator.storage.files import WriteError
from orchestrator.storage.provenance import versions
from orchestrator.storage.store import Row, Store, StoreError, best_epoch

_MOMENT = 1.0  # seconds in which Ray says that it has a gang's devices


@dataclass(frozen=True)
class Job:
    """A trial ready to run.

    Attributes:
        config: what was asked.
        tearing: the torn network, shapes traced.
        resources: what each actor reserves.
        data: what :func:`data_columns` says of its images, and the fingerprint of a user's own code; empty
            where they are not known.
        initial: weights to begin with, see :mod:`orchestrator.initial`.
    """

    config: TrialConfig
    tearing: Tearing
    resources: GangResources
    data: Row = field(default_factory=dict)
    initial: dict[str, Tensor] | None = None


def labels(jobs: Iterable[Job]) -> dict[str, str]:
    """What to call each of several trials where a user reads, by ``trial_id``: in what they differ."""
    by_id = {job.config.trial_id: job.config for job in jobs}
    asked = [config_columns(config) | {"trial_id": trial_id} for trial_id, config in by_id.items()]
    trials = pd.DataFrame(asked, dtype=object).assign(partition_sizes=None)
    return dict(zip(by_id, short_labels(trials), strict=True)) if asked else {}


def data_columns(data: Data, config: TrialConfig, task: Task) -> dict[str, Any]:
    """Columns of ``trials`` that say what a data set was understood to be, and how it is augmented."""
    augmentation = data.augmentation(augment=config.augment, crop=config.random_crop, flip=config.random_flip)
    return {
        "n_train": len(data.train_inputs),
        "n_validation": len(data.validation_inputs),
        "n_test": len(data.test_inputs),
        **{f"n_{split}_shared": n for split, n in data.n_shared.items()},
        "input_shape": "×".join(map(str, data.input_shape)),
        "n_classes": data.n_outputs(task),
        "vocabulary": data.vocabulary,
        "classes": json.dumps(data.classes, ensure_ascii=False),
        "crop": max(augmentation.pad),
        "flip": augmentation.flip,
        "data_fingerprint": data.fingerprint,
    }


def task_columns(task: Task) -> dict[str, Any]:
    """Columns of ``trials`` that say what is measured."""
    return {"metric": task.metric, "unit": task.unit, "better": task.better}


Progress = Callable[[Row], None]
"""Told of every finished epoch: its row in the store."""

Tell = Callable[[str], None]
"""Told, in a line for the user, what went wrong while training goes on."""


def run_trial(
    job: Job,
    data: "ray.ObjectRef[Any]",
    group: PlacementGroup,
    store: Store,
    *,
    max_failures: int,
    timeout: float,
    progress: Progress,
    tell: Tell,
    keep_best: bool = False,
) -> None:
    """Train a trial to its end, or to where it diverges or fails; its row in the store says which.

    Every epoch's row and checkpoint are on disk before the next epoch begins. When an actor dies or
    falls silent the gang is ended and a new one goes on from the last checkpoint.

    Args:
        job: the trial.
        data: its images in Ray's object store.
        group: placement group with the bundles of ``job.resources``.
        store: where results go.
        max_failures: gangs that may be lost in a row without an epoch finished.
        timeout: seconds that an actor is waited for.
        progress: called after every epoch that is safe on disk.
        tell: called when something went wrong that need not end the trial.
        keep_best: whether the checkpoint of the best epoch is kept, however long ago it was.

    Raises:
        StoreError: another process keeps the trial, or its row is damaged.
        UnreadableError: its row cannot be read just now.
        WriteError: the disk is so full that not even the trial's row can be written.
    """
    with store.claim(job.config.trial_id):
        record = _Record(job, store)
        record.begin()
        status, reason, failures = "running", "", 0
        while status == "running":
            try:
                if not group.wait(_MOMENT):  # and the gang goes on waiting
                    tell(f"waits for the devices of a lost host, for {SLOW_START:g} s at most")
                with Gang(job.config, job.tearing, data, job.resources, group) as gang:
                    gang.connect(timeout)
                    for row in _epochs(gang, job, record, store, tell, keep_best=keep_best):
                        failures = 0
                        progress(row)
                    if job.data.get("n_test"):
                        record.test(gang.test(job.config.epochs))
                status = "finished"
            except GangError as error:
                failures += 1
                tell(f"{error}: lost {failures} of {max_failures + 1} gangs in a row")
                if failures > max_failures:
                    status = "failed"
                    reason = f"lost {failures} gangs in a row without an epoch finished; the last: {error}"
            except _DivergedError as error:
                status, reason = "diverged", str(error)
            except RayTaskError as error:
                status, reason = "failed", f"{type(error.cause).__name__}: {error.cause}"
            except (StoreError, UnreadableError, WriteError) as error:
                status, reason = "failed", str(error)
        record.close(status, reason)


class _DivergedError(ArithmeticError):
    """The loss was not finite."""


def _epochs(
    gang: Gang, job: Job, record: "_Record", store: Store, tell: Tell, *, keep_best: bool = False
) -> Iterator[Row]:
    """Train from the last checkpoint on; yields every epoch's row once it and the checkpoint are on disk."""
    config = job.config
    checkpoints = store.checkpoints(config.trial_id)
    done, states = checkpoint.load_latest(checkpoints, tell=tell)
    if not done and (shorter := begin_with_shorter(config, record.found(), store)):
        done, states = checkpoint.load_latest(checkpoints, tell=tell)
        tell(f"goes on from the {done} epochs of {shorter}")
    if done > record.measured():
        tell(f"the rows of the epochs up to {done} are missing: training begins again")
        done = 0
    if done:
        gang.restore(states)
    elif job.initial is not None:
        gang.begin_with(job.initial)
    record.go_back_to(done)
    for epoch in range(done + 1, config.epochs + 1):
        reports = gang.run_epoch(epoch)
        row = record.add(epoch, reports)
        if not all(report.completed for report in reports.values()):
            raise _DivergedError(f"the loss was not finite in epoch {epoch}: {_calmer(config)}")
        if not math.isfinite(row["validation_loss"]):  # the last step has thrown the weights away
            raise _DivergedError(f"the validation loss was not finite in epoch {epoch}: {_calmer(config)}")
        states = {part: report.state for part, report in reports.items() if report.state}
        checkpoint.save(checkpoints, epoch, states, best=record.best() if keep_best else None)
        yield row


def _calmer(config: TrialConfig) -> str:
    """What keeps a loss finite, of what a trial has not tried."""
    clip = " or give --clip-norm 1" if config.clip_norm is None else ""
    return f"lower --learning-rate {config.learning_rate:g}{clip}"


def record_untrained(job: Job, store: Store) -> None:
    """Store a trial of 0 epochs: what was asked, for its timings to refer to."""
    _Record(job, store).close("finished")


def record_failure(job: Job, store: Store, reason: str) -> None:
    """Store why a trial ended that could not say so itself.

    Raises:
        WriteError: the disk is full or not to be written.
    """
    _Record(job, store).close("failed", reason)


class _Record:
    """What the store holds of one trial, kept up to date as it runs."""

    def __init__(self, job: Job, store: Store) -> None:
        self._store = store
        self._id = job.config.trial_id
        tearing = job.tearing
        earlier = store.read("trials", self._id)
        self._trial: dict[str, Any] = {
            "trial_id": self._id,
            "status": "running",
            "error": "",
            "started": earlier[0]["started"] if earlier else pd.Timestamp.now("UTC"),
            "finished": pd.NaT,
            **config_columns(job.config),
            "partition_sizes": " ".join(map(str, tearing.sizes)),
            **job.data,
            **task_columns(tearing.network.task),
            "parameters": tearing.n_parameters,
            "parameters_coarse_network": sum(tearing.coarse_parameters),
            "devices": f"{job.resources.n_devices} {job.resources.device}",
            "cores": round(job.resources.n_places * job.resources.cpus, 2),
            **versions(),
        }
        self._epochs: list[Row] = []
        self._timings: list[Row] = []

    def begin(self) -> None:
        """Say that the trial is running."""
        self._store.write("trials", self._id, [self._trial])

    def measured(self) -> int:
        """The last epoch up to which every row is there."""
        epochs = {row["epoch"] for row in self._store.read("epochs", self._id)}
        return next(n for n in itertools.count() if n + 1 not in epochs)

    def go_back_to(self, epoch: int) -> None:
        """Keep the rows up to the epoch of a checkpoint; later ones are run again, to the same result."""
        self._epochs = [r for r in self._store.read("epochs", self._id) if r["epoch"] <= epoch]
        self._timings = [
            r for r in self._store.read("timings", self._id) if r["mode"] != "wall" or r["repeat"] < epoch
        ]

    def add(self, epoch: int, reports: dict[str, EpochReport]) -> Row:
        """Store an epoch's row and where its steps' time went; returns the row."""
        lead = next(report for report in reports.values() if report.metrics)
        # The driver is done with an epoch before the subnetworks' last backward pass is.
        slowest = max(reports.values(), key=lambda report: report.seconds)
        n_images = len(slowest.step_seconds) * self._trial["batch_size"]
        row = {
            "trial_id": self._id,
            "epoch": epoch,
            **lead.metrics,
            "seconds": slowest.seconds,
            "samples_per_second": n_images / slowest.seconds,
            "step_seconds": statistics.median(slowest.step_seconds),
            "bytes_sent": round(sum(report.bytes_sent for report in reports.values())),
            "peak_memory_bytes": max(report.peak_memory_bytes for report in reports.values()),
        }
        self._epochs.append(row)
        alike: dict[tuple[str, str], list[float]] = {}
        for name, report in reports.items():
            for activity, seconds in report.activities.items():
                alike.setdefault((part_of(name), activity), []).append(seconds)
        for (part, activity), of_replicas in alike.items():
            component, direction = activity.split(".")
            self._timings.append(
                {
                    "trial_id": self._id,
                    "mode": "wall",
                    "component": component,
                    "subnetwork": int(part.partition("-")[2] or 0),
                    "direction": direction,
                    "seconds": statistics.fmean(of_replicas),
                    "repeat": epoch - 1,
                    "batch_size": self._trial["batch_size"],
                    "device": self._trial["devices"].split()[1],
                }
            )
        self._store.write("epochs", self._id, self._epochs)
        self._store.write("timings", self._id, self._timings)
        return row

    def found(self) -> Row:
        """What decides the trial's result beside its options and what is the same for a whole store."""
        return {name: self._trial.get(name) for name in ("partition_sizes", "initial_fingerprint")}

    def best(self) -> int | None:
        """The best epoch so far."""
        return best_epoch(self._epochs, self._trial["better"])

    def test(self, error: float) -> None:
        """Keep the task's figure on the test images."""
        self._trial["test_error"] = error

    def close(self, status: str, error: str = "") -> None:
        """Say how the trial ended."""
        self._trial |= {"status": status, "error": error, "finished": pd.Timestamp.now("UTC")}
        self._store.write("trials", self._id, [self._trial])
