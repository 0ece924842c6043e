"""A table as text: Markdown, HTML, LaTeX, and for the terminal."""

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
import rich.box
from markupsafe import Markup
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from analysis.markup import fill

MISSING = "–"
NOT_REACHED = "not reached"
INDENT = 2
LATEX = {"±": r"$\pm$", "−": "$-$", "–": "--", "×": r"$\times$", "≤": r"$\leq$"}
"""Signs that pdfLaTeX does not know as text."""

HEADING_WIDTH = 12
LONG_WORD = 16
"""Characters from which on even a single word is folded rather than the table too wide."""
LONG_TEXT = 30


@dataclass(frozen=True)
class TextTable:
    """A table ready to be read.

    Attributes:
        name: "Table 1".
        title: what it shows, one line.
        cells: text, one row a line.
        note: what the numbers are and how they came about.
        spare: names of columns that a narrow terminal does without, the first ones first.
    """

    name: str
    title: str
    cells: pd.DataFrame
    note: str
    spare: Sequence[str] = ()

    def markdown(self) -> str:
        """Return a pipe table with the note beneath; the note alone where there is no row."""
        if self.cells.empty:
            return self.note
        cells = self.cells.map(lambda text: text.replace("|", r"\|"))
        align = ["right" if _right(self.cells[name]) else "left" for name in self.cells]
        table = cells.to_markdown(index=False, disable_numparse=True, colalign=align)
        return f"{table}\n\n{self.note}"

    def html(self) -> Markup:
        """Return a table that scrolls in its own box with the note beneath; the note alone without rows."""
        right = [_right(self.cells[name]) for name in self.cells]
        return fill("table.html", table=self, cells=self.cells.to_dict("split"), right=right)

    def latex(self) -> str:
        """Return a ``table`` environment with caption, in need of the package booktabs."""
        styled = self.cells.style.hide(axis="index").format(escape="latex")
        text = styled.format_index(escape="latex", axis="columns").to_latex(
            hrules=True,
            column_format="".join("r" if _right(self.cells[name]) else "l" for name in self.cells),
            caption=re.sub(r"([%&#_$])", r"\\\1", f"{self.title}. {self.note}"),
            label=f"tab:{self.name.replace(' ', '').lower()}",
            position_float="centering",
        )
        for sign, command in LATEX.items():
            text = text.replace(sign, command)
        return f"% needs \\usepackage{{booktabs}}\n{text}"

    def rich(self, width: int = 80) -> Group | Text:
        """Return the table between title and note; the note alone where there is no row.

        Args:
            width: of the terminal, in characters.
        """
        if self.cells.empty:
            return Text(f"{self.name}: {self.note}")
        cells = self.cells
        for column in self.spare:
            if _room(cells) > width:
                cells = cells.drop(columns=column)
        heading, note = Text(f"\n{self.name}: {self.title}", "bold"), Text(self.note, "dim")
        if _room(cells, folded=True) > width:
            return Group(heading, "", *_paragraphs(cells, width - INDENT), "", note)
        table = Table(box=rich.box.SIMPLE_HEAD, padding=0, show_edge=False)
        for name in cells:
            right = _right(cells[name])
            table.add_column(
                _folded(str(name)),
                justify="right" if right else "left",
                no_wrap=right or all(" " not in text and len(text) <= LONG_WORD for text in cells[name]),
                overflow="fold",
            )
        for row in cells.itertuples(index=False):
            table.add_row(*(Text(cell) for cell in row))
        return Group(heading, "", table, "", note)


def _folded(name: str) -> str:
    """A column's name, on as many lines as it takes."""
    return textwrap.fill(name, HEADING_WIDTH, break_long_words=False)


def _room(cells: pd.DataFrame, *, folded: bool = False) -> int:
    """Characters that a table takes: with long texts folded, or at the least, with every text folded."""
    longest = LONG_WORD if folded else LONG_TEXT
    room = len(cells.columns) - 1
    for name, column in cells.items():
        texts = " ".join(column).split() if folded and not _right(column) else column
        room += max(min(len(text), longest) for text in [*_folded(str(name)).splitlines(), *texts])
    return room


def _paragraphs(cells: pd.DataFrame, width: int) -> Iterator[Text | Padding]:
    """A paragraph a row: what it is about, and its values beside their names, or below if they are long."""
    name, *headings = cells.columns
    for row in cells.itertuples(index=False):
        yield Text(f"{name} = {row[0]}" if _right(cells[name]) else row[0], "bold")
        for what, value in zip(headings, row[1:], strict=True):
            if value not in ("", MISSING):
                line = f"{what}: {value}"
                yield Padding(Text(line if len(line) <= width else f"{what}:\n{value}"), (0, 0, 0, INDENT))


def _right(column: pd.Series) -> bool:
    """Numbers stand to the right."""
    return all(re.match(rf"[−–+\d]|{NOT_REACHED}", text) for text in column)
