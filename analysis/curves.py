"""Validation error against epoch (Figure 3 of the paper), and against training time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from analysis.chart import MARKERS, Chart, Panel, finish, shade
from analysis.configuration import (
    FOLLOWS_N,
    TEARING,
    dataset_name,
    heading,
    identify,
    in_words,
    network_name,
    varying,
)
from analysis.legible import MAX_LINES, MAX_OPTIONS, MAX_PANELS, best, in_all, listed
from analysis.measure import Measure, measure_of
from analysis.time_to_error import UNITS, time_unit, with_elapsed

LINE_STYLES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)))
LOG_TICKS = (1, 1.5, 2, 3, 4, 5, 7)
N_MARKERS = 8
BAND_FROM = 3
"""Seeds from which a standard deviation says more than the single lines do."""
END_MARKERS = {"running": "o"}
"""What ends the line of a trial that did not finish, "x" where it is not listed."""
EPOCH = "Epoch"


_Group = tuple[str, str, pd.DataFrame]
"""Title, data set and trials of a panel."""


@dataclass(frozen=True)
class Curve:
    """The trials of one configuration, by epoch or by training time.

    Attributes:
        label: "N = 3 (5 seeds, 1 running)".
        key: N and whatever else tells the lines of a panel apart; decides the style.
        seeds: error (%) of the averaged trials, epochs × seeds.
        mean: mean over the seeds, as far as all of them have come.
        singles: status and error (%) of each trial that is drawn alone.
    """

    label: str
    key: tuple[Any, ...]
    seeds: pd.DataFrame
    mean: pd.Series
    singles: list[tuple[str, pd.Series]]


def figure3(trials: pd.DataFrame, epochs: pd.DataFrame) -> Chart:
    """Validation error (%) against epoch: Figure 3.

    One panel per data set, network and further config value that varies (N = 1 appears in every
    panel it is the baseline of; of many the ones that ended best), one line per N: the mean over the
    finished seeds, with a band of one standard deviation from three seeds on and thin single lines for
    two. Trials that are not finished are drawn alone and thin up to where they are. The axis shows the
    late epochs; what lies above is cut off.

    Args:
        trials: frame of the store.
        epochs: frame of the store.
    """
    return _chart(trials, epochs.dropna(subset="validation_error"), EPOCH)


def error_against_time(trials: pd.DataFrame, epochs: pd.DataFrame) -> Chart:
    """Validation error (%) against the time that training took so far, validation not counted.

    As `figure3`, but each epoch stands where it ended on the clock: the mean line at the mean over its
    trials, a single line at its own time.
    """
    epochs = with_elapsed(epochs.dropna(subset=["validation_error", "seconds"]))
    unit = time_unit(epochs["elapsed"].max())
    epochs["elapsed"] /= UNITS[unit]
    return _chart(trials, epochs, f"Training time ({unit})")


def _chart(trials: pd.DataFrame, epochs: pd.DataFrame, axis: str) -> Chart:
    """Errors against the column ``elapsed``, or against the epoch where there is none."""
    runs = identify(trials)
    runs = runs[runs["trial_id"].isin(epochs["trial_id"].unique())]
    if runs.empty:
        return Chart([], "No epoch has been recorded yet.")
    shown, n_panels = _groups(runs, _ends(runs, epochs))
    drawn_trials = {trial_id for _, _, members in shown for trial_id in members["trial_id"]}
    wide = partial(
        epochs[epochs["trial_id"].isin(drawn_trials)].pivot_table, index="epoch", columns="trial_id"
    )
    errors = wide(values="validation_error")
    elapsed = wide(values="elapsed") if "elapsed" in epochs else None
    groups = [
        (title, dataset, measure_of(members), list(_curves(members, errors, elapsed)))
        for title, dataset, members in shown
    ]
    drawn = [curve for *_, curves in groups for curve in curves]
    styles = _styles(drawn)
    panels = []
    for title, dataset, measure, curves in groups:
        comparable = [c for _, *other, rest in groups if other == [dataset, measure] for c in rest]
        panels.append(Panel(title, _painter(curves, comparable, styles, axis, measure)))
    return Chart(panels, _note(drawn) + in_all(len(shown), n_panels, "panels"))


def _ends(runs: pd.DataFrame, epochs: pd.DataFrame) -> pd.Series:
    """The error that each trial ended at, the smaller the better it is."""
    last = epochs.loc[epochs.groupby("trial_id")["epoch"].idxmax()].set_index("trial_id")["validation_error"]
    ends = runs["trial_id"].map(last)
    return ends.mask(runs["better"] == "higher", -ends) if "better" in runs else ends


def _painter(
    curves: list[Curve],
    comparable: list[Curve],
    styles: dict[tuple[Any, ...], dict[str, Any]],
    axis: str,
    measure: Measure,
) -> Callable[[Axes], None]:
    """What draws one panel, with the limits of all comparable ones."""

    def draw(axes: Axes) -> None:
        _set_axes(axes, comparable, axis, measure)
        for curve in curves:
            _draw(axes, curve, styles[curve.key])
        if axis != EPOCH:
            axes.set_xlim(left=0)
        finish(axes, *axes.get_legend_handles_labels())

    return draw


def _groups(runs: pd.DataFrame, ends: pd.Series) -> tuple[list[_Group], int]:
    """The panels, those alone that ended best where they are many, and how many there are.

    What differs in more than N stands apart.
    """
    keys = ["dataset", "network", "depth", *(c for c in varying(runs) if c not in FOLLOWS_N)]
    shared = [key for key in keys if key not in TEARING]
    torn = runs["n_subnetworks"] != 1
    group = runs.groupby(keys, dropna=False).ngroup()
    baseline = runs.groupby(shared, dropna=False).ngroup()
    heads = runs[torn | ~baseline.isin(baseline[torn])].sort_values(keys).drop_duplicates(keys)
    n_panels, shown = len(heads), []
    for head in heads.index[best(ends.groupby(group).min()[group[heads.index]], MAX_PANELS)]:
        values = runs.loc[head]
        dataset = dataset_name(values["dataset"])
        title = f"{network_name(values['network'], values['depth'])} on {dataset}"
        extras = [in_words(k, values[k]) for k in keys[3:] if pd.notna(values[k])]
        members = runs[(group == group[head]) | (~torn & (baseline == baseline[head]))]
        shown.append(("\n".join([title, listed(extras, MAX_OPTIONS)]).strip(), dataset, members))
    return shown, n_panels


def _curves(members: pd.DataFrame, errors: pd.DataFrame, elapsed: pd.DataFrame | None) -> Iterator[Curve]:
    """The lines of one panel, N ascending: as many as can be told apart."""
    variants = [c for c in varying(members) if c in FOLLOWS_N]
    members = members.sort_values(["n_subnetworks", *variants, "trial_id"])
    for _, trials in list(members.groupby("configuration", sort=False))[:MAX_LINES]:
        first = trials.iloc[0]
        by_status = dict(list(trials.groupby("status")))
        averaged = by_status.get("finished", by_status.get("running", trials))
        by_trial = errors[averaged["trial_id"]]
        seeds = by_trial.T.groupby(averaged.set_index("trial_id")["seed"], dropna=False).mean().T
        alone = trials[trials["status"] != "finished"]
        counts = alone["status"].value_counts()
        notes = [f"{count} {status}" for status, count in counts.items()]
        if "finished" in by_status:
            n = seeds.shape[1]
            notes = [f"{n} seed{'s' * (n > 1)}", *notes]
            if 1 < n < BAND_FROM:
                alone = trials
        named = [f"N = {first['n_subnetworks']}"]
        named += [f"{heading(c)} = {first[c]}" for c in variants if pd.notna(first[c])]
        mean = seeds.dropna().mean(axis="columns")
        singles = [
            (status, errors[trial_id].dropna())
            for trial_id, status in zip(
                alone["trial_id"][:MAX_LINES], alone["status"][:MAX_LINES], strict=True
            )
        ]
        if elapsed is not None:
            clock = elapsed[averaged["trial_id"]].mean(axis="columns")
            mean, seeds = mean.set_axis(clock[mean.index]), seeds.set_axis(clock[seeds.index])
            singles = [(status, one.set_axis(elapsed.loc[one.index, one.name])) for status, one in singles]
        yield Curve(
            label=f"{', '.join(named)} ({', '.join(notes)})",
            key=(first["n_subnetworks"], *(str(first[c]) for c in variants)),
            seeds=seeds,
            mean=mean,
            singles=singles,
        )


def _styles(curves: list[Curve]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Colour by N (dark to light, for colour-blind readers too); dashes and marker by line.

    ``markevery`` is a fraction of the distance between two markers, so that lines that coincide
    show their markers in turn.
    """
    keys = sorted({curve.key for curve in curves})
    numbers = sorted({key[0] for key in keys})
    return {
        key: {
            "color": shade(numbers.index(key[0]), len(numbers)),
            "linestyle": LINE_STYLES[place % len(LINE_STYLES)],
            "marker": MARKERS[place % len(MARKERS)],
            "linewidth": 1.4,
            "markersize": 5,
            "markeredgecolor": "white",
            "markeredgewidth": 0.5,
            "markevery": place / len(keys),
        }
        for place, key in enumerate(keys)
    }


def _draw(axes: Axes, curve: Curve, style: dict[str, Any]) -> None:
    """Draw into axes whose limits are set."""
    color, top = style["color"], axes.get_ylim()[1]
    for status, errors in curve.singles:
        axes.plot(errors.index, errors, color=color, linewidth=0.6, alpha=0.8)
        if status != "finished":
            end: dict[str, Any] = {"marker": END_MARKERS.get(status, "x"), "markerfacecolor": "none"}
            at = errors.iloc[-1:].clip(upper=top)
            axes.plot(at.index, at, color=color, linestyle="none", clip_on=False, **end)
    if curve.seeds.shape[1] >= BAND_FROM:
        spread = curve.seeds.loc[curve.mean.index].std(axis="columns")
        low, high = curve.mean - spread, curve.mean + spread
        axes.fill_between(curve.mean.index, low, high, color=color, alpha=0.15, linewidth=0)
    every = max(len(curve.mean) // N_MARKERS, 1)
    staggered = {**style, "markevery": (int(every * style["markevery"]), every)}
    axes.plot(curve.mean.index, curve.mean, label=curve.label, **staggered)


def _set_axes(axes: Axes, curves: list[Curve], axis: str, measure: Measure) -> None:
    """Choose limits by what comes after the first quarter of each of ``curves``."""
    late = [curve.mean.iloc[len(curve.mean) // 4 :] for curve in curves]
    axes.set_xlabel(axis)
    axes.set_ylabel(f"Validation {measure.title}")
    if axis == EPOCH:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if measure.better == "higher":
        worst = min(float(values.quantile(0.15)) for values in late)
        best = max(float(curve.seeds.max().max()) for curve in curves)
        axes.set_ylim(worst - 0.25 * (best - worst), best + 0.03 * (best - worst))
        return
    top = 1.25 * max(float(errors.quantile(0.85)) for errors in late)
    bottom = min(float(curve.seeds.min().min()) for curve in curves)
    if bottom > 0:
        axes.set(yscale="log", ylim=(0.92 * bottom, top))
        wide = top / bottom > 3
        axes.yaxis.set_major_locator(LogLocator(subs=LOG_TICKS) if wide else MaxNLocator(6))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
    else:  # a perfect epoch has no logarithm
        axes.set_ylim(-0.03 * top, top)


def _note(curves: list[Curve]) -> str:
    """Explain what is drawn, and only that."""
    statuses = {status for curve in curves for status, _ in curve.singles}
    notes = ["Mean over seeds"]
    if any(curve.seeds.shape[1] >= BAND_FROM for curve in curves):
        notes.append("band: ± 1 standard deviation")
    if statuses:
        notes.append("thin: single trials")
    if "running" in statuses:
        notes.append("○: still running")
    if statuses - {"finished", "running"}:
        notes.append("×: diverged or failed")
    return "; ".join(notes) + "."
