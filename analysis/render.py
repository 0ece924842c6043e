"""The tables of the report as text."""

from collections.abc import Callable, Iterable

import pandas as pd

from analysis import published
from analysis.configuration import (
    HEADINGS,
    TEARING,
    dataset_name,
    heading,
    identify,
    network_name,
    one_row_each,
    strategy_name,
)
from analysis.legible import MAX_OPTIONS, MAX_ROWS, best, in_all, telling
from analysis.measure import COLUMNS, SEVERAL, Measure, measure_of
from analysis.summary import BLIND
from analysis.text_table import MISSING, NOT_REACHED, TextTable
from analysis.time_to_error import UNITS, time_unit

HOPELESS = "hopeless: C^j shows the same of all samples, --preprocess auto does not"

REACHED = ["seconds", "epoch", "reached", "n", "first"]

STEP_COLUMNS = {"paper_sum": "Paper's sum", "critical_path": "Critical path", "step": "Measured"}


def text_table1(table: pd.DataFrame) -> TextTable:
    """Render `analysis.tables.table1`; columns without any value are left out, and of many rows the worse."""
    n_rows, described = len(table), table.columns[: table.columns.get_loc("error")]
    table = table[best(table["error"].where(table["better"] != "higher", -table["error"]), MAX_ROWS)]
    cells = _texts(table, described.drop(["network", "depth", "n_subnetworks"]))
    datasets = table["dataset"].unique()
    spare = _redundant(cells, "N_c", "Strategy", *(["Data set"] if len(datasets) == 1 else []))
    measure = measure_of(table)
    number = _number if measure.unit == "%" else _significant
    if measure == SEVERAL:
        cells["Metric"] = [
            f"{metric} ({unit})" if unit else metric
            for metric, unit in zip(table["metric"], table["unit"], strict=True)
        ]
    title = measure.title[:1].upper() + measure.title[1:]
    cells[title if measure != SEVERAL else "Value"] = [
        number(mean) if pd.isna(std) else f"{number(mean)} ± {number(std)}"
        for mean, std in zip(table["error"], table["std"], strict=True)
    ]
    cells[f"Test {measure.title}"] = [
        number(mean) if pd.isna(std) else f"{number(mean)} ± {number(std)}"
        for mean, std in zip(table["test_error"], table["test_std"], strict=True)
    ]
    cells["Seeds"] = table["n"].astype(str)
    cells["Published (%)"] = _numbers(table["published"])
    cells["Difference to N = 1"] = [
        _interval(*row, number=number)
        for row in table[["difference", "ci_low", "ci_high"]].itertuples(index=False)
    ]
    others = table.loc[:, "running":].astype(str)
    cells["Not in the mean"] = [
        ", ".join(f"{count} {status}" for status, count in row.items() if count != "0")
        for row in others.to_dict("records")
    ]
    where = f" on {dataset_name(datasets[0])}" if len(datasets) == 1 else ""
    note = (
        f"Validation {measure.title}{where} after the last epoch: mean ± standard deviation over the seeds "
        "that finished."
        if len(table)
        else "No trial has been started yet."
    )
    if table["difference"].notna().any():
        unit = f"in {measure.of_difference}; " if measure.of_difference else ""
        note += f" Difference: {unit}in brackets Welch's 95 % confidence interval, from two seeds on."
    if table["test_error"].notna().any():
        note += " Test: measured once, after the last epoch, on samples that nothing was chosen by."
    if table["published"].notna().any():
        note += f" Published: {published.SOURCE}, Table 1; number of seeds and spread not given."
    elif len(table):
        note += " Nothing here is comparable to the paper's ResNet-1001 on CIFAR-10 and CIFAR-100."
    note += _unnamed(described, "table1.csv")
    note += in_all(len(table), n_rows, "configurations", "; table1.csv has all")
    return _table("Table 1", "Error rates" if measure.metric == "error" else title, cells, note, spare)


def text_table2(table: pd.DataFrame) -> TextTable:
    """Render `analysis.tables.table2` in milliseconds; of many rows the largest speed-ups."""
    n_rows = len(table)
    table = table[best(-table["speed_up"], MAX_ROWS)]
    cells, where = _described(table)
    spare = [*_redundant(cells, "N_c"), "Postprocessing", "Preprocessing", "Published total"]
    for column in ["preprocessing", "parallel_subnetworks", "coarse_network", "postprocessing"]:
        cells[heading(column)] = _numbers(1e3 * table[column])
    cells["Total (IQR)"] = [
        f"{1e3 * total:.2f} ({1e3 * iqr:.2f})"
        for total, iqr in zip(table["total"], table["total_iqr"], strict=True)
    ]
    cells["Speed-up"] = _numbers(table["speed_up"])
    cells["Published total"] = _numbers(1e3 * table["published_total"])
    cells["Published speed-up"] = _numbers(table["published_speed_up"])
    repeats = " or ".join(map(str, sorted(table["repeats"].unique())))
    note = (
        f"Virtual wall-clock time of one gradient (forward and backward) in ms{where}"
        f". Median over {repeats} repeats and interquartile range (IQR); the slowest "
        "preprocessing and subnetwork count, and the whole coarse network."
        if len(table)
        else "No gradient has been timed yet."
    )
    if table["published_total"].notna().any():
        note += (
            f" Published: {published.SOURCE}, Table 2, batch of {published.BATCH_SIZE} on one "
            f"{published.DEVICE}: across devices and batches compare speed-ups, not times."
        )
    note += _unnamed(table.columns[: table.columns.get_loc("device")], "table2.csv")
    note += in_all(len(table), n_rows, "configurations", "; table2.csv has all")
    return _table("Table 2", "Gradient calculating time", cells, note, spare)


def text_cuts(trials: pd.DataFrame) -> TextTable:
    """Render what was known of the cuts before training, of each torn network over its seeds."""
    title = "What was known before training"
    if "variety" not in trials or trials["variety"].isna().all():
        return TextTable("Cuts", title, pd.DataFrame(), "Nothing is known of any cut.")
    runs = identify(trials.dropna(subset="variety"))
    rows, columns = one_row_each(runs)
    n_rows, least = len(rows), runs.groupby("configuration")["variety"].min().reindex(rows.index)
    rows, least = rows[shown := best(least, MAX_ROWS)], least[shown]
    cells = _texts(rows, [name for name in columns if name not in {"network", "depth", "n_subnetworks"}])
    cells["Variety"] = [_number(value, ".3f") for value in least]
    cells["Verdict"] = [HOPELESS if value < BLIND else "nothing against it" for value in least]
    note = (
        "Variety: how far C^j(x) with its initial weights differs from sample to sample, at the cut where it "
        "differs least: 0 where a subnetwork sees the same of all samples, at most 1. A larger one "
        "does not promise a smaller error."
    )
    if len(rows) < n_rows:
        note += f" Shown: the {len(rows)} of {n_rows:,} configurations with the smallest."
    return _table("Cuts", title, cells, note, _redundant(cells, "N_c", "Strategy"))


def text_steps(table: pd.DataFrame) -> TextTable:
    """Render `analysis.steps.steps` in milliseconds, or in seconds from ten on, and in megabytes.

    Of many rows it has the largest speed-ups.
    """
    n_rows, speed_ups = len(table), table[[f"{measure}_speed_up" for measure in STEP_COLUMNS]]
    table = table[best(-speed_ups.max(axis="columns"), MAX_ROWS)]
    cells, where = _described(table)
    redundant = _redundant(cells, "N_c")
    quartiles = {name: f"{name}: quartiles" for name in STEP_COLUMNS.values()}
    unit, scale = ("s", 1.0) if table[list(STEP_COLUMNS)].max().max() >= 10 else ("ms", 1e3)
    for measure, name in STEP_COLUMNS.items():
        cells[name] = [
            _short(scale * seconds) + (f" ({_short(speed_up)}×)" if pd.notna(speed_up) else "")
            for seconds, speed_up in zip(table[measure], table[f"{measure}_speed_up"], strict=True)
        ]
        cells[quartiles[name]] = [
            f"{_short(scale * low)} to {_short(scale * high)}" if pd.notna(low) else MISSING
            for low, high in zip(table[f"{measure}_low"], table[f"{measure}_high"], strict=True)
        ]
    cells["Sent"] = list(map(_short, table["bytes_sent"] / 1e6))
    cells["Peak"] = list(map(_short, table["peak_memory_bytes"] / 1e6))
    note = (
        f"One training step in {unit}{where}, medians; in brackets the speed-up over N = 1."
        if len(table)
        else "No step has been trained or timed yet."
    )
    if table["paper_sum"].notna().any():
        note += (
            " Paper's sum (Table 2's total) and critical path are virtual: what follows from components "
            "that ran alone on one device, the path with a device for every actor and communication for free."
        )
    if table["step"].notna().any():
        note += (
            " Measured: training steps of the trials on the devices there were, communication and waiting "
            "included. Sent: MB that all actors send in a step. Peak: MB of memory that training takes in "
            "the largest actor."
        )
    note += _unnamed(table.columns[: table.columns.get_loc("device")], "steps.csv")
    note += in_all(len(table), n_rows, "configurations", "; steps.csv has all")
    spare = [*quartiles.values(), *redundant, "Peak", "Sent"]
    return _table("Step times", "Predicted and measured", cells, note, spare)


def text_time_to_error(table: pd.DataFrame) -> TextTable:
    """Render `analysis.time_to_error.time_to_error`, a column per error, in one unit of time."""
    described = table.columns[: table.columns.get_loc("threshold")]
    rows = table.assign(row=table.groupby(list(described), dropna=False, sort=False).ngroup())
    n_rows = rows["row"].nunique()
    if n_rows > MAX_ROWS:  # where the hardest of the errors are reached, and then where soonest
        hardest = rows["threshold"].where(rows["better"] != "higher", -rows["threshold"])
        ranks = rows.assign(hardest=hardest.where(rows["reached"] > 0)).sort_values(["hardest", "seconds"])
        rows = rows[rows["row"].isin(ranks["row"].drop_duplicates().head(MAX_ROWS))]
        table = rows.drop(columns="row")
    cells = _texts(
        rows.drop_duplicates("row").set_index("row"),
        described.drop(["network", "depth", "n_subnetworks"]),
    )
    unit = time_unit(table["seconds"].max())
    asked = table.dropna(subset="threshold").sort_values("threshold", ascending=False)
    for *kind, threshold in asked[[*COLUMNS, "threshold"]].drop_duplicates().itertuples(index=False):
        measure = Measure(*kind)
        same = (rows[list(COLUMNS)] == kind).all(axis="columns") & (rows["threshold"] == threshold)
        at = rows[same].set_index("row")
        texts = [_reached(*row, unit=UNITS[unit]) for row in at[REACHED].itertuples(index=False)]
        sign = "≤" if measure.better == "lower" else "≥"
        name = f"{threshold:g} {measure.unit}".strip()
        what = "" if measure.metric == "error" else f"{measure.metric} "
        cells[f"{what}{sign} {name}"] = pd.Series(texts, at.index).reindex(cells.index, fill_value=MISSING)
    note = (
        f"Training time in {unit} and number of epochs until the validation {measure_of(table).title} was as "
        "good as that; medians over the trials that got there, each timed on the devices there were, "
        "validation not counted. First: all its trials got there, in the shortest time of all on this data "
        "set."
        if len(table)
        else "No epoch has been recorded yet."
    )
    note += _unnamed(described, "time_to_error.csv")
    note += in_all(len(cells), n_rows, "configurations", "; time_to_error.csv has all")
    return _table("Time to error", "Which N gets there first", cells, note, [])


def _described(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The columns that tell the rows of a table of times apart, and words for what all rows share."""
    what = {"network": "of", "dataset": "on", "device": "on", "batch_size": "with batches of"}
    table = table.assign(network=list(map(network_name, table["network"], table["depth"])))
    constant = [column for column in what if len(table[column].unique()) == 1]
    described = [*table.columns[: table.columns.get_loc("device")], "device", "batch_size"]
    words = (f" {what[column]} {_texts(table, [column]).iloc[0, 0]!s}" for column in constant)
    shown = [column for column in described if column not in {"label", "depth", *constant}]
    return _texts(table, shown), "".join(words)


def _texts(table: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """Columns as text; of options that differ the most telling ones."""
    columns = list(columns)
    if len(others := _options(columns)) > MAX_OPTIONS:
        left_out = {*others} - {*telling(table, others)}
        columns = [column for column in columns if column not in left_out]
    cells = pd.DataFrame(index=table.index)
    for column in columns:
        name = {"dataset": dataset_name, "strategy": strategy_name}.get(column, str)
        cells[heading(column)] = [MISSING if pd.isna(value) else name(value) for value in table[column]]
    return cells


def _options(columns: Iterable[str]) -> list[str]:
    """Those of the columns that may be left out, if they are many."""
    always = {*TEARING, *HEADINGS, "dataset", "network", "depth", "device", "batch_size"}
    return [column for column in columns if column not in always]


def _unnamed(columns: Iterable[str], file: str) -> str:
    """A sentence on options that have no column, after a blank; nothing where all have."""
    n = len(_options(columns))
    return f" Named: {MAX_OPTIONS} of {n} options that differ; {file} has all." if n > MAX_OPTIONS else ""


def _table(name: str, title: str, cells: pd.DataFrame, note: str, spare: Iterable[str]) -> TextTable:
    """The table without the columns that have no value."""
    if len(cells):
        cells = cells.loc[:, ~cells.isin([MISSING, ""]).all()]
    return TextTable(name, title, cells, note, [column for column in spare if column in cells])


def _redundant(cells: pd.DataFrame, *names: str) -> list[str]:
    """Those of the columns without which, one by one, the rows can still be told apart."""
    redundant: list[str] = []
    for name in names:
        if name in cells and not cells.drop(columns=[*redundant, name]).duplicated().any():
            redundant.append(name)
    return redundant


def _number(value: float, spec: str = ".2f", *, sign: str = "") -> str:
    spec = sign + spec
    return MISSING if pd.isna(value) else format(value, spec).replace("-", "−")


def _short(value: float) -> str:
    """Three digits, or all before the point where they are more."""
    if pd.isna(value):
        return MISSING
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def _reached(seconds: float, epoch: float, reached: int, n: int, first: bool, *, unit: float) -> str:
    """When an error was reached: "2 of 3: 1.25 (5 epochs)"."""
    if not reached:
        return NOT_REACHED
    some = f"{reached} of {n}: " if reached < n else ""
    return f"{some}{_short(seconds / unit)} ({epoch:g} epoch{'s' * (epoch > 1)})" + " first" * first


def _numbers(values: pd.Series) -> list[str]:
    return [_number(value) for value in values]


def _significant(value: float, *, sign: str = "") -> str:
    """Three digits, wherever the point is."""
    return _number(value, ".3g", sign=sign)


def _interval(difference: float, low: float, high: float, *, number: Callable[..., str]) -> str:
    text, low_text, high_text = (number(value, sign="+") for value in (difference, low, high))
    return text if pd.isna(low) else f"{text} [{low_text}, {high_text}]"
