import pytest
from matplotlib.colors import to_rgb
from matplotlib.container import ErrorbarContainer

from analysis import load


def drawn(axes):
    """{(line style, marker): (N, speed-ups)} of the lines with bars."""
    lines = [container.lines[0] for container in axes.containers if isinstance(container, ErrorbarContainer)]
    return {
        (line.get_linestyle(), line.get_marker()): (line.get_xdata().tolist(), line.get_ydata().tolist())
        for line in lines
    }


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def timed(store, n, seconds, paths, **config):
    """A trial of these times alone, the subnetworks' each way."""
    trial_id = store.trial(n, epochs=0, **config)
    times = {("subnetwork", j): [(seconds, seconds)] * len(paths) for j in range(1, n + 1)}
    store.timings(trial_id, times, critical_path=paths)


@pytest.fixture
def swept(store):
    """N = 1, 3 and 6, torn in two ways, timed; one way trained too."""
    for partition, factor in (("uniform", 1.0), ("staggered", 0.5)):
        for n in (1, 3, 6):
            timed(store, n, 6.0 / n, [12.0 * factor / n if n > 1 else 12.0] * 3, partition=partition)
    for n in (1, 3, 6):
        store.trained(n, steps=[9.0, 6.0 / n])
    return store


def test_a_line_for_each_way_to_tear_and_each_way_to_count(swept):
    (axes,) = load(swept.path).speed_up().axes
    assert legend(axes) == [
        *("paper's sum (virtual)", "critical path (virtual)", "measured"),
        *("staggered", "uniform", "ideal: N"),
    ]
    lines = drawn(axes)
    assert len(lines) == 5
    assert {tuple(n) for n, _ in lines.values()} == {(1, 3, 6)}
    assert sorted(values for _, values in lines.values()) == [[1.0, 3.0, 6.0]] * 4 + [[1.0, 6.0, 12.0]]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Number of subnetworks N", "Speed-up over N = 1")
    assert axes.get_xticks().tolist() == [1, 3, 6]
    assert axes.get_title() == "ResNet-56 on digits\ncpu, batches of 64"


def test_the_ideal_is_a_thin_line_that_leaves_the_axes_to_the_data(store):
    for n in (1, 12):
        store.trained(n, steps=[6.0 / min(n, 2)])
    (axes,) = load(store.path).speed_up().axes
    ideal = axes.lines[-1]
    assert list(ideal.get_xdata()) == list(ideal.get_ydata()) == [0, 12]
    assert ideal.get_linewidth() < 1
    assert 2.0 < axes.get_ylim()[1] < 2.5


def test_bars_lead_from_quartile_to_quartile(store):
    timed(store, 1, 1.0, [12.0])
    timed(store, 3, 1.0, [2.0, 4.0, 8.0])  # quartiles 3 and 6
    (axes,) = load(store.path).speed_up().axes
    of_path = [c for c in axes.containers if c.lines[0].get_linestyle() == "-"]
    (bars,) = of_path[0].lines[2]
    ends = [segment[:, 1].tolist() for segment in bars.get_segments()]
    assert ends == [[1.0, 1.0], [pytest.approx(2.0), pytest.approx(4.0)]]


def test_lines_can_be_told_apart_without_colours(swept):
    (axes,) = load(swept.path).speed_up().axes
    assert len(drawn(axes)) == len([c for c in axes.containers if isinstance(c, ErrorbarContainer)])
    lightness = {sum(to_rgb(container.lines[0].get_color())) for container in axes.containers}
    assert max(lightness) < 2.4


def test_the_papers_points_stand_beside_its_own_network_alone(store):
    for n in (1, 3):
        for depth in (1001, 56):
            store.trained(n, steps=[6.0 / n], depth=depth, width=16, dataset="cifar10")
    other, paper = load(store.path).speed_up().axes
    assert "ResNet-1001" in paper.get_title()
    assert "paper's sum, published" in legend(paper)
    assert "paper's sum, published" not in legend(other)
    (points,) = [line for line in paper.lines if line.get_marker() == "*"]
    assert points.get_xdata().tolist() == [1, 3, 6, 12, 18, 24]
    assert max(points.get_ydata()) == pytest.approx(1.4607 / 0.2326)
    assert paper.get_xlim()[1] > 24


def test_what_is_not_comparable_has_a_panel_of_its_own(store):
    for batch_size in (32, 64):
        for n in (1, 3):
            store.trained(n, steps=[6.0 / n], batch_size=batch_size)
    store.trained(3, steps=[6.0], batch_size=128)  # with nothing to compare it to
    assert [axes.get_title().rsplit(" ", 1)[1] for axes in load(store.path).speed_up().axes] == ["32", "64"]


def test_coarse_networks_of_different_size_are_lines_of_their_own(store):
    store.trained(1, steps=[6.0])
    for n_coarse_units, seconds in ((4, 3.0), (1, 2.0)):
        store.trained(3, steps=[seconds], n_coarse_units=n_coarse_units)
    (axes,) = load(store.path).speed_up().axes
    assert {"N_c = 1", "N_c = 4"} <= set(legend(axes))
    assert sorted(values for _, values in drawn(axes).values()) == [[1.0, 2.0], [1.0, 3.0]]


def test_strategies_are_named_after_all_ways_to_count(store):
    store.trained(1, steps=[6.0])
    timed(store, 1, 3.0, [6.0])
    timed(store, 3, 2.0, [4.0])
    for strategy in ("parareal", "data_parallel", "1f1b"):
        store.trained(3, steps=[3.0], strategy=strategy)
    (axes,) = load(store.path).speed_up().axes
    assert legend(axes) == [
        *("paper's sum (virtual)", "critical path (virtual)", "measured"),
        *("1F1B", "data parallel", "parareal", "ideal: N"),
    ]


@pytest.mark.parametrize("ns", [(), (1,), (3,)])
def test_without_two_ns_to_compare_it_says_so(store, ns):
    for n in ns:
        store.trained(n, steps=[3.0])
    figure = load(store.path).speed_up()
    assert not figure.axes
    assert "N = 1 and at another N" in figure.texts[0].get_text()
