"""Is it worth it for this network? What tearing buys in speed, beside what it does to the error."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.chart import MARKERS, Chart, Panel, finish, shade
from analysis.configuration import UNTORN, identify, network_name, one_row_each, timed_families, variants
from analysis.measure import COLUMNS, Measure, measure_of
from analysis.steps import UNFELT, device_names, identified_steps
from analysis.tables import table1

MAX_NETWORKS = 3

ERROR = ["difference", "ci_low", "ci_high", "n", *COLUMNS]
SPEED_UPS: dict[str, tuple[str, dict[str, Any]]] = {
    "path": ("critical path (virtual)", {}),
    "measured": ("measured", {"markerfacecolor": "white"}),
}
"""Columns, whose quartiles are <it>_low and <it>_high: what they are called and how they look."""

LINE: dict[str, Any] = {"color": "0.6", "linewidth": 0.6}

Family = tuple[str, pd.DataFrame, list[str]]
"""Title, rows and columns of tearing, as `analysis.configuration.timed_families` yields them."""


def trade_off(trials: pd.DataFrame, epochs: pd.DataFrame, timings: pd.DataFrame) -> pd.DataFrame:
    """Speed-up and error of every torn network against N = 1, one row per configuration and device.

    The measured speed-up is that of steps measured in turns, where there were such rounds; else that of
    the trials' own training steps, by their medians.

    Returns:
        Columns: dataset, network, depth, label, n_subnetworks, n_coarse_units, every other config value
        that varies, strategy, device, batch_size; difference, ci_low, ci_high, n, metric, unit and better
        as in `analysis.tables.table1`; path, path_low and path_high: speed-up on the critical path and its
        quartiles; measured, measured_low and measured_high: the measured one's; in_turns: whether that
        was in turns; devices and cores: of a trial of it. What is not known is missing.
    """
    keys = identify(trials, ignore=UNFELT).set_index("trial_id")
    timed = trials["trial_id"].map(keys["configuration"])
    trained = trials["epochs"].ne(0).fillna(value=False).astype(bool)
    # A trial of 0 epochs lends its times to those that trained the same network.
    rows, columns = one_row_each(identify(trials[trained | ~timed.isin(timed[trained])]))
    rows = rows[rows["torn"]].reset_index(drop=True)
    shown = [column for column in columns if column not in ("strategy", "batch_size")]
    shown += ["strategy", "device", "batch_size", *ERROR]
    shown += [f"{measure}{end}" for measure in SPEED_UPS for end in ("", "_low", "_high")]
    shown += ["in_turns", "devices", "cores"]
    if rows.empty:
        return rows.reindex(columns=shown)
    rows["timed"] = rows["trial_id"].map(keys["configuration"]).astype(int)
    rows["kind"] = device_names(rows, timings)
    rows = rows.drop(columns=list(COLUMNS), errors="ignore")
    rows = rows.join(_errors(trials[trained], epochs), on="trial_id")

    rows = rows.merge(_speed_ups(trials, epochs, timings, keys), on="timed", how="left")
    rows["device"] = rows["device"].fillna(rows["kind"]).fillna("unknown device")
    rows["in_turns"] = rows["turns"].notna()
    # One process that computes all subnetworks one after the other measures nothing of what tearing buys.
    rows.loc[rows["strategy"] == "serial", ["step", "step_low", "step_high"]] = float("nan")
    for end in ("", "_low", "_high"):
        rows[f"measured{end}"] = rows[f"turns{end}"].where(rows["in_turns"], rows[f"step{end}"])
    known = rows[["path", "measured", "difference"]].notna().any(axis="columns")
    return rows.loc[known, shown].reset_index(drop=True)


def sentences(table: pd.DataFrame) -> list[str]:
    """Answer in a sentence for each network, the best known first, with other strategies beside.

    Args:
        table: what `trade_off` returned.
    """
    families = _families(table)
    answers = []
    for title, rows, tearing in families:
        torn = rows[~rows["strategy"].isin(UNTORN)]
        said = [_answer(_name(title, torn.iloc[0], families), torn, tearing)] if len(torn) else []
        for _, others in rows[rows["strategy"].isin(UNTORN)].groupby("strategy", sort=False):
            best = _best(others)
            said.append(f"{best['label']}: {_facts(best, others)}.")
        answers.append(" ".join(said))
    return answers


def worth_it(table: pd.DataFrame) -> Chart:
    """Difference of the error against speed-up, both over N = 1.

    One panel per network, data set and whatever else is not to be compared, `MAX_NETWORKS` at most. In it
    each N has a filled marker at its speed-up on the critical path and a white one at the measured one,
    with bars from quartile to quartile, and the error's 95 % interval upright.

    Args:
        table: what `trade_off` returned.
    """
    panels = [
        Panel(title, partial(_draw, rows=rows[drawn], tearing=tearing))
        for title, rows, tearing in _families(table)
        if (drawn := rows["difference"].notna() & rows[list(SPEED_UPS)].notna().any(axis="columns")).any()
    ]
    if not panels:
        return Chart([], "This takes errors and steps of N = 1 and of another N.")
    return Chart(
        panels,
        "To the right: shorter steps; downwards: smaller errors. Critical path: virtual, with a device for "
        "every actor; measured: on the devices there were. Bars: from quartile to quartile; upright: Welch's "
        "95 % interval, from two seeds on.",
    )


def _errors(trained: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    """The differences to N = 1, by the first trial of each configuration."""
    rows, _ = one_row_each(identify(trained))
    # Table 1 has a row for each of these, in this order.
    return table1(trained, epochs)[ERROR].set_axis(rows["trial_id"])


def _speed_ups(
    trials: pd.DataFrame, epochs: pd.DataFrame, timings: pd.DataFrame, keys: pd.DataFrame
) -> pd.DataFrame:
    """All speed-ups with their quartiles, by configuration and device."""
    there = [_predicted_and_trained(identified_steps(trials, epochs, timings)), _in_turns(keys, timings)]
    where: dict[str, Any] = {"timed": int, "device": object}  # without a row they would be of any type
    one, other = (frame.astype(where) for frame in there)
    return one.merge(other, on=list(where), how="outer")


def _predicted_and_trained(steps: pd.DataFrame) -> pd.DataFrame:
    """Speed-ups on the critical path and of training steps, by configuration and device."""
    table = steps[["configuration", "device"]].rename(columns={"configuration": "timed"})
    for measure, name in (("critical_path", "path"), ("step", "step")):
        speed_up, median = steps[f"{measure}_speed_up"], steps[measure]
        table[name] = speed_up
        table[f"{name}_low"] = speed_up * median / steps[f"{measure}_high"]
        table[f"{name}_high"] = speed_up * median / steps[f"{measure}_low"]
    return table


def _in_turns(keys: pd.DataFrame, timings: pd.DataFrame) -> pd.DataFrame:
    """Speed-ups of steps measured in turns: median and quartiles over the rounds.

    What else a machine does slows all that is measured in a round alike, so ratios are formed within it.

    Args:
        keys: configuration and family by trial.
        timings: frame of the store.
    """
    rounds = timings[(timings["mode"] == "turns") & (timings["component"] == "step")]
    rounds = rounds.join(keys[["configuration", "family", "n_subnetworks"]], on="trial_id")
    rounds = rounds.rename(columns={"configuration": "timed"})
    within = [rounds[column] for column in ("family", "device", "batch_size", "repeat")]
    serial = rounds["seconds"].where(rounds["n_subnetworks"] == 1).groupby(within).transform("median")
    ratios = (serial / rounds["seconds"]).groupby([rounds["timed"], rounds["device"]])
    several = ratios.count() > 1
    low, high = (ratios.quantile(q).where(several) for q in (0.25, 0.75))
    return pd.DataFrame({"turns": ratios.median(), "turns_low": low, "turns_high": high}).reset_index()


def _families(table: pd.DataFrame) -> list[Family]:
    """The networks of which most is known, `MAX_NETWORKS` at most."""

    def known(family: Family) -> int:
        rows = family[1]
        values = rows[["path", "measured", "difference", "ci_low"]].notna().to_numpy().sum()
        return int(values + rows["in_turns"].sum())

    return sorted(timed_families(table), key=known, reverse=True)[:MAX_NETWORKS]


def _name(title: str, row: pd.Series, families: Sequence[Family]) -> str:
    """Name a network so far that it is told from the others."""
    what, how = title.split("\n")
    if len(families) == 1:
        return network_name(row["network"], row["depth"])
    alike = sum(other.startswith(f"{what}\n") for other, *_ in families)
    return f"{what} ({how})" if alike > 1 else what


def _answer(name: str, rows: pd.DataFrame, tearing: list[str]) -> str:
    """Say what the best way to tear a network brings."""
    best = _best(rows)
    way, members = next(one for one in variants(rows, tearing) if best.name in one[1].index)
    torn = f"{name} torn into {best['n_subnetworks']}" + f" ({way})" * bool(way)
    return f"{torn}: {_facts(best, members)}."


def _best(rows: pd.DataFrame) -> pd.Series:
    """The row with the largest speed-up whose error is known too; without speed-ups, the smallest error."""
    for measure in SPEED_UPS:
        rated = rows.dropna(subset=measure)
        if len(rated):
            whole = rated.dropna(subset="difference")
            rated = whole if len(whole) else rated
            return rated.iloc[int(rated[measure].argmax())]
    higher = rows["better"].iloc[0] == "higher"
    return rows.iloc[int(rows["difference"].argmax() if higher else rows["difference"].argmin())]


def _facts(best: pd.Series, alike: pd.DataFrame) -> str:
    """Say how much faster steps are, and how much larger errors."""
    facts = []
    if pd.notna(best["path"]):
        facts.append(f"steps {_number(best['path'])} times as fast on its critical path")
    measured = alike.dropna(subset="measured")
    if measured["in_turns"].any():  # what else the machine did is in none of these
        measured = measured[measured["in_turns"]]
    if len(measured):
        fastest = measured.iloc[int(measured["measured"].argmax())]
        clock = f"measured {'in turns' if fastest['in_turns'] else 'while training'}{_where(fastest)}"
        if fastest["n_subnetworks"] != best["n_subnetworks"]:
            clock += f" at N = {fastest['n_subnetworks']}"
        times = f"{_number(fastest['measured'])} times"
        spread = ""
        if pd.notna(fastest["measured_low"]):
            spread = f", {_number(fastest['measured_low'])} to {_number(fastest['measured_high'])}"
        facts = [
            f"{facts[0]} ({clock}: {times}{spread})" if facts else f"steps {times} as fast ({clock}{spread})"
        ]
    if pd.notna(best["difference"]):
        interval = [_difference(best, best[end], sign="+").replace("-", "−") for end in ("ci_low", "ci_high")]
        n = f"n = {best['n']}"
        known = f"{' to '.join(interval)}, {n}" if pd.notna(best["ci_low"]) else n
        size = _difference(best, abs(best["difference"]))
        way = "lower" if best["difference"] < 0 else "higher"
        measure = Measure(best["metric"], best["unit"], best["better"])
        same = size.strip("0.") == ""
        amount = "the same" if same else f"{size} {measure.of_difference}".strip() + f" {way}"
        what = "errors" if measure.metric == "error" else measure.metric
        facts.append(f"{what} {amount} ({known})")
    return ", ".join(facts)


def _difference(row: pd.Series, value: float, *, sign: str = "") -> str:
    """A difference of percentages to a tenth, of others to three digits."""
    return format(value, f"{sign}.1f" if row["unit"] == "%" else f"{sign}.3g")


def _where(row: pd.Series) -> str:
    """Name what a trial was trained on: " on 2 cores", " on 4 GPUs"; nothing where it is not known."""
    number, _, kind = str(row["devices"]).partition(" ")
    if kind == "cuda":
        return f" on {number} GPU{'s' * (number != '1')}"
    if kind != "cpu" or pd.isna(row["cores"]):
        return ""
    return f" on {row['cores']:.2g} core{'' if row['cores'] == 1 else 's'}"


def _number(speed_up: float) -> str:
    return f"{speed_up:.1f}" if speed_up >= 0.95 else f"{speed_up:.2f}"


def _draw(axes: Axes, rows: pd.DataFrame, tearing: list[str]) -> None:
    """Draw one panel; ``tearing`` are the columns that tell how a network is torn and trained."""
    axes.axhline(0, **LINE)
    axes.axvline(1, **LINE)
    ways = list(variants(rows, tearing))
    legend: dict[str, dict[str, Any]] = {}
    for measure, (name, style) in SPEED_UPS.items():
        if rows[measure].notna().any():
            legend[name] = {"color": "0.3", "marker": "o", "linestyle": "none"} | style
    for place, (name, members) in enumerate(ways):
        look = {
            "color": shade(place, len(ways)),
            "marker": MARKERS[place % len(MARKERS)],
            "linestyle": "none",
        }
        for _, row in members.iterrows():
            _draw_row(axes, row, look)
        if name:
            legend[name] = look
    errors = measure_of(rows)
    unit = f" ({errors.of_difference})" if errors.of_difference else ""
    what = errors.metric[:1].upper() + errors.metric[1:]
    axes.set(xlabel="Speed-up of a step over N = 1", ylabel=f"{what} minus that of N = 1{unit}")
    axes.set_xlim(left=0, right=1.12 * max(1.0, axes.dataLim.xmax))
    finish(axes, (Line2D([], [], **style) for style in legend.values()), legend)


def _draw_row(axes: Axes, row: pd.Series, look: dict[str, Any]) -> None:
    """Draw one N: its speed-ups on one level, and the interval of its error."""
    known = list(_known_speed_ups(row))
    error = row["difference"]
    first = known[0][0]
    if pd.notna(row["ci_low"]):
        axes.vlines(first, row["ci_low"], row["ci_high"], color=look["color"], linewidth=1)
    axes.plot([x for x, *_ in known], [error] * len(known), color=look["color"], linewidth=0.6, linestyle=":")
    for x, low, high, style in known:
        bars = None if pd.isna(low) else [[x - low], [high - x]]
        axes.errorbar(x, error, xerr=bars, capsize=2, markersize=6, linewidth=1.2, **look | style)
    axes.annotate(
        f"N = {row['n_subnetworks']}",
        (first, error),
        (5, 5),
        textcoords="offset points",
        fontsize="small",
        color=look["color"],
        bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.5},
    )


def _known_speed_ups(row: pd.Series) -> Iterator[tuple[float, float, float, dict[str, Any]]]:
    """Value, quartiles and looks of each speed-up that there is."""
    for measure, (_, style) in SPEED_UPS.items():
        if pd.notna(row[measure]):
            yield row[measure], row[f"{measure}_low"], row[f"{measure}_high"], style
