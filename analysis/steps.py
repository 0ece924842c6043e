"""How long a training step takes: as the times of its components predict it, and by the clock."""

import pandas as pd

from analysis import published
from analysis.configuration import device_kinds, identify, one_row_each
from analysis.tables import UNTIMED, component_seconds

MEASURES = ("paper_sum", "critical_path", "step")

_FELT = ("batch_size", "strategy", "n_replicas", "batch_norm")
UNFELT = tuple(column for column in UNTIMED if column not in _FELT)
"""Config values without effect on the time of a training step."""


def steps(trials: pd.DataFrame, epochs: pd.DataFrame, timings: pd.DataFrame) -> pd.DataFrame:
    """Times of a training step (s), one row per configuration and device that was trained or timed.

    ``paper_sum`` and ``critical_path`` are virtual, computed from the times of components that ran
    alone on one device: Table 2's total, and the longest chain through a step with a device for
    every actor and communication for free; medians over the repeats. ``step`` is what the training
    steps of the trials took: the median over seeds and epochs, without the first epoch of a trial
    that has others, because it warms up.

    Returns:
        Columns: dataset, network, depth, label, n_subnetworks, n_coarse_units, every other config
        value that varies, device, batch_size; for each of `MEASURES` its median, <it>_low and
        <it>_high (the quartiles, from two values on) and <it>_speed_up (of the medians, over N = 1
        of the otherwise same configuration on the same device); n_repeats and n_epochs (how many
        values there are, virtual and by the clock), bytes_sent (by all actors in a training step),
        peak_memory_bytes (what training took in the largest actor) and published_speed_up (of the
        paper's sum; see `analysis.published`). What was not measured is missing.
    """
    return identified_steps(trials, epochs, timings).drop(columns=["configuration", "family"])


def identified_steps(trials: pd.DataFrame, epochs: pd.DataFrame, timings: pd.DataFrame) -> pd.DataFrame:
    """`steps` after the columns ``configuration`` and ``family`` of ``identify(trials, ignore=UNFELT)``."""
    timings = timings[timings["mode"] == "virtual"]
    runs = identify(trials, ignore=UNFELT)
    # Whichever strategy trains a torn network, its components are the same.
    components = identify(trials, ignore=[*UNFELT, "strategy"])["configuration"]
    keys = runs.assign(components=components, device=device_names(runs, timings))

    virtual = _virtual(trials, timings).merge(
        keys[["trial_id", "configuration", "components"]], on="trial_id"
    )
    by_clock = _by_clock(epochs).merge(keys[["trial_id", "configuration", "device"]], on="trial_id")
    where = ["configuration", "device"]
    found = pd.concat([virtual[where], by_clock[where]]).drop_duplicates()
    runs = runs.assign(components=components)[runs["configuration"].isin(found["configuration"])]
    rows, columns = one_row_each(runs, ignore=[*UNFELT, "components"])
    table = rows.reset_index().merge(found, on="configuration")
    for samples, count, key in (
        (virtual, "n_repeats", ["components", "device", "batch_size"]),
        (by_clock, "n_epochs", where),
    ):
        table = table.merge(_summary(samples, count, key), on=key, how="left")
    most = by_clock.groupby(where).agg({"bytes_sent": "max", "peak_memory_bytes": "max"})
    table = table.join(most, on=where)

    where = ["family", "device"]
    serial = table[table["n_subnetworks"] == 1].set_index(where)[list(MEASURES)]
    serial = table[where].join(serial, on=where)[list(MEASURES)]
    table = table.join((serial / table[list(MEASURES)]).add_suffix("_speed_up"))
    paper = published.published_table2().set_index("n_subnetworks")["speed_up"]
    comparable = published.is_paper_network(table) & published.is_paper_input(table)
    table["published_speed_up"] = table["n_subnetworks"].where(comparable).map(paper).astype(float)
    table = table.astype({"n_repeats": "Int64", "n_epochs": "Int64"})
    return table[
        [
            *("configuration", "family"),
            *(column for column in columns if column != "batch_size"),
            *("device", "batch_size"),
            *(f"{measure}{part}" for measure in MEASURES for part in ("", "_low", "_high", "_speed_up")),
            *("n_repeats", "n_epochs", "bytes_sent", "peak_memory_bytes", "published_speed_up"),
        ]
    ]


def device_names(trials: pd.DataFrame, timings: pd.DataFrame) -> pd.Series:
    """Name the device of each trial as timings do: "cpu", or the GPU's own name where there is one alone."""
    gpus = timings.loc[timings["device"] != "cpu", "device"].dropna().unique()
    kinds = device_kinds(trials)
    return kinds.replace("cuda", gpus[0]) if len(gpus) == 1 else kinds


def _virtual(trials: pd.DataFrame, timings: pd.DataFrame) -> pd.DataFrame:
    """The virtual times of each trial, device, batch_size and repeat."""
    totals = component_seconds(trials, timings)["total"]
    paths = timings[timings["component"] == "step"].set_index(totals.index.names)["seconds"]
    return pd.DataFrame({"paper_sum": totals, "critical_path": paths}).reset_index()


def _by_clock(epochs: pd.DataFrame) -> pd.DataFrame:
    """The epochs whose steps count."""
    epochs = epochs.dropna(subset="step_seconds").rename(columns={"step_seconds": "step"})
    of_trial = epochs.groupby("trial_id")["epoch"]
    return epochs[(epochs["epoch"] > of_trial.transform("min")) | (of_trial.transform("size") == 1)]


def _summary(samples: pd.DataFrame, count: str, key: list[str]) -> pd.DataFrame:
    """Median and quartiles of the times among the columns, and their number."""
    samples = samples.set_index(key)
    groups = samples[[measure for measure in MEASURES if measure in samples]].groupby(key)
    several = groups.count() > 1
    low, high = (groups.quantile(q).where(several) for q in (0.25, 0.75))
    summary = groups.median().join(low.add_suffix("_low")).join(high.add_suffix("_high"))
    return summary.assign(**{count: groups.size()}).reset_index()
