import numpy as np
import pytest
from matplotlib.colors import to_rgb

from analysis.chart import Chart, Panel, finish, shade


def contrast(colour, ground):
    """Contrast ratio of WCAG 2."""

    def luminance(rgb):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(rgb)]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    low, high = sorted([luminance(colour), luminance(ground)])
    return (high + 0.05) / (low + 0.05)


def panel(title):
    def draw(axes):
        axes.plot([0, 1], [0, 1], label="line")
        finish(axes, *axes.get_legend_handles_labels())

    return Panel(title, draw)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_shades_grow_lighter_and_stay_readable_on_white(n):
    shades = [shade(place, n) for place in range(n)]
    lightness = [np.dot(colour[:3], [0.3, 0.59, 0.11]) for colour in shades]
    assert lightness == sorted(lightness)
    assert min(contrast(colour, "white") for colour in shades) >= 3


@pytest.mark.parametrize(("n", "shape"), [(1, (1, 1)), (3, (1, 3)), (4, (2, 2)), (7, (3, 3))])
def test_panels_stand_beside_one_another(n, shape):
    figure = Chart([panel(f"panel {i}") for i in range(n)], "note").figure()
    assert [axes.get_title() for axes in figure.axes] == [f"panel {i}" for i in range(n)]
    assert figure.axes[0].get_gridspec().get_geometry() == shape
    assert figure.get_supxlabel() == "note"


@pytest.mark.parametrize("n_lines", [1, 30])
def test_legend_lies_beneath_the_name_of_the_axis_and_within_the_figure(n_lines):
    def draw(axes):
        axes.set_xlabel("Epoch")
        for i in range(n_lines):
            axes.plot([0, 1], [0, i], label=f"line {i}")
        finish(axes, *axes.get_legend_handles_labels())

    figure = Chart([Panel("panel", draw)], "note").figure()
    figure.draw_without_rendering()
    (axes,) = figure.axes
    legend = axes.get_legend().get_window_extent()
    assert legend.y1 < axes.xaxis.label.get_window_extent().y0
    assert legend.y0 > 0


def test_a_panel_alone_has_no_title():
    (axes,) = panel("title").figure().axes
    assert axes.get_title() == ""
    assert len(axes.lines) == 1
