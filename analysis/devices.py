"""The figure "what D devices buy": speed-up of a step against their number, for every way to use them."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

STYLES = {
    "data parallel": {"color": "C0", "linestyle": "--", "marker": "s"},
    "GPipe": {"color": "0.6", "linestyle": ":", "marker": "^"},
    "1F1B": {"color": "0.4", "linestyle": ":", "marker": "v"},
    "interleaved 1F1B": {"color": "0.2", "linestyle": ":", "marker": "D"},
}
COLORS = ("C2", "C3", "C1", "C4")
"""Of the kinds of C^j and F^j."""
LABELLED = (1, 2, 4, 8, 16, 32, 64)


def draw_devices(forecasts: Mapping[str, pd.DataFrame]) -> Figure:
    """A panel for each forecast.

    Args:
        forecasts: by title: frames with the columns ``name`` of a way, ``n_devices`` and ``speed_up``, over
            the network on one device.
    """
    figure = Figure(figsize=(1.2 + 4.2 * len(forecasts), 5.0), layout="constrained")
    panels = figure.subplots(1, len(forecasts), sharey=True, squeeze=False)[0]
    for axes, (title, frame) in zip(panels, forecasts.items(), strict=True):
        _draw(axes, frame)
        axes.set_title(title, fontsize="medium")
    highest = max(frame["speed_up"].max() for frame in forecasts.values())
    ticks = [speed_up for speed_up in LABELLED if speed_up <= highest]
    panels[0].set_yticks(ticks, [f"{speed_up}×" for speed_up in ticks])
    panels[0].set_ylim(0.8, 1.15 * highest)
    panels[0].set_ylabel("speed-up of a step over one device")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=2 + len(forecasts) // 2,
        frameon=False,
        fontsize="small",
    )
    return figure


def _draw(axes: Axes, frame: pd.DataFrame) -> None:
    most = frame["n_devices"].max()
    axes.plot([1, most], [1, most], color="0.85", linewidth=1)
    kinds: list[str] = []
    for name, way in frame[frame["name"] != "serial"].groupby("name", sort=False):
        style = STYLES.get(str(name)) or _style(str(name), kinds)
        axes.plot(way["n_devices"], way["speed_up"], label=name, **{"markersize": 4} | style)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    ticks = [d for d in LABELLED if d <= most]
    axes.set_xticks(ticks, [str(d) for d in ticks])
    axes.set_xlabel("devices D")
    axes.grid(color="0.93", linewidth=0.8)


def _style(name: str, kinds: list[str]) -> dict[str, object]:
    """Of a torn network: a colour for each kind of interface, dashes by the way."""
    kind = name.split(", ", 2)[-1] if name.startswith("parareal") else name.split(", ", 1)[-1]
    if kind not in kinds:
        kinds.append(kind)
    style: dict[str, object] = {"color": COLORS[kinds.index(kind) % len(COLORS)]}
    if name.startswith("replicas"):
        return style | {"linestyle": "-", "marker": "*", "markersize": 8}
    return style | (
        {"linestyle": "-", "marker": "o"} if "staggered" in name else {"linestyle": "--", "marker": "x"}
    )
