"""Charts: panels that stand beside one another in one figure, or each in a figure of its own.

Every chart is legible in greyscale and for colour-blind readers: lines differ in lightness, dashes and
marker, areas in lightness and hatching.
"""

import textwrap
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import offset_copy

MARKERS = "osD^vPX*"
N_AXIS = "Number of subnetworks N"
SIZE = (4.6, 4.4)
"""Width and height of a panel in inches, legend included."""
BELOW = 36
"""Points from the axes down to the legend, for ticks and the axis's name."""
MAX_COLUMNS = 3
TITLE_WIDTH = 48
NOTE_WIDTH = 78
"""Characters of a note that fit below a panel."""


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: what is shown; a line each for what, and under which circumstances.
        draw: draws into axes.
    """

    title: str
    draw: Callable[[Axes], None]

    def figure(self) -> Figure:
        """The panel alone, without its title."""
        with _plain_text():
            figure = Figure(figsize=SIZE, layout="constrained")
            self.draw(figure.subplots())
        return figure


@dataclass(frozen=True)
class Chart:
    """What one figure of the report shows.

    Attributes:
        panels: in reading order.
        note: explains what is drawn, or why nothing is.
    """

    panels: Sequence[Panel]
    note: str

    def figure(self) -> Figure:
        """All panels beside one another, the note beneath."""
        if not self.panels:
            figure = Figure(figsize=(5.5, 1))
            figure.text(0.5, 0.5, self.note, ha="center", va="center")
            return figure
        n_rows = -(-len(self.panels) // MAX_COLUMNS)
        n_columns = -(-len(self.panels) // n_rows)
        with _plain_text():
            size = (SIZE[0] * n_columns, (SIZE[1] + 0.4) * n_rows)
            figure = Figure(figsize=size, layout="constrained")
            grid = figure.subplots(n_rows, n_columns, squeeze=False).flatten()
            for axes, panel in zip(grid, self.panels, strict=False):
                panel.draw(axes)
                title = [textwrap.fill(line, TITLE_WIDTH) for line in panel.title.splitlines()]
                axes.set_title("\n".join(title), fontsize="medium")
            for axes in grid[len(self.panels) :]:
                axes.remove()
            note = textwrap.fill(self.note, NOTE_WIDTH * n_columns)
            figure.supxlabel(note, fontsize="small", color="0.3")
        return figure


def shade(place: int, n: int) -> tuple[float, float, float, float]:
    """Colour of the ``place``-th of ``n`` lines: from dark to light, all readable on white."""
    colour: tuple[float, float, float, float] = matplotlib.colormaps["plasma"](0.62 * place / max(n - 1, 1))
    return colour


def finish(axes: Axes, handles: Iterable[Artist], labels: Iterable[str]) -> None:
    """Give axes the looks that all have in common: light grid, legend beneath."""
    axes.grid(axis="y", linewidth=0.4, color="0.85")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        list(handles),
        list(labels),
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        bbox_transform=offset_copy(axes.transAxes, axes.get_figure(root=True), y=-BELOW, units="points"),
        ncols=2,
        fontsize="small",
        frameon=False,
        handlelength=3.2,
    )


def _plain_text() -> AbstractContextManager[None]:
    """What users name with a $ is no formula."""
    return matplotlib.rc_context({"text.parse_math": False})
