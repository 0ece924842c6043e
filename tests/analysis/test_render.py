from io import StringIO

import pytest
from rich.console import Console

from analysis import load
from analysis.render import text_table1, text_table2

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
    console = Console(file=StringIO(), width=80)
    for table in (text_table1(results.table1()), text_table2(results.table2())):
        console.print(table.rich())
    text = console.file.getvalue()
    assert "−0.25 [−6.60, +6.10]" in text
    assert "303.00 (0.00)" in text
    assert "Postprocessing" in text


def test_empty_tables_are_their_note(store):
    results = load(store.path)
    for table in (text_table1(results.table1()), text_table2(results.table2())):
        assert table.markdown() == table.note
        assert r"\bottomrule" in table.latex()
