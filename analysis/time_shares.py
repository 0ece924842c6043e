"""Where the time of one gradient goes: Table 2 as stacked bars."""

from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from analysis.chart import N_AXIS, Chart, Panel, finish
from analysis.configuration import heading, timed_families, variants
from analysis.legible import MAX_PANELS, left_out

SHARES: dict[str, dict[str, Any]] = {
    "preprocessing": {"color": "#d55e00", "hatch": "//"},
    "parallel_subnetworks": {"color": "#0072b2"},
    "coarse_network": {"color": "#e69f00", "hatch": ".."},
    "postprocessing": {"color": "#009e73", "hatch": "xx"},
}
"""By column of Table 2, from the bottom; the colours are Okabe and Ito's."""


def time_shares(table2: pd.DataFrame) -> Chart:
    """Virtual wall-clock time of one gradient, by component, for each N.

    One panel per network, data set, device, batch size, further config value that varies, and way to
    tear the network; one bar per N, N = 1 in every panel. The bars stack medians; the thin bar on top
    leads from quartile to quartile of the total, with its speed-up over N = 1 above.

    Args:
        table2: what `analysis.tables.table2` returned.
    """
    panels = [
        Panel(f"{title}\n{name}".strip(), partial(_draw, rows=rows))
        for title, family, tearing in timed_families(table2)
        for name, rows in variants(family, tearing)
    ]
    if not panels:
        return Chart([], "No gradient has been timed yet.")
    note = "Medians; thin bars: quartiles of the total; above them: speed-up over N = 1."
    return Chart(panels[:MAX_PANELS], note + left_out(len(panels)))


def _draw(axes: Axes, rows: pd.DataFrame) -> None:
    unit, scale = ("s", 1.0) if rows["total"].max() >= 10 else ("ms", 1e3)
    n = rows["n_subnetworks"].astype(str)
    base = pd.Series(0.0, index=rows.index)
    for column, style in SHARES.items():
        seconds = scale * rows[column].fillna(0.0)
        bars = axes.bar(n, seconds, 0.62, base, edgecolor="black", linewidth=0.5, **style)
        bars.set_label(heading(column))
        base += seconds
    total = scale * rows["total"]
    spread = [total - scale * rows["total_low"], scale * rows["total_high"] - total]
    axes.errorbar(n, total, spread, color="black", linestyle="none", capsize=3, linewidth=1.2)
    for place, (high, speed_up) in enumerate(zip(scale * rows["total_high"], rows["speed_up"], strict=True)):
        if pd.notna(speed_up):
            axes.annotate(
                *(f"{speed_up:.2f}×", (place, high)),
                xytext=(0, 4),
                textcoords="offset points",
                ha="center",
                fontsize="small",
            )
    axes.margins(y=0.1)
    axes.set(xlabel=N_AXIS, ylabel=f"Time of one gradient ({unit})")
    handles, labels = axes.get_legend_handles_labels()
    finish(axes, handles[::-1], labels[::-1])  # as they are stacked
