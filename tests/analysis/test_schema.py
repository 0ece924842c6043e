import re
import subprocess
import sys
from pathlib import Path

import pytest

from analysis import load
from analysis.frames import FIGURES, TABLES
from analysis.schema import COLUMNS, SCHEMAS

PAGE = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")
SHARED = {"dataset", "network", "depth", "label", "n_subnetworks", "n_coarse_units"}


def rows(heading):
    """Cells of the table that follows a heading of the page."""
    _, _, text = PAGE.partition(f"### `{heading}")
    lines = [line for line in text.partition("\n### ")[0].partition("\n## ")[0].splitlines() if "|" in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize("kind", COLUMNS)
def test_page_describes_every_column_as_the_schema_does(kind):
    expected = [[f"`{column.name}`", column.unit, column.meaning] for column in COLUMNS[kind]]
    assert rows(f"{kind}`") == expected


@pytest.mark.parametrize("table", TABLES)
def test_page_names_every_column_of_the_tables(store, table):
    store.trial(1, errors=[4.0])
    frame = getattr(load(store.path), table)()
    named = {name for cells in rows(f"{table}()`") for name in re.findall(r"`(\w+)`", cells[0])}
    assert named == set(frame.columns) - SHARED


@pytest.mark.parametrize("method", [*TABLES, *FIGURES])
def test_page_names_every_method_and_its_file(store, method):
    assert f"| `{method}()` | `{method}." in PAGE
    assert callable(getattr(load(store.path), method))


def test_every_column_is_explained_and_of_one_type_wherever_it_occurs():
    types = {}
    for kind, columns in COLUMNS.items():
        assert len({column.name for column in columns}) == len(columns)
        assert SCHEMAS[kind].names == [column.name for column in columns]
        for column in columns:
            assert column.meaning
            assert not column.meaning.endswith(".")
            assert types.setdefault(column.name, column.type) == column.type


def test_schema_is_there_without_what_draws_and_computes():
    code = "import analysis.schema, sys; assert not {'matplotlib', 'scipy', 'jinja2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
