"""Tables 1 and 2 as text: Markdown, LaTeX, and for the terminal."""

import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd
import rich.box
from rich.table import Table
from rich.text import Text

from analysis import published
from analysis.configuration import dataset_name, heading, network_name

MISSING = "–"
LATEX = {"±": r"$\pm$", "−": "$-$", "–": "--", "×": r"$\times$"}
"""Signs that pdfLaTeX does not know as text."""


@dataclass(frozen=True)
class TextTable:
    """A table ready to be read.

    Attributes:
        name: "Table 1".
        title: what it shows, one line.
        cells: text, one row a line.
        note: what the numbers are and how they came about.
    """

    name: str
    title: str
    cells: pd.DataFrame
    note: str

    def markdown(self) -> str:
        """Return a pipe table with the note beneath; the note alone where there is no row."""
        if self.cells.empty:
            return self.note
        cells = self.cells.map(lambda text: text.replace("|", r"\|"))
        align = ["right" if right else "left" for right in self._right()]
        table = cells.to_markdown(index=False, disable_numparse=True, colalign=align)
        return f"{table}\n\n{self.note}"

    def latex(self) -> str:
        """Return a ``table`` environment with caption, in need of the package booktabs."""
        styled = self.cells.style.hide(axis="index").format(escape="latex")
        text = styled.format_index(escape="latex", axis="columns").to_latex(
            hrules=True,
            column_format="".join("r" if right else "l" for right in self._right()),
            caption=re.sub(r"([%&#_$])", r"\\\1", f"{self.title}. {self.note}"),
            label=f"tab:{self.name.replace(' ', '').lower()}",
            position_float="centering",
        )
        for sign, command in LATEX.items():
            text = text.replace(sign, command)
        return f"% needs \\usepackage{{booktabs}}\n{text}"

    def rich(self) -> Table | Text:
        """Return the table with title and note; the note alone where there is no row."""
        if self.cells.empty:
            return Text(f"{self.name}: {self.note}")
        table = Table(
            title=f"{self.name}: {self.title}",
            caption=self.note,
            caption_justify="left",
            box=rich.box.SIMPLE_HEAD,
            padding=0,  # so that either table fits 80 columns
        )
        for name, right in zip(self.cells.columns, self._right(), strict=True):
            words = textwrap.fill(name, 12, break_long_words=False)
            table.add_column(words, justify="right" if right else "left", no_wrap=right, overflow="fold")
        for row in self.cells.itertuples(index=False):
            table.add_row(*(Text(cell) for cell in row))
        return table

    def _right(self) -> list[bool]:
        """Numbers stand to the right."""
        return [all(re.match(r"[−–+\d]", text) for text in self.cells[name]) for name in self.cells]


def text_table1(table: pd.DataFrame) -> TextTable:
    """Render `analysis.tables.table1`; columns without any value are left out."""
    described = table.columns[: table.columns.get_loc("error")]
    cells = _texts(table, described.drop(["network", "depth", "n_subnetworks"]))
    cells["Error (%)"] = [
        _number(mean) if pd.isna(std) else f"{_number(mean)} ± {_number(std)}"
        for mean, std in zip(table["error"], table["std"], strict=True)
    ]
    cells["Seeds"] = table["n"].astype(str)
    cells["Published (%)"] = _numbers(table["published"])
    cells["Difference to N = 1"] = [
        _interval(*row) for row in table[["difference", "ci_low", "ci_high"]].itertuples(index=False)
    ]
    others = table.loc[:, "running":].astype(str)
    cells["Not in the mean"] = [
        ", ".join(f"{count} {status}" for status, count in row.items() if count != "0")
        for row in others.to_dict("records")
    ]
    note = (
        "Validation error (%) after the last epoch: mean ± standard deviation over the seeds that finished."
        if len(table)
        else "No trial has been started yet."
    )
    if table["difference"].notna().any():
        note += " Difference: in points; in brackets Welch's 95 % confidence interval, from two seeds on."
    if table["published"].notna().any():
        note += f" Published: {published.SOURCE}, Table 1; number of seeds and spread not given."
    elif len(table):
        note += " Nothing here is comparable to the paper's ResNet-1001 on CIFAR-10 and CIFAR-100."
    return TextTable("Table 1", "Error rates", _drop_empty(cells), note)


def text_table2(table: pd.DataFrame) -> TextTable:
    """Render `analysis.tables.table2` in milliseconds."""
    what = {"network": "of", "dataset": "on", "device": "on", "batch_size": "with batches of"}
    table = table.assign(network=list(map(network_name, table["network"], table["depth"])))
    constant = [c for c in what if len(table[c].unique()) == 1]
    described = table.columns[: table.columns.get_loc("preprocessing")]
    cells = _texts(table, described.drop(["label", "depth", *constant]))
    for column in ["preprocessing", "parallel_subnetworks", "coarse_network", "postprocessing"]:
        cells[heading(column)] = _numbers(1e3 * table[column])
    cells["Total (IQR)"] = [
        f"{1e3 * total:.2f} ({1e3 * iqr:.2f})"
        for total, iqr in zip(table["total"], table["total_iqr"], strict=True)
    ]
    cells["Speed-up"] = _numbers(table["speed_up"])
    cells["Published total"] = _numbers(1e3 * table["published_total"])
    cells["Published speed-up"] = _numbers(table["published_speed_up"])
    repeats = " or ".join(map(str, sorted(table["repeats"].unique())))
    note = (
        "Virtual wall-clock time of one gradient (forward and backward) in ms"
        + "".join(f" {what[c]} {_texts(table, [c]).iloc[0, 0]!s}" for c in constant)
        + f". Median over {repeats} repeats and interquartile range (IQR); the slowest "
        "preprocessing and subnetwork count, and the whole coarse network."
        if len(table)
        else "No gradient has been timed yet."
    )
    if table["published_total"].notna().any():
        note += (
            f" Published: {published.SOURCE}, Table 2, batch of {published.BATCH_SIZE} on one "
            f"{published.DEVICE}: across devices and batches compare speed-ups, not times."
        )
    return TextTable("Table 2", "Gradient calculating time", _drop_empty(cells), note)


def _texts(table: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    cells = pd.DataFrame(index=table.index)
    for column in columns:
        name = dataset_name if column == "dataset" else str
        cells[heading(column)] = [MISSING if pd.isna(value) else name(value) for value in table[column]]
    return cells


def _drop_empty(cells: pd.DataFrame) -> pd.DataFrame:
    return cells if cells.empty else cells.loc[:, ~cells.isin([MISSING, ""]).all()]


def _number(value: float, spec: str = ".2f") -> str:
    return MISSING if pd.isna(value) else format(value, spec).replace("-", "−")


def _numbers(values: pd.Series) -> list[str]:
    return [_number(value) for value in values]


def _interval(difference: float, low: float, high: float) -> str:
    text = _number(difference, "+.2f")
    return text if pd.isna(low) else f"{text} [{_number(low, '+.2f')}, {_number(high, '+.2f')}]"
