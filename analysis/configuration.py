"""What makes two trials runs of the same experiment: every config value but the seed.

The columns are not listed but found: a config value this package has never heard of still keeps
two experiments apart. Only what describes the run rather than the question is listed.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import pandas as pd

from analysis.legible import MAX_OPTIONS, listed

RUN = ("project", "commit", "python", "torch", "ray", "host", "devices", "cores")
"""Columns of ``trials`` that say with what and where a trial ran."""

DATA = ("n_train", "n_validation", "input_shape", "n_classes", "crop", "flip")
"""Columns of ``trials`` that say what the data set named there was found to be."""

MEASURE = ("metric", "unit", "better")
"""Columns of ``trials`` that say what is measured on the data."""

FOUND = (
    *("n_test", "n_validation_shared", "n_test_shared", "vocabulary", "classes", "test_error"),
    *("data_fingerprint", "code_fingerprint", "data_code_fingerprint", "initial_fingerprint"),
    "variety",
)
"""Columns of ``trials`` that say what else was found."""

BOOKKEEPING = frozenset(
    ["trial_id", "status", "error", "started", "finished", *DATA, *MEASURE, *FOUND, *RUN],
)
"""Columns of ``trials`` that are not config values; those on ``parameters`` are none either."""

EXPERIMENT = ("network", "depth", "dataset", "n_subnetworks")
"""Config values that every table and figure names."""

CUTS = ("partition", "partition_sizes")
AT_CUTS = ("preprocess", "coarse", "n_coarse_units", "n_iterations", "n_replicas")
TEARING = ("strategy", *CUTS, *AT_CUTS, "batch_norm")
"""Config values without effect at N = 1: the network there is the original one, f."""

SWITCHES = ("random_crop", "random_flip")
"""Config values that are on, off or auto."""

UNTORN = ("data_parallel", "gpipe", "1f1b")
"""Strategies that train f on N devices: nothing stands at the cuts, if there are any."""

FOLLOWS_N = ("partition_sizes", "n_coarse_units")
"""Config values that change with N as a rule, so that only other changes are worth a mention."""

NETWORK_NAMES = {"resnet": "ResNet", "vgg": "VGG"}
STRATEGY_NAMES = {"data_parallel": "data parallel", "gpipe": "GPipe", "1f1b": "1F1B"}
DATASET_NAMES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "mnist": "MNIST", "svhn": "SVHN"}
HEADINGS = {
    "n_coarse_units": "N_c",
    "n_iterations": "K",
    "n_replicas": "D",
    "n_subnetworks": "N",
    "dataset": "Data set",
    "label": "Network",
}


def config_columns(trials: pd.DataFrame) -> list[str]:
    """Name the columns that hold config values, ``seed`` included."""
    names = map(str, trials.columns)
    return [c for c in names if c not in BOOKKEEPING and not c.startswith("parameters")]


def identify(trials: pd.DataFrame, *, ignore: Collection[str] = ()) -> pd.DataFrame:
    """Number the distinct configurations.

    Args:
        trials: frame of the store.
        ignore: config columns, beside ``seed``, that do not tell two configurations apart.

    Returns:
        ``trials`` with the columns ``configuration`` (equal for trials that differ in the seed
        alone), ``family`` (equal for configurations that differ in N and in how the network is
        torn alone: one N = 1 at most) and ``label`` ("ResNet-56"; "Parareal ResNet-56, N = 3").
        The values of `TEARING` are missing where they have no effect.
    """
    trials = trials.copy()
    for column in reversed(TEARING):  # the strategy last: the others' effect depends on it
        trials[column] = trials[column].where(_has_effect(trials, column))
    columns = [c for c in config_columns(trials) if c not in {"seed", *ignore}]
    shared = [c for c in columns if c not in {"n_subnetworks", *TEARING}]
    trials["configuration"] = _number(trials, columns)
    trials["family"] = _number(trials, shared)
    named = trials[["network", "depth", "n_subnetworks", "strategy"]].fillna({"strategy": "parareal"})
    trials["label"] = [label(*values) for values in named.itertuples(index=False)]
    return trials


def varying(identified: pd.DataFrame, *, ignore: Collection[str] = ()) -> list[str]:
    """Name the config columns, beside `EXPERIMENT`, in which the configurations differ.

    A value of `TEARING` counts only where it has an effect, one of `FOLLOWS_N` only where nothing
    else tells two configurations apart.
    """
    apart = {*EXPERIMENT, *FOLLOWS_N, "seed", *ignore, "configuration", "family", "label"}
    columns = []
    for column in config_columns(identified):
        if column not in apart:
            values = identified[column]
            if column in TEARING:
                values = values[_has_effect(identified, column)]
            if len(values.unique()) > 1:
                columns.append(column)
    torn = identified[identified["n_subnetworks"] != 1]
    for column in FOLLOWS_N:
        alike = torn.groupby([*EXPERIMENT, *columns], dropna=False)[column]
        if alike.nunique(dropna=False).gt(1).any():
            columns.append(column)
    return columns


def one_row_each(runs: pd.DataFrame, *, ignore: Collection[str] = ()) -> tuple[pd.DataFrame, list[str]]:
    """Return one row per configuration, N = 1 before the torn ones, and the columns to show.

    Args:
        runs: what `identify` returned.
        ignore: config columns that are not to be shown.
    """
    others = [c for c in varying(runs, ignore=ignore) if c != "n_coarse_units"]
    shared = [c for c in others if c not in TEARING]
    tearing = [c for c in others if c in TEARING]
    rows = runs.drop_duplicates("configuration").set_index("configuration")
    rows = rows.assign(torn=rows["n_subnetworks"] != 1)
    order = ["dataset", "network", "depth", *shared, "torn", *tearing, "n_subnetworks"]
    rows = rows.sort_values([*order, "n_coarse_units"])
    columns = ["dataset", "network", "depth", "label", "n_subnetworks", "n_coarse_units"]
    return rows, [*columns, *others]


def variants(rows: pd.DataFrame, columns: Iterable[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Tell apart the ways to tear and to train one network.

    Args:
        rows: one a configuration of the same family.
        columns: those of `TEARING` among its columns.

    Yields:
        Name and rows of each way, with N = 1, N ascending. The name says what tells them apart,
        "staggered, shortcut"; it is empty where there is one alone.
    """
    serial, torn = rows[rows["n_subnetworks"] == 1], rows[rows["n_subnetworks"] != 1]
    if torn.empty:
        yield "", serial
        return
    apart = [c for c in columns if c != "n_coarse_units" and len(torn[c].unique()) > 1]
    if torn.duplicated([*apart, "n_subnetworks"]).any():  # then N_c does not follow from N
        apart.append("n_coarse_units")
    for _, members in torn.groupby(apart, dropna=False) if apart else [((), torn)]:
        known = members.iloc[0][apart].dropna().astype(str)
        name = [
            f"{HEADINGS[column]} = {value}" if column in HEADINGS else strategy_name(value)
            for column, value in known.items()
        ]
        yield ", ".join(name), pd.concat([serial, members]).sort_values("n_subnetworks")


def timed_families(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, list[str]]]:
    """Split a table of times into what may be compared: one network on one device with one batch size.

    Args:
        table: what `analysis.tables.table2` or `analysis.steps.steps` returned.

    Yields:
        Title, rows, and the columns of `TEARING` among its columns.
    """
    described = [*table.columns[: table.columns.get_loc("device")], "device", "batch_size"]
    shared = [c for c in described if c not in {*TEARING, "label", "n_subnetworks"}]
    for _, rows in table.groupby(shared, dropna=False):
        values = rows.iloc[0]
        network = f"{network_name(values['network'], values['depth'])} on {dataset_name(values['dataset'])}"
        others = [c for c in shared if c not in {*EXPERIMENT, "device", "batch_size"}]
        how = [f"{values['device']}, batches of {values['batch_size']}"]
        how += [listed((f"{heading(c)} = {values[c]}" for c in others if pd.notna(values[c])), MAX_OPTIONS)]
        yield f"{network}\n{', '.join(filter(None, how))}", rows, [c for c in TEARING if c in described]


def short_labels(trials: pd.DataFrame) -> pd.Series:
    """Name trials by N and by what else they differ in: "N = 3", "digits, N = 3, shortcut, seed 0".

    Trials that nothing tells apart, and those of which nothing is known, are called by their ids.
    """
    runs = identify(trials[trials["n_subnetworks"].notna()])
    words = pd.DataFrame(
        {
            "dataset": runs["dataset"].map(dataset_name),
            "network": list(map(network_name, runs["network"], runs["depth"])),
            "n_subnetworks": "N = " + runs["n_subnetworks"].astype(str),
            **{column: [in_words(column, value) for value in runs[column]] for column in varying(runs)},
            "seed": "seed " + runs["seed"].astype(str),
        },
        index=runs.index,
        dtype=object,
    )
    shown = [name for name in words if name == "n_subnetworks" or len(words[name].unique()) > 1]
    labels = pd.Series([", ".join(filter(None, row)) for row in words[shown].to_numpy()], runs.index, object)
    return labels[~labels.duplicated(keep=False)].reindex(trials.index).fillna(trials["trial_id"])


def device_kinds(trials: pd.DataFrame) -> pd.Series:
    """Name the kind of device of each trial: "cpu", "cuda"; missing where it is not known."""
    return trials["devices"].str.extract(r"(\w+)$", expand=False)


def heading(column: str) -> str:
    """Name a column for a reader: "N_c", "Batch size"."""
    return HEADINGS.get(column, column.replace("_", " ").capitalize())


def network_name(network: str, depth: int | None) -> str:
    """Name an untorn network: "ResNet-56", or "package.module:factory" where depth is missing."""
    name = "Unknown network" if pd.isna(network) else NETWORK_NAMES.get(network, network)
    return name if pd.isna(depth) else f"{name}-{depth}"


def dataset_name(dataset: str) -> str:
    """Name a data set: "CIFAR-10", "digits", "parquet:/data/flowers"."""
    return "unknown data" if pd.isna(dataset) else DATASET_NAMES.get(dataset, dataset)


def strategy_name(strategy: str) -> str:
    """Name a strategy: "parareal", "data parallel", "GPipe"."""
    return STRATEGY_NAMES.get(strategy, strategy)


def label(network: str, depth: int, n_subnetworks: int, strategy: str) -> str:
    """Name a network as the paper's Table 1 does, N spelt out: "Parareal ResNet-56, N = 3".

    A torn network is a parareal one also where a single process has trained it (strategy "serial").
    """
    name = network_name(network, depth)
    if pd.isna(n_subnetworks) or n_subnetworks == 1:
        return name
    kind = strategy_name("parareal" if strategy == "serial" else strategy)
    return f"{kind[0].upper()}{kind[1:]} {name}, N = {n_subnetworks}"


def in_words(column: str, value: Any) -> str:
    """Say a config value in a word or two; nothing where it is missing."""
    name = HEADINGS.get(column, column.replace("_", " "))
    if pd.isna(value):
        return ""
    if isinstance(value, bool):
        return name if value else f"no {name}"
    if column in (*SWITCHES, "initial"):
        return f"{name} {value}"
    if isinstance(value, str) and not value.replace(" ", "").isdigit():
        return strategy_name(value)
    return f"{name} = {value}" if column in HEADINGS else f"{name} {value}"


def _number(trials: pd.DataFrame, columns: list[str]) -> pd.Series:
    """Number the distinct values of the columns together: by those that vary, since each takes its time."""
    apart = [column for column in columns if len(trials[column].unique()) > 1]
    return trials.groupby(apart or columns[:1], dropna=False, sort=False).ngroup()


def _has_effect(trials: pd.DataFrame, column: str) -> pd.Series:
    """Tell in which rows a config value makes a difference."""
    torn = trials["n_subnetworks"] != 1
    if column in AT_CUTS:
        return torn & ~trials["strategy"].isin(UNTORN)
    if column in CUTS:
        return torn & (trials["strategy"] != "data_parallel")
    return torn | (column not in TEARING)
