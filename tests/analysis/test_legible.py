"""A report of very many trials and options is small, and says what it leaves out."""

import pandas as pd
import pytest

from analysis import load
from analysis.curves import figure3
from analysis.legible import MAX_LINES, MAX_OPTIONS, MAX_PANELS, MAX_ROWS, MAX_VALUES, best, listed
from analysis.render import text_table1, text_time_to_error
from analysis.summary import provenance, unfinished

N_SETTINGS = MAX_ROWS + 5
N_OPTIONS = 200


@pytest.fixture
def results(store):
    """Settings that differ in two hundred options, the last one the best; of each a trial has failed."""
    for i in range(N_SETTINGS):
        options = {f"option_{k:03d}": i * (k % 6 + 1) % 7 for k in range(N_OPTIONS)}
        store.trial(2, seed=0, errors=[90.0 - i, 80.0 - i], learning_rate=1 / (1 + i), **options)
        store.trial(2, seed=1, status="failed", error="lost", learning_rate=1 / (1 + i), **options)
    return load(store.path)


def test_tables_have_the_best_rows_and_say_how_many_there_are(results):
    for text in (text_table1(results.table1()), text_time_to_error(results.time_to_error())):
        assert len(text.cells) == MAX_ROWS
        assert f"the {MAX_ROWS} best of {N_SETTINGS} configurations" in text.note
        assert f"Named: {MAX_OPTIONS} of {N_OPTIONS + 1} options that differ" in text.note
        assert len(text.cells.columns) < MAX_OPTIONS + 10
        assert max(len(line) for line in text.markdown().splitlines() if line.startswith("|")) < 400
    errors = text_table1(results.table1()).cells["Error (%)"].astype(float)
    assert errors.min() == 80.0 - N_SETTINGS + 1
    assert errors.max() == errors.min() + MAX_ROWS - 1
    assert len(results.table1()) == N_SETTINGS


def test_figures_have_the_panels_that_ended_best(results):
    chart = figure3(results.trials, results.epochs)
    assert len(chart.panels) == MAX_PANELS
    assert f"the {MAX_PANELS} best of {N_SETTINGS} panels" in chart.note
    shown = {float(panel.title.partition("learning rate ")[2].split(",")[0]) for panel in chart.panels}
    assert shown == {1 / (1 + i) for i in range(N_SETTINGS - MAX_PANELS, N_SETTINGS)}
    assert max(len(panel.title) for panel in chart.panels) < 300


def test_a_panel_has_as_many_lines_as_can_be_told_apart(store):
    for n in range(1, MAX_LINES + 5):
        store.trial(n, errors=[20.0, 10.0])
    (axes,) = load(store.path).figure3().axes
    assert len(axes.get_legend().texts) == MAX_LINES


def test_words_list_some_values(results):
    facts = provenance(results.trials)
    assert facts["Learning rate"].endswith(f"({N_SETTINGS} values)")
    assert len(unfinished(results.trials)) == MAX_ROWS
    assert listed("abc", 2) == "a, b and 1 more"
    assert listed("a" * MAX_VALUES).count("a") == MAX_VALUES
    assert best(pd.Series([3.0, None, 1.0, 2.0]), 2).tolist() == [False, False, True, True]
