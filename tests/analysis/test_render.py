import re
from io import StringIO

import pytest
from rich.console import Console

from analysis import load
from analysis.render import text_cuts, text_steps, text_table1, text_table2, text_time_to_error

TIMES = {
    ("preprocess", 1): [(0.001, 0.001)],
    ("subnetwork", 1): [(0.1, 0.2)],
    ("postprocess", 0): [(0.0, 0.001)],
}


@pytest.fixture
def results(store):
    store.timings(store.trial(1, 0, errors=[2.0]), TIMES)
    store.trial(1, 1, errors=[3.0])
    store.trial(3, 0, errors=[2.25])
    store.trial(3, 1, errors=[2.25])
    store.trial(3, 2, status="failed", error="boom")
    return load(store.path)


def test_table1_cells(results):
    cells = text_table1(results.table1()).cells
    assert cells["Error (%)"].tolist() == ["2.50 ± 0.71", "2.25 ± 0.00"]
    assert cells["Seeds"].tolist() == ["2", "2"]
    assert cells["Difference to N = 1"].tolist() == ["–", "−0.25 [−6.60, +6.10]"]
    assert cells["Not in the mean"].tolist() == ["", "1 failed"]
    assert "Published (%)" not in cells


def test_table2_is_in_milliseconds_and_says_where(results):
    table = text_table2(results.table2())
    assert table.cells.loc[0, ["Preprocessing", "Parallel subnetworks"]].tolist() == ["2.00", "300.00"]
    assert table.cells.loc[0, "Total (IQR)"] == "303.00 (0.00)"
    assert "of ResNet-56 on digits on cpu with batches of 64" in table.note


def test_step_times_are_in_milliseconds_and_megabytes_beside_their_speed_ups(store):
    store.timings(store.trained(1, steps=[9.0, 1.5, 1.7]), TIMES, critical_path=[0.0123])
    store.trained(3, steps=[9.0, 0.1])
    table = text_steps(load(store.path).steps())
    assert table.cells["Paper's sum"].tolist() == ["303 (1.00×)", "–"]
    assert table.cells["Critical path"].tolist() == ["12.3 (1.00×)", "–"]
    assert table.cells["Measured"].tolist() == ["1600 (1.00×)", "100 (16.0×)"]
    assert table.cells["Measured: quartiles"].tolist() == ["1550 to 1650", "–"]
    assert table.cells["Sent"].tolist() == ["1.00", "3.00"]
    assert table.cells["Peak"].tolist() == ["30.0", "20.0"]
    assert "of ResNet-56 on digits on cpu with batches of 64" in table.note
    assert "virtual: what follows from components that ran alone" in table.note


def test_step_times_explain_only_what_they_show(store):
    store.trained(3, steps=[2.0])
    table = text_steps(load(store.path).steps())
    assert table.cells["Measured"].tolist() == ["2000"]
    assert "virtual" not in table.note
    assert "Paper's sum" not in table.cells
    store.timings(store.trial(3, preprocess="patch", epochs=0), TIMES)
    assert "virtual" in text_steps(load(store.path).steps()).note


def test_published_columns_come_with_their_device(store):
    trial_id = store.trial(1, errors=[5.0], depth=1001, dataset="cifar10", batch_size=128)
    store.timings(trial_id, TIMES, batch_size=128)
    results = load(store.path)
    assert text_table1(results.table1()).cells["Published (%)"].tolist() == ["5.03"]
    table = text_table2(results.table2())
    assert table.cells["Published total"].tolist() == ["1460.70"]
    assert "Titan RTX" in table.note


def test_latex_is_escaped_booktabs(store):
    store.trial(1, errors=[2.0], network="my_nets:m", depth=None, dataset="parquet:/a_b")
    text = text_table1(load(store.path).table1()).latex()
    assert r"\toprule" in text
    assert r"my\_nets:m" in text
    assert r"parquet:/a\_b" in text
    body = text.replace(r"\%", "").split("\n", 1)[1]
    assert "%" not in body
    assert not set("±−–") & set(text)
    header = next(row for row in text.splitlines() if row.startswith("Data set"))
    n_columns = len(text.split(r"\begin{tabular}{")[1].split("}")[0])
    assert header.count("&") == n_columns - 1


def test_markdown_keeps_its_columns_whatever_a_cell_holds(store):
    store.trial(1, errors=[2.0], dataset="parquet:a|b")
    header, _, row, *_ = text_table1(load(store.path).table1()).markdown().splitlines()
    assert row.replace(r"\|", "").count("|") == header.count("|")


def test_terminal_tables_fit_80_columns_with_intact_numbers(results):
    text = printed(text_table1(results.table1())) + printed(text_table2(results.table2()))
    assert "−0.25 [−6.60, +6.10]" in text
    assert "303.00 (0.00)" in text
    assert "Postprocessing" in text


def printed(table, width=80):
    console = Console(file=StringIO(), width=width)
    console.print(table.rich(width))
    return console.file.getvalue()


@pytest.fixture
def varied(store):
    """Results of a sweep over N, partition, coarse network and strategy."""
    for n, seconds in ((1, 123.456), (24, 12.3456)):
        for partition in ("uniform", "staggered"):
            for coarse in ("units", "shortcut"):
                trial_id = store.trained(n, steps=[seconds], partition=partition, coarse=coarse)
                store.timings(trial_id, TIMES, critical_path=[seconds])
    store.trained(24, steps=[12.3456], strategy="data_parallel")
    return load(store.path)


def test_whatever_varies_80_columns_hold_whole_words_and_numbers(varied):
    words = ("staggered", "shortcut", "(10.0×)", "Parareal", "Data parallel", "303.00 (0.00)", "5.00")
    text = ""
    for table in (text_table1(varied.table1()), text_table2(varied.table2()), text_steps(varied.steps())):
        text += printed(table)
        assert max(map(len, text.splitlines())) <= 80
    for word in (*words, "12.3 (10.0×)", "One training step in s of"):
        assert word in text


def test_a_narrow_terminal_goes_without_what_says_least(varied):
    table = text_steps(varied.steps())
    narrow, wide = (set(printed(table, width).split()) for width in (80, 200))
    assert {"Measured", "Sent", "N"} <= narrow
    assert {"quartiles", "N_c", "Peak"} <= wide - narrow
    table = text_table1(varied.table1())  # whose labels name the strategy
    assert "Strategy" in printed(table, 200)
    assert "Strategy" not in printed(table, 80)


def test_where_no_table_has_room_each_row_is_a_paragraph_of_whole_words_and_numbers(results):
    text = printed(text_table1(results.table1()), 40)
    assert "\nParareal ResNet-56, N = 3\n  Error (%): 2.25 ± 0.00\n" in re.sub(" +\n", "\n", text)
    assert "−0.25 [−6.60, +6.10]" in text
    assert max(map(len, text.splitlines())) <= 40
    assert "\nN = 1\n" in printed(text_table2(results.table2()), 30)


def test_n_coarse_units_are_shown_where_they_alone_tell_rows_apart(store):
    for n_coarse_units in (1, 4):
        store.trained(3, steps=[2.0], n_coarse_units=n_coarse_units)
    assert "N_c" in printed(text_steps(load(store.path).steps()), width=20)


def test_empty_tables_are_their_note(store):
    results = load(store.path)
    tables = (text_table1(results.table1()), text_table2(results.table2()), text_steps(results.steps()))
    for table in tables:
        assert table.markdown() == table.note
        assert r"\bottomrule" in table.latex()


def test_time_to_error_has_a_column_per_error_in_one_unit(store):
    for n, seed, seconds in ((1, 0, 90.0), (1, 1, 90.0), (3, 0, 30.0), (3, 1, 600.0)):
        trial_id = store.trial(n, seed)
        rows = [
            {"trial_id": trial_id, "epoch": epoch, "validation_error": error, "seconds": seconds}
            for epoch, error in enumerate([9.0, 5.0, 4.0 if seconds < 60 else 5.0], start=1)
        ]
        store.write("epochs", trial_id, rows)
    table = text_time_to_error(load(store.path).time_to_error(thresholds=[4.0, 5.0, 9.0, 1.0]))
    cells = table.cells.set_index("Network").T.to_dict("list")
    none = "not reached"
    assert cells["ResNet-56"][-4:] == ["1.50 (1 epoch) first", "3.00 (2 epochs) first", none, none]
    some = "1 of 2: 1.50 (3 epochs)"
    assert cells["Parareal ResNet-56, N = 3"][-4:] == ["5.25 (1 epoch)", "10.5 (2 epochs)", some, none]
    assert "Training time in min" in table.note


def test_html_escapes_and_aligns_numbers_right(store):
    store.trial(1, errors=[2.0], dataset="parquet:<b>")
    text = text_table1(load(store.path).table1()).html()
    assert "<td>parquet:&lt;b&gt;</td>" in text
    assert '<td class="number">2.00</td>' in text
    assert '<th class="number" scope="col">Error (%)</th>' in text


def test_cuts_have_the_least_variety_over_their_seeds_and_what_it_says(store):
    for kind, varieties in {"auto": (0.7, 0.6), "strided": (0.2, 0.0)}.items():
        for seed, variety in enumerate(varieties):
            store.trial(3, seed, preprocess=kind, variety=variety)
    store.trial(1, preprocess="auto")
    cells = text_cuts(load(store.path).trials).cells.set_index("Preprocess")
    assert cells["Variety"].to_dict() == {"auto": "0.600", "strided": "0.000"}
    assert cells["Verdict"].str.startswith("hopeless").to_dict() == {"auto": False, "strided": True}


def test_early_stores_know_nothing_of_cuts(results):
    assert text_cuts(results.trials).cells.empty
