"""Speed-up over N = 1 against N: by the paper's sum, on the critical path, and by the clock."""

import textwrap
from collections.abc import Iterator
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis import published
from analysis.configuration import TEARING, dataset_name, heading, network_name, strategy_name
from analysis.figures import MARKERS, MAX_COLUMNS, TITLE_WIDTH

MEASURES: dict[str, tuple[str, dict[str, Any]]] = {
    "paper_sum": ("paper's sum (virtual)", {"linestyle": ":", "markerfacecolor": "white"}),
    "critical_path": ("critical path (virtual)", {"linestyle": "-"}),
    "step": ("measured", {"linestyle": "--", "markeredgecolor": "black"}),
}
"""By column of `analysis.steps.steps`: what its lines are called and how they look."""

PUBLISHED: dict[str, Any] = {"color": "0.4", "linestyle": "none", "marker": "*", "markersize": 9}
IDEAL: dict[str, Any] = {"color": "0.6", "linestyle": "-", "linewidth": 0.6}


def speed_up(steps: pd.DataFrame) -> Figure:
    """Draw the speed-up of a training step over N = 1 against N.

    One panel per network, data set, device, batch size and further config value that varies. In it,
    for each way to tear and to train the network, a line for each of `MEASURES` that there is, with
    bars from quartile to quartile; the ideal, N; and the paper's values beside its own network.

    Args:
        steps: what `analysis.steps.steps` returned.
    """
    torn = steps[steps["n_subnetworks"] != 1]
    drawn = torn[[f"{measure}_speed_up" for measure in MEASURES]].notna().any(axis="columns")
    if not drawn.any():
        figure = Figure(figsize=(5, 1))
        note = "A speed-up takes steps at N = 1 and at another N, trained or timed."
        figure.text(0.5, 0.5, note, ha="center", va="center")
        return figure
    steps = pd.concat([steps[steps["n_subnetworks"] == 1], torn[drawn]])
    described = [*steps.columns[: steps.columns.get_loc("device")], "device", "batch_size"]
    shared = [c for c in described if c not in {*TEARING, "label", "n_subnetworks"}]
    tearing = [c for c in TEARING if c in described]
    panels = [(_title(rows, shared), rows) for _, rows in steps.groupby(shared, dropna=False)]
    panels = [(title, rows) for title, rows in panels if (rows["n_subnetworks"] != 1).any()]
    n_rows = -(-len(panels) // MAX_COLUMNS)
    n_columns = -(-len(panels) // n_rows)
    figure = Figure(figsize=(0.8 + 4.4 * n_columns, 0.3 + 4.2 * n_rows), layout="constrained")
    grid = figure.subplots(n_rows, n_columns, squeeze=False).flatten()
    for axes, (title, rows) in zip(grid, panels, strict=False):
        _draw(axes, rows, tearing)
        axes.set_title(title, fontsize="medium")
    for axes in grid[len(panels) :]:
        axes.remove()
    figure.supxlabel("Medians; bars: from quartile to quartile.", fontsize="small", color="0.3")
    return figure


def _title(rows: pd.DataFrame, shared: list[str]) -> str:
    """What all rows of a panel have in common."""
    values = rows.iloc[0]
    network = f"{network_name(values['network'], values['depth'])} on {dataset_name(values['dataset'])}"
    others = [c for c in shared if c not in {"dataset", "network", "depth", "device", "batch_size"}]
    how = [f"{values['device']}, batches of {values['batch_size']}"]
    how += [f"{heading(c)} = {values[c]}" for c in others if pd.notna(values[c])]
    return "\n".join(textwrap.fill(line, TITLE_WIDTH) for line in (network, ", ".join(how)))


def _draw(axes: Axes, rows: pd.DataFrame, columns: list[str]) -> None:
    """Draw one panel; ``columns`` tell how a network is torn and trained."""
    variants = list(_variants(rows, columns))
    palette = matplotlib.colormaps["viridis"]
    lines: dict[str, dict[str, Any]] = {}
    markers: dict[str, dict[str, Any]] = {}
    for place, (name, members) in enumerate(variants):
        look = {
            "color": palette(0.8 * place / max(len(variants) - 1, 1)),
            "marker": MARKERS[place % len(MARKERS)],
        }
        for measure, (title, style) in MEASURES.items():
            points = members.dropna(subset=f"{measure}_speed_up")
            if (points["n_subnetworks"] != 1).any():
                n, value = points["n_subnetworks"].astype(int), points[f"{measure}_speed_up"]
                low, high = (points[measure] / points[f"{measure}_{end}"] for end in ("high", "low"))
                bars = [value * (1 - low).fillna(0), value * (high - 1).fillna(0)]
                axes.errorbar(n, value, bars, capsize=2, markersize=5, linewidth=1.2, **look | style)
                lines[title] = {"color": "0.3"} | style
        if name:
            markers[name] = look | {"linestyle": "none"}
    ticks = set(rows["n_subnetworks"].astype(int))
    if rows["published_speed_up"].notna().any():
        paper = published.published_table2()
        ticks |= set(paper["n_subnetworks"].astype(int))
        axes.plot(paper["n_subnetworks"].astype(int), paper["speed_up"], **PUBLISHED)
        markers["paper's sum, published"] = PUBLISHED
    top, most = axes.dataLim.ymax, axes.dataLim.xmax
    axes.plot([0, most], [0, most], **IDEAL)
    lines = {title: lines[title] for title, _ in MEASURES.values() if title in lines}
    legend = lines | markers | {"ideal: N": IDEAL}
    axes.set(xlabel="N", ylabel="Speed-up over N = 1", xlim=(0, 1.04 * most), ylim=(0, 1.06 * top))
    axes.set_xticks(sorted(ticks))
    axes.grid(axis="y", linewidth=0.4, color="0.85")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        [Line2D([], [], **style) for style in legend.values()],
        list(legend),
        loc="upper center",
        bbox_to_anchor=(0.5, -0.14),
        ncols=2,
        fontsize="small",
        frameon=False,
        handlelength=3.2,
    )


def _variants(rows: pd.DataFrame, columns: list[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Name and rows of each way to tear and to train the network, with N = 1, N ascending.

    The name says what tells them apart: "staggered, shortcut"; it is empty where there is one alone.
    """
    serial, torn = rows[rows["n_subnetworks"] == 1], rows[rows["n_subnetworks"] != 1]
    columns = [c for c in columns if c != "n_coarse_units" and len(torn[c].unique()) > 1]
    if torn.duplicated([*columns, "n_subnetworks"]).any():  # then N_c does not follow from N
        columns.append("n_coarse_units")
    for _, members in torn.groupby(columns, dropna=False) if columns else [((), torn)]:
        known = members.iloc[0][columns].dropna().astype(str)
        name = [
            f"N_c = {value}" if c == "n_coarse_units" else strategy_name(value) for c, value in known.items()
        ]
        yield ", ".join(name), pd.concat([serial, members]).sort_values("n_subnetworks")
