import pytest
from matplotlib.colors import to_rgb

from analysis import load


def timed(store, n, seconds, coarse, **config):
    trial_id = store.trial(n, epochs=0, **config)
    times = {("preprocess", j): [(0.0, 0.001)] * len(seconds) for j in range(1, n + 1)}
    times |= {("subnetwork", j): [(one, one) for one in seconds] for j in range(1, n + 1)}
    times |= {("coarse_network", j): [(coarse, coarse)] * len(seconds) for j in range(1, n)}
    times |= {("postprocess", 0): [(0.001, 0.0)] * len(seconds)}
    store.timings(trial_id, times)


def stacks(axes):
    """{component: (bottoms, heights)} as drawn."""
    return {
        bars.get_label(): ([bar.get_y() for bar in bars], [bar.get_height() for bar in bars])
        for bars in axes.containers
        if hasattr(bars, "patches")
    }


def test_components_stack_up_to_the_total_for_every_n_in_order(store):
    for n, seconds in ((12, 0.1), (1, 1.0), (3, 0.4)):
        timed(store, n, [seconds], coarse=0.01)
    (axes,) = load(store.path).time_shares().axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "3", "12"]
    assert axes.get_ylabel() == "Time of one gradient (ms)"
    drawn = stacks(axes)
    assert drawn["Parallel subnetworks"][1] == pytest.approx([2000, 800, 200])
    assert drawn["Coarse network"][1] == pytest.approx([0, 40, 220])
    assert drawn["Coarse network"][0] == pytest.approx([2001, 801, 201])
    assert [text.get_text() for text in axes.texts] == ["1.00×", "2.38×", "4.74×"]


def test_bar_on_top_leads_from_quartile_to_quartile(store):
    timed(store, 1, [1.0, 2.0, 3.0], coarse=0.0)
    (axes,) = load(store.path).time_shares().axes
    (error_bar,) = [c for c in axes.containers if not hasattr(c, "patches")]
    (segment,) = error_bar.lines[2][0].get_segments()
    assert segment[:, 1].tolist() == pytest.approx([3002, 5002])


def test_components_can_be_told_apart_without_colours(store):
    timed(store, 3, [1.0], coarse=0.1)
    (axes,) = load(store.path).time_shares().axes
    looks = {
        (bars[0].get_hatch(), bars[0].get_facecolor()) for bars in axes.containers if hasattr(bars, "patches")
    }
    assert len({hatch for hatch, _ in looks}) == 4
    grey = sorted(
        sum(w * c for w, c in zip((0.3, 0.59, 0.11), to_rgb(colour), strict=True)) for _, colour in looks
    )
    assert grey[-1] - grey[0] > 0.25


def test_every_way_to_tear_has_a_panel_with_the_same_n_1(store):
    for partition in ("uniform", "staggered"):
        for n in (1, 3):
            timed(store, n, [1.0 / n], coarse=0.1, partition=partition)
    panels = load(store.path).time_shares().axes
    assert [axes.get_title().splitlines()[-1] for axes in panels] == ["staggered", "uniform"]
    for axes in panels:
        assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "3"]


def test_long_times_are_in_seconds(store):
    timed(store, 1, [6.0], coarse=0.0)
    (axes,) = load(store.path).time_shares().axes
    assert axes.get_ylabel() == "Time of one gradient (s)"


def test_without_timings_it_says_so(store):
    store.trial(1, errors=[3.0])
    figure = load(store.path).time_shares()
    assert not figure.axes
    assert "No gradient" in figure.texts[0].get_text()
