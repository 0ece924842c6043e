"""What a store holds, in words: how far it is, what was run, what did not finish."""

import textwrap

import pandas as pd

from analysis.configuration import DATA, RUN, config_columns, dataset_name, heading, identify, network_name
from analysis.legible import MAX_OPTIONS, MAX_ROWS, MAX_SENTENCES, MAX_VALUES, listed

MAX_REASON = 300
MOST_NAMES = 3

BLIND = 1e-3
"""Variety below which C^j(x) is the same for all samples: what is left is rounding."""

AT_CHANCE = 0.9
"""An error of at least this share of what guessing would give says that nothing was learned."""

ROUGHLY = 1.05
"""What a speed-up may have over what is possible before that is worth a word."""


def progress(trials: pd.DataFrame) -> str:
    """How many trials there are, by status, in a sentence."""
    if trials.empty:
        return "The store is empty: no trial has been started yet."
    counts = trials["status"].value_counts()
    text = f"{len(trials)} trials: " + ", ".join(f"{n} {status}" for status, n in counts.items())
    return f"{text}. The numbers will change." if "running" in counts else f"{text}."


def data_sets(trials: pd.DataFrame) -> list[str]:
    """A line a data set, as it was understood: sizes, shape, classes, augmentation; what several splits hold.

    Data sets of which a store does not say so much have none.
    """
    shared = ["n_validation_shared", "n_test_shared"]
    columns = ["dataset", *DATA, "n_test", "classes", *shared]
    known = trials.reindex(columns=columns).dropna(subset=["dataset", *DATA])
    known = known.fillna({"n_test": 0, "classes": ""} | dict.fromkeys(shared, 0)).drop_duplicates()
    return [_data_set(*values) for values in known.itertuples(index=False)]


def _data_set(
    dataset: str,
    n_train: int,
    n_validation: int,
    shape: str,
    n_outputs: int,
    crop: int,
    flip: bool,
    n_test: int,
    classes: str,
    *n_shared: int,
) -> str:
    """A data set in a line; one without names of classes is a user's own."""
    found = ("validation", "training"), ("test", "training or validation")
    known_before = "".join(
        f"; {n:,} of the {split} samples are {others} samples too, bit for bit: errors on them say little"
        for n, (split, others) in zip(n_shared, found, strict=True)
        if n
    )
    start = f"{dataset_name(dataset)}: train {n_train:,}, validation {n_validation:,}"
    start += f", test {n_test:,}" if n_test else ""
    augmented = f"; {f'crop {crop}' if crop else 'no crop'}, {'flip' if flip else 'no flip'}"
    if classes == "[]":
        is_varied = crop or flip
        varied = augmented if is_varied else ""
        outputs = "1 output" if n_outputs == 1 else f"{n_outputs} outputs"
        return f"{start} samples of shape {shape}, {outputs}{varied}{known_before}"
    return f"{start} images, {shape}, {n_outputs} classes{augmented}{known_before}"


def headlines(trials: pd.DataFrame) -> dict[str, str]:
    """What a reader asks first: which networks, data, N and seeds, when and where."""
    networks = map(network_name, trials["network"], trials["depth"])
    return _known(
        {
            "Networks": _values(pd.Series(list(networks), dtype=str)),
            "Data sets": _values(trials["dataset"].map(dataset_name)),
            "Numbers of subnetworks N": _values(trials["n_subnetworks"]),
            "Seeds": _values(trials["seed"]),
            "First trial started": _time(trials["started"].min()),
            "Last trial ended": _time(trials["finished"].max()),
            "Started on": _values(trials["host"]),
            "Devices of a trial": _devices(trials["devices"].dropna()),
        }
    )


def provenance(trials: pd.DataFrame) -> dict[str, str]:
    """The distinct values of everything that was asked for and run with, by what they are."""
    known = identify(trials)  # without the values that have no effect at N = 1
    return _known({heading(column): _values(known[column]) for column in [*RUN, *config_columns(trials)]})


def unfinished(trials: pd.DataFrame) -> pd.DataFrame:
    """One row a trial that failed or diverged, as text: which, and why; of many the first ones."""
    named = identify(trials[~trials["status"].isin(["finished", "running"])]).head(MAX_ROWS)
    return pd.DataFrame(
        {
            "Trial": named["trial_id"],
            "Network": named["label"],
            "Data set": named["dataset"].map(dataset_name),
            "Seed": named["seed"].astype(str).fillna(""),
            "Status": named["status"],
            "Reason": named["error"].fillna("").map(_reason),
        }
    )


def at_chance(trials: pd.DataFrame, table1: pd.DataFrame) -> list[str]:
    """A sentence for each torn network that has learned nothing while the one in one piece has.

    Guessing one of K classes is wrong in 1 − 1/K of all cases. K is the trials' column ``n_classes``;
    where a store does not say, nothing can be said here either.

    Args:
        trials: frame of the store.
        table1: what `analysis.tables.table1` returned for it.
    """
    if "n_classes" not in trials:
        return []
    n_classes = table1["dataset"].map(trials.groupby("dataset")["n_classes"].max()).astype(float)
    rows = table1.assign(n_classes=n_classes, serial=table1["error"] - table1["difference"])
    limit = AT_CHANCE * 100 * (1 - 1 / rows["n_classes"])
    columns = list(table1.columns)
    varying = columns[columns.index("n_coarse_units") + 1 : columns.index("error")]
    sentences = []
    rates = rows["metric"] == "error"
    for row in rows[rates & (rows["error"] >= limit) & (rows["serial"] < limit)].to_dict("records"):
        values = (f"{heading(c)} = {row[c]}" for c in varying if pd.notna(row[c]))
        which = filter(None, [row["label"], listed(values, MAX_OPTIONS)])
        sentences.append(
            f"{', '.join(which)}: {row['error']:.1f} % error on {dataset_name(row['dataset'])} is chance "
            f"({row['n_classes']:.0f} classes) while N = 1 has {row['serial']:.1f} %: "
            "try --preprocess stem, --coarse shortcut or a lower --learning-rate."
        )
    more = len(sentences) - MAX_SENTENCES
    return sentences[:MAX_SENTENCES] + [f"{more:,} more configurations are at chance."] * (more > 0)


def lost(trials: pd.DataFrame, epochs: pd.DataFrame, timings: pd.DataFrame) -> list[str]:
    """A sentence where rows of finished trials are missing, of which tables and figures would say nothing."""
    finished = trials.loc[trials["status"] == "finished"].set_index("trial_id")["epochs"]
    walls = timings[timings["mode"] == "wall"]
    kinds = {
        "Epochs": (epochs.groupby("trial_id")["epoch"].nunique(), "the same command trains them again"),
        "Wall-clock timings": (
            walls.groupby("trial_id")["repeat"].nunique(),
            "to have them trained again, remove the files of these trials in epochs/ and repeat the command",
        ),
    }
    return [
        f"{what} of finished trials are missing in the store, {listed(which, MOST_NAMES)}: {remedy}."
        for what, (found, remedy) in kinds.items()
        if (which := list(finished.index[found.reindex(finished.index).fillna(0) < finished]))
    ]


def beyond_n(steps: pd.DataFrame) -> list[str]:
    """A sentence where virtual times would have N devices do more than N times as much, which none can.

    Args:
        steps: what `analysis.steps.steps` returned.
    """
    best = steps[["paper_sum_speed_up", "critical_path_speed_up"]].max(axis="columns")
    excess = (best / steps["n_subnetworks"].astype(float)).rename("excess")
    rows = steps.assign(best=best)[excess > ROUGHLY].sort_values("best", ascending=False)
    if rows.empty:
        return []
    worst = rows.iloc[0]
    more = f" (and so for {len(rows) - 1} more)" * (len(rows) > 1)
    return [
        f"{worst['label']}: {worst['best']:.1f} times as fast as N = 1 is more than N devices can be{more}: "
        "the machine had less to do when these were timed than when N = 1 was. Time them with nothing "
        "beside, in another --store."
    ]


def _values(column: pd.Series) -> str:
    """The distinct values, in order; of many numbers the first and the last."""
    values = column.dropna().drop_duplicates().sort_values()
    if len(values) > MAX_VALUES and pd.api.types.is_numeric_dtype(values):
        return f"{values.iloc[0]} to {values.iloc[-1]} ({len(values):,} values)"
    return listed(map(str, values))


def _devices(devices: pd.Series) -> str:
    """From how many to how many of each kind: "1 to 7 cpu"."""
    pairs = [text.split() for text in devices]
    counts = pd.Series([int(n) for n, _ in pairs], dtype=int).groupby([kind for _, kind in pairs])
    ends = zip(counts.min().items(), counts.max(), strict=True)
    return ", ".join(
        f"{low} {kind}" if low == high else f"{low} to {high} {kind}" for (kind, low), high in ends
    )


def _known(facts: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in facts.items() if value}


def _reason(error: str) -> str:
    """One line of an error message; a traceback has its message last."""
    if "Traceback" in error:
        error = error.strip().rpartition("\n")[2]
    return textwrap.shorten(error, MAX_REASON, placeholder=" …") or "not recorded"


def _time(moment: pd.Timestamp) -> str:
    return "" if pd.isna(moment) else f"{moment:%Y-%m-%d %H:%M} UTC"
