import io

import pytest
from rich.console import Console

from orchestrator.terminal import Rows

COLUMNS = {"trial": "{}", "epoch": "epoch {}", "error": "error {}", "left": "{} left"}
CELLS = [("N = 1, seed 0", "2/4", "12.35 %", "0:01:00"), ("N = 3, seed 0", "0/4", "–", "")]


def shown(rows, width):
    console = Console(file=io.StringIO(), width=width)
    console.print(rows)
    return console.file.getvalue().splitlines()


def test_where_there_is_room_it_is_a_table():
    lines = shown(Rows(COLUMNS, CELLS), 40)
    assert [line.split() for line in (lines[0], lines[2])] == [
        ["trial", "epoch", "error", "left"],
        ["N", "=", "1,", "seed", "0", "2/4", "12.35", "%", "0:01:00"],
    ]
    assert len(lines) == 4


def test_where_there_is_none_each_row_is_a_paragraph_of_what_is_known():
    lines = [line.rstrip() for line in shown(Rows(COLUMNS, CELLS), 36)]
    assert lines == [
        "N = 1, seed 0",
        "  epoch 2/4, error 12.35 %,",
        "  0:01:00 left",
        "N = 3, seed 0",
        "  epoch 0/4",
    ]


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_nothing_is_dropped_and_nothing_juts_out(width):
    name = "parquet:/a/very/long/path/to/flowers, N = 3, learning rate 0.1, seed 12"
    lines = shown(Rows(COLUMNS, [(name, "200/200", "[12.35] %", "0:01:00")]), width)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= width
    assert "…" not in text
    for word in ("flowers", "200/200", "[12.35] %", "0:01:00"):
        assert word.replace(" ", "") in "".join(text.split())


def test_long_names_are_folded_and_leave_the_others_in_a_table():
    lines = shown(Rows(COLUMNS, [("many words " * 6, "2/4", "1 %", "")], left=["epoch"]), 60)
    assert "2/4" in lines[2]
    assert lines[3].split()[0] in ("many", "words")
