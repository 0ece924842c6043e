"""Tables that stay legible however narrow the terminal is."""

import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

LONG_NAME = 24
"""Characters beyond which the name of a row is folded rather than the table too wide."""

GAP = 2
"""Characters between two columns."""
NO_BREAK = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Rows:
    """Rows of text: a table where there is room for it, else a paragraph each.

    Attributes:
        columns: headings, with what a paragraph says: ``{"epoch": "epoch {}"}``. The first names the row.
        cells: of each row; what is empty or "–" is left out of a paragraph.
        left: columns that stand to the left, beside the first.
    """

    columns: Mapping[str, str]
    cells: Sequence[Sequence[str]]
    left: Collection[str] = ()

    def fits(self, width: int) -> bool:
        """Whether there is room for a table in so many characters."""
        longest = max(cell_len(name) for name, *_ in (self.columns, *self.cells))
        return min(longest, LONG_NAME) <= self._left_for_names(width)

    def _left_for_names(self, width: int) -> int:
        _, *others = (
            max(cell_len(line) for text in column for line in text.splitlines() or [""])
            for column in zip(self.columns, *self.cells, strict=True)
        )
        return width - sum(others) - GAP * len(others)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table, or the paragraphs."""
        width = options.max_width
        if self.fits(width):
            yield self._table(self._left_for_names(width))
            return
        _, *says = self.columns.values()
        for name, *cells in self.cells:
            known = zip(says, (" ".join(cell.split()) for cell in cells), strict=True)
            facts = [say.format(cell) for say, cell in known if cell not in ("", "–")]
            yield Text(fold(name.split(", "), width), "bold")
            yield Padding(Text(fold(facts, width - 2)), (0, 0, 0, 2), expand=False)

    def _table(self, left_for_names: int) -> Table:
        table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False)
        for place, heading in enumerate(self.columns):
            right = place > 0 and heading not in self.left
            table.add_column(
                heading,
                justify="right" if right else "left",
                no_wrap=place > 0,
                overflow="fold",
            )
        for name, *cells in self.cells:
            table.add_row(*map(Text, [fold(name.split(", "), left_for_names), *cells]))
        return table


def fold(parts: Iterable[str], width: int) -> str:
    """Parts with commas between them, in lines that break between parts where they can."""
    together = ", ".join(part if len(part) > width else part.replace(" ", NO_BREAK) for part in parts)
    return textwrap.fill(together, max(width, 1)).replace(NO_BREAK, " ")
