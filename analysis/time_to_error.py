"""Which N reaches an error first: training time to given validation errors."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd

from analysis.configuration import identify, one_row_each
from analysis.measure import COLUMNS, Measure, measure_of

_DIGITS = (1, 1.5, 2, 3, 5, 7)
ROUND = tuple(m * 10.0**e for e in (-2, -1, 0, 1) for m in _DIGITS)
"""Errors (%) that are chosen from, ascending."""
_WIDE = tuple(float(f"{m}e{e}") for e in range(-6, 7) for m in _DIGITS)
"""Values of other metrics that are chosen from."""
N_ERRORS = 4
"""How many are chosen for a data set."""
UNITS = {"h": 3600.0, "min": 60.0, "s": 1.0}


def time_to_error(
    trials: pd.DataFrame, epochs: pd.DataFrame, *, thresholds: Sequence[float] | None = None
) -> pd.DataFrame:
    """How long training took until the validation error was at most x %, one row per configuration and x.

    A trial reaches x at the end of its first epoch with an error of x or less; validation itself takes
    no time here. Every trial counts with the epochs it has, also one that runs or did not finish.

    Args:
        trials: frame of the store.
        epochs: frame of the store.
        thresholds: errors x (%). Unless given, a few round ones a data set: the smallest that some
            configuration reaches with all its finished trials, the smallest that all do, and some
            between.

    Returns:
        Columns: dataset, network, depth, label, n_subnetworks, n_coarse_units, every other config
        value that varies, threshold (of what metric, unit and better say), seconds and epoch (medians
        over the trials that reached it, missing if none did), reached (how many did), n (trials with an
        epoch), metric, unit, better, first (whether all its trials did, and no other configuration of the
        data set whose trials all did was faster).
    """
    epochs = with_elapsed(epochs.dropna(subset=["validation_error", "seconds"]))
    runs = identify(trials[trials["trial_id"].isin(epochs["trial_id"].unique())])
    rows, columns = one_row_each(runs)
    told = [column for column in COLUMNS if column in runs]
    epochs = epochs.merge(runs[["trial_id", "configuration", "dataset", "status", *told]], on="trial_id")
    n = runs.groupby("configuration").size()
    found = []
    for (dataset, *_), members in epochs.groupby(["dataset", *told], sort=False):
        measure = measure_of(members)
        for threshold in thresholds or _round_errors(members, measure):
            hits = members[measure.reached(members["validation_error"], threshold)]
            hits = hits.drop_duplicates("trial_id")
            by_configuration = hits.groupby("configuration")
            here = rows.index.isin(members["configuration"]) & (rows["dataset"] == dataset)
            table = rows.loc[here, columns].assign(
                threshold=float(threshold),
                seconds=by_configuration["elapsed"].median(),
                epoch=by_configuration["epoch"].median().astype(float),
                reached=by_configuration.size(),
                n=n,
                **asdict(measure),
            )
            table = table.fillna({"reached": 0}).astype({"reached": "Int64", "n": "Int64"})
            complete = table["seconds"].where(table["reached"] == table["n"])
            found.append(table.assign(first=complete.notna() & (complete == complete.min())))
    if not found:
        empty = rows[columns].assign(threshold=np.nan, seconds=np.nan, epoch=np.nan)
        empty = empty.assign(reached=n, n=n, **asdict(Measure()), first=False)
        return empty.astype({"reached": "Int64", "n": "Int64"})
    return pd.concat(found, ignore_index=True)


def with_elapsed(epochs: pd.DataFrame) -> pd.DataFrame:
    """Epochs in order, with the column ``elapsed``: seconds of training from the trial's first step on."""
    codes = pd.Series(epochs["trial_id"].factorize()[0], epochs.index)
    order = codes * (int(epochs["epoch"].max()) + 1 if len(epochs) else 1) + epochs["epoch"].astype(int)
    if not order.is_monotonic_increasing:  # as a rule they are in order: a million names need not be sorted
        epochs = epochs.sort_values(["trial_id", "epoch"])
    return epochs.assign(elapsed=epochs.groupby("trial_id")["seconds"].cumsum())


def time_unit(seconds: float) -> str:
    """Name of the one of `UNITS` that suits times up to ``seconds``."""
    return next((unit for unit, length in UNITS.items() if seconds >= 2 * length), "s")


def _round_errors(epochs: pd.DataFrame, measure: Measure) -> list[float]:
    """Errors that tell the configurations of one data set apart, the easiest to reach first."""
    finished = epochs[epochs["status"] == "finished"]
    counted = epochs if finished.empty else finished
    best = counted.groupby(["configuration", "trial_id"])["validation_error"]
    if measure.better == "higher":
        worst_trial = best.max().groupby("configuration").min()
        between = np.linspace(worst_trial.min(), worst_trial.max(), N_ERRORS)
        return sorted({float(f"{value:.2g}") for value in between})
    worst_trial = best.min().groupby("configuration").max()
    choice = ROUND if measure.unit == "%" else _WIDE
    low, high = np.searchsorted(choice, [worst_trial.min(), worst_trial.max()])
    high = min(max(high, low + N_ERRORS - 1), len(choice) - 1)
    chosen = np.unique(np.linspace(high, low, N_ERRORS).round().astype(int))
    return [choice[i] for i in chosen[::-1] if i < len(choice)]
