import numpy as np
import pytest
from matplotlib import pyplot as plt

from analysis import load


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def line(axes, text):
    return next(drawn for drawn in axes.lines if drawn.get_label().startswith(text))


def test_one_labelled_line_per_n_in_order_in_one_panel_per_data_set(store):
    for dataset in ("digits", "cifar10"):
        for n in (12, 1, 3):
            store.trial(n, errors=[9.0, 5.0, 4.0], dataset=dataset)
    figure = load(store.path).figure3()
    assert [axes.get_title() for axes in figure.axes] == ["ResNet-56 on CIFAR-10", "ResNet-56 on digits"]
    for axes in figure.axes:
        assert legend(axes) == ["N = 1 (1 seed)", "N = 3 (1 seed)", "N = 12 (1 seed)"]
        assert axes.get_xlabel() == "Epoch"
        assert axes.get_ylabel() == "Validation error (%)"


def test_lines_differ_in_more_than_colour(store):
    for n in (1, 2, 3, 6, 12, 18, 24):
        store.trial(n, errors=[9.0, 5.0, 4.0])
    (axes,) = load(store.path).figure3().axes
    styles = {(drawn.get_linestyle(), drawn.get_marker()) for drawn in axes.lines}
    assert len(styles) == 7
    lightness = [np.dot(drawn.get_color()[:3], [0.3, 0.59, 0.11]) for drawn in axes.lines]
    assert lightness == sorted(lightness)


def test_line_is_the_mean_and_the_band_one_standard_deviation(store):
    for seed, last in enumerate([4.0, 5.0, 7.0]):
        store.trial(3, seed, errors=[9.0, last])
    (axes,) = load(store.path).figure3().axes
    (drawn,) = axes.lines
    assert drawn.get_xdata().tolist() == [1, 2]
    assert drawn.get_ydata().tolist() == pytest.approx([9.0, 16 / 3])
    (band,) = axes.collections
    at_end = band.get_paths()[0].vertices
    spread = (14 / 6) ** 0.5
    heights = at_end[at_end[:, 0] == 2, 1]
    assert [heights.min(), heights.max()] == pytest.approx([16 / 3 - spread, 16 / 3 + spread])


def test_two_seeds_are_drawn_as_lines_without_a_band(store):
    store.trial(3, 0, errors=[9.0, 4.0])
    store.trial(3, 1, errors=[9.0, 6.0])
    (axes,) = load(store.path).figure3().axes
    assert sorted(drawn.get_ydata()[-1] for drawn in axes.lines) == [4.0, 5.0, 6.0]
    assert not axes.collections


def test_unfinished_trials_end_where_they_are_and_stay_out_of_the_mean(store):
    store.trial(3, 0, errors=[9.0, 5.0, 4.0])
    store.trial(3, 1, errors=[9.0, 8.0], status="running")
    store.trial(3, 2, errors=[95.0], status="diverged")
    store.trial(6, 0, errors=[9.0, 7.0], status="running")
    figure = load(store.path).figure3()
    (axes,) = figure.axes
    assert legend(axes) == ["N = 3 (1 seed, 1 running, 1 diverged)", "N = 6 (1 running)"]
    assert line(axes, "N = 3").get_ydata().tolist() == [9.0, 5.0, 4.0]
    assert line(axes, "N = 6").get_ydata().tolist() == [9.0, 7.0]
    ends = {(d.get_marker(), float(d.get_xdata()[-1])) for d in axes.lines if len(d.get_xdata()) == 1}
    assert {("o", 2.0), ("x", 1.0)} <= ends
    assert "still running" in figure.get_supxlabel()
    assert "diverged" in figure.get_supxlabel()


def test_early_spikes_do_not_squash_the_late_epochs(store):
    for n, final in ((1, 5.0), (3, 4.0)):
        store.trial(n, errors=[95.0, 92.0, 60.0, *np.linspace(8, final, 17)])
    (axes,) = load(store.path).figure3().axes
    low, high = axes.get_ylim()
    assert low < 4.0
    assert 8.0 < high < 20.0


def test_perfect_epochs_can_be_drawn(store):
    store.trial(1, errors=[50.0, 1.0, 0.0, 0.0])
    (axes,) = load(store.path).figure3().axes
    assert axes.get_ylim()[0] < 0.0


def test_other_config_values_get_their_own_panel_with_the_same_baseline(store):
    store.trial(1, errors=[9.0, 2.0])
    for preprocess, last in (("strided", 7.0), ("patch", 4.0)):
        store.trial(3, errors=[9.0, last], preprocess=preprocess)
    patch, strided = load(store.path).figure3().axes
    assert patch.get_title().endswith("\npatch")
    assert strided.get_title().endswith("\nstrided")
    assert patch.get_ylim() == strided.get_ylim()
    for axes, last in ((patch, 4.0), (strided, 7.0)):
        assert legend(axes) == ["N = 1 (1 seed)", "N = 3 (1 seed)"]
        assert line(axes, "N = 1").get_ydata()[-1] == 2.0
        assert line(axes, "N = 3").get_ydata()[-1] == last


def test_coarse_networks_of_different_size_are_lines_of_one_panel(store):
    store.trial(1, errors=[9.0, 2.0])
    for n_coarse_units in (4, 1):
        store.trial(3, errors=[9.0, 5.0], n_coarse_units=n_coarse_units)
    (axes,) = load(store.path).figure3().axes
    assert legend(axes) == ["N = 1 (1 seed)", "N = 3, N_c = 1 (1 seed)", "N = 3, N_c = 4 (1 seed)"]


def test_empty_store_gives_a_figure_that_says_so(store):
    store.trial(1, status="running")
    figure = load(store.path).figure3()
    assert not figure.axes
    assert "No epoch" in figure.texts[0].get_text()


def test_pyplot_knows_nothing_of_it(store):
    before = plt.get_fignums()
    store.trial(1, errors=[9.0, 2.0])
    load(store.path).figure3()
    assert plt.get_fignums() == before


def test_error_against_time_stands_where_each_epoch_ended(store):
    for n, seed, seconds in ((1, 0, 40.0), (1, 1, 80.0), (3, 0, 20.0)):
        trial_id = store.trial(n, seed)
        rows = [
            {"trial_id": trial_id, "epoch": epoch, "validation_error": error, "seconds": seconds}
            for epoch, error in enumerate([9.0, 5.0 + n], start=1)
        ]
        store.write("epochs", trial_id, rows)
    (axes,) = load(store.path).error_against_time().axes
    assert axes.get_xlabel() == "Training time (min)"
    assert axes.get_xlim()[0] == 0
    assert line(axes, "N = 1").get_xdata().tolist() == pytest.approx([1.0, 2.0])
    assert line(axes, "N = 1").get_ydata().tolist() == [9.0, 6.0]
    assert line(axes, "N = 3").get_xdata().tolist() == pytest.approx([1 / 3, 2 / 3])
    alone = [drawn.get_xdata()[-1] for drawn in axes.lines if drawn.get_linewidth() < 1]
    assert sorted(alone) == pytest.approx([4 / 3, 8 / 3])


def test_names_with_dollars_are_no_formulas(store):
    store.trial(1, errors=[9.0, 2.0], dataset=r"parquet:$\frac$")
    figure = load(store.path).figure3()
    figure.draw_without_rendering()
    assert figure.axes[0].get_title() == r"ResNet-56 on parquet:$\frac$"
