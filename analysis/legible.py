"""How much of a very large store a reader is shown: the best of it, and in words what is left out."""

from collections.abc import Iterable, Sequence

import pandas as pd

MAX_ROWS = 40
"""Of a table of the report; files .csv have all."""
MAX_OPTIONS = 8
"""Columns of options that differ, in a table or a title; files .csv have all."""
MAX_PANELS = 6
"""Of a figure."""
MAX_LINES = 10
"""Configurations in a panel, and single trials of each."""
MAX_VALUES = 12
"""Distinct values of an option that are listed."""
MAX_SENTENCES = 5
"""Of one kind."""


def best(values: pd.Series, most: int) -> pd.Series:
    """Which of the items have the smallest values, as a mask of so many at most; missing ones come last."""
    return values.rank(method="first", na_option="bottom") <= most


def telling(table: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """Those of the columns that have the most distinct values, as many as can be read, in their order."""
    distinct = pd.Series({column: -table[column].nunique(dropna=False) for column in columns}, dtype=float)
    kept = best(distinct, MAX_OPTIONS)
    return [column for column in columns if kept[column]]


def in_all(shown: int, there: int, what: str, where: str = "") -> str:
    """A sentence on what is left out, after a blank; nothing where nothing is."""
    return f" Shown: the {shown} best of {there:,} {what}{where}." if shown < there else ""


def listed(texts: Iterable[str], most: int = MAX_VALUES) -> str:
    """Texts with commas between them, the last ones counted where there are many."""
    all_texts = list(texts)
    more = f" and {len(all_texts) - most:,} more" if len(all_texts) > most else ""
    return ", ".join(all_texts[:most]) + more


def left_out(n_panels: int) -> str:
    """A sentence on panels of a figure that are not drawn, after a blank; nothing where all are."""
    return f" Shown: the first {MAX_PANELS} of {n_panels:,} panels." if n_panels > MAX_PANELS else ""
