"""Speed-up over N = 1 against N: by the paper's sum, on the critical path, and by the clock."""

from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis import published
from analysis.chart import MARKERS, N_AXIS, Chart, Panel, finish, shade
from analysis.configuration import timed_families, variants
from analysis.legible import MAX_PANELS, left_out

MEASURES: dict[str, tuple[str, dict[str, Any]]] = {
    "paper_sum": ("paper's sum (virtual)", {"linestyle": ":", "markerfacecolor": "white"}),
    "critical_path": ("critical path (virtual)", {"linestyle": "-"}),
    "step": ("measured", {"linestyle": "--", "markeredgecolor": "black"}),
}
"""By column of `analysis.steps.steps`: what its lines are called and how they look."""

PUBLISHED: dict[str, Any] = {"color": "0.4", "linestyle": "none", "marker": "*", "markersize": 9}
IDEAL: dict[str, Any] = {"color": "0.6", "linestyle": "-", "linewidth": 0.6}


def speed_up(steps: pd.DataFrame) -> Chart:
    """Speed-up of a training step over N = 1 against N.

    One panel per network, data set, device, batch size and further config value that varies. In it,
    for each way to tear and to train the network, a line for each of `MEASURES` that there is, with
    bars from quartile to quartile; the ideal, N; and the paper's values beside its own network.

    Args:
        steps: what `analysis.steps.steps` returned.
    """
    known = steps[[f"{measure}_speed_up" for measure in MEASURES]].notna().any(axis="columns")
    steps = steps[known | (steps["n_subnetworks"] == 1)]
    panels = [
        Panel(title, partial(_draw, rows=rows, tearing=tearing))
        for title, rows, tearing in timed_families(steps)
        if (rows["n_subnetworks"] != 1).any()
    ]
    if not panels:
        return Chart([], "A speed-up takes steps at N = 1 and at another N, trained or timed.")
    note = "Medians; bars: from quartile to quartile."
    return Chart(panels[:MAX_PANELS], note + left_out(len(panels)))


def _draw(axes: Axes, rows: pd.DataFrame, tearing: list[str]) -> None:
    """Draw one panel; ``tearing`` are the columns that tell how a network is torn and trained."""
    ways = list(variants(rows, tearing))
    lines: dict[str, dict[str, Any]] = {}
    markers: dict[str, dict[str, Any]] = {}
    for place, (name, members) in enumerate(ways):
        look = {"color": shade(place, len(ways)), "marker": MARKERS[place % len(MARKERS)]}
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
    axes.set(xlabel=N_AXIS, ylabel="Speed-up over N = 1", xlim=(0, 1.04 * most), ylim=(0, 1.06 * top))
    axes.set_xticks(sorted(ticks))
    finish(axes, (Line2D([], [], **style) for style in legend.values()), legend)
