"""Sees that what a sweep adds to a store was made with the same data and the same code as what is there."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from orchestrator.config import TrialConfig
from orchestrator.config.option import BEFORE
from orchestrator.data.datasets import is_own
from orchestrator.data.source import ENCODED
from orchestrator.storage.store import Store
from orchestrator.trial import Job

_SAME_IMAGES = (
    *("dataset", "train_subset", "validation_subset", "label_column", "validation_split"),
    *("validation_fraction", "image_size", "image_mode"),
)
"""Options that decide which images a trial sees."""

_FINGERPRINTS = ("data_fingerprint", "code_fingerprint", "data_code_fingerprint")


def refuse_changed(jobs: Iterable[Job], store: Store, *, accept_changed_code: bool = False) -> None:
    """See that no trial of the store, of whatever status, had other images or another network of that name.

    Args:
        jobs: what the sweep is to run, or has run before.
        store: where results go.
        accept_changed_code: whether another version of a user's own network is as good.

    Raises:
        ValueError: one had; says what can be done.
    """
    rows = _Rows(store.read_all("trials"))
    seen: set[tuple[Any, ...]] = set()
    for job in jobs:
        now = job.data
        # Of jobs that differ in training alone one answers for all, if none has weights of its own.
        fingerprints = (now.get(name) for name in _FINGERPRINTS)
        alike = (*_of(job.config, (*_SAME_IMAGES, "network", "task")), *fingerprints)
        if job.config.initial is None and alike in seen:
            continue
        seen.add(alike)
        theirs = rows.of(job.config, _SAME_IMAGES)
        kept = job.config.dataset.partition(":")[0] not in ENCODED  # known by its name
        if changed := _others(theirs, "data_fingerprint", now, kept=kept):
            raise ValueError(
                f"{job.config.dataset} is not what {len(changed)} trials in {store.path} were trained on, "
                f"such as {changed[0]['trial_id']} (then {changed[0]['data_fingerprint'] or 'unknown'}, now "
                f"{now['data_fingerprint']}): give --store another folder, or bring back the images and "
                "labels of that time"
            )
        same = rows.by_id.get(job.config.trial_id, [])
        if _others(same, "initial_fingerprint", now, kept=True):
            raise ValueError(
                f"--initial {job.config.initial} holds other weights than {job.config.trial_id} in "
                f"{store.path} began with: give --store another folder, or bring back the weights"
            )
        own = [name for name in (job.config.network, job.config.task) if ":" in name]
        of_data = [name for name in (job.config.dataset,) if is_own(name)]
        for column, names, options in (
            ("code_fingerprint", own, ("network", "task")),
            ("data_code_fingerprint", of_data, _SAME_IMAGES),
        ):
            theirs = rows.of(job.config, options)
            changed = _others(theirs, column, now, kept=not names)
            if changed and not accept_changed_code:
                raise ValueError(
                    f"the code of {' and '.join(names)} is not what {len(changed)} trials in {store.path} "
                    f"were trained with, such as {changed[0]['trial_id']}: give --store another folder, "
                    "bring back the code, or say --accept-changed-code if the change makes no difference"
                )


class _Rows:
    """Rows of trials, found by their values."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows
        self._before = {option.name: option.metadata.get(BEFORE) for option in fields(TrialConfig)}
        self._found: dict[tuple[str, ...], dict[tuple[Any, ...], list[dict[str, Any]]]] = {}
        self.by_id: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            self.by_id.setdefault(row["trial_id"], []).append(row)

    def of(self, config: TrialConfig, columns: tuple[str, ...]) -> list[dict[str, Any]]:
        """Those with a trial's values; of an option younger than the row what was before."""
        if columns not in self._found:
            by_values = self._found.setdefault(columns, {})
            for row in self._rows:
                values = (self._before[c] if row[c] is None else row[c] for c in columns)
                by_values.setdefault(tuple(values), []).append(row)
        return self._found[columns].get(_of(config, columns), [])


def _of(config: TrialConfig, columns: Iterable[str]) -> tuple[Any, ...]:
    return tuple(getattr(config, column) for column in columns)


def _others(
    rows: list[dict[str, Any]], column: str, now: Mapping[str, Any], *, kept: bool
) -> list[dict[str, Any]]:
    """The rows with another fingerprint; those of before there were any only where a name is not enough."""
    return [row for row in rows if row[column] != now.get(column) and not (row[column] is None and kept)]
