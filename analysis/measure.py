"""What the columns of errors hold: the error rate, or the metric of another task."""

from dataclasses import dataclass

import pandas as pd

COLUMNS = ("metric", "unit", "better")
"""Columns of ``trials`` that say so."""


@dataclass(frozen=True)
class Measure:
    """What was measured on the validation data.

    Attributes:
        metric: "error", "RMSE", "perplexity".
        unit: "%", "" for none.
        better: "lower" or "higher".
    """

    metric: str = "error"
    unit: str = "%"
    better: str = "lower"

    @property
    def title(self) -> str:
        """For an axis or the head of a column: "error (%)"."""
        return f"{self.metric} ({self.unit})" if self.unit else self.metric

    @property
    def of_difference(self) -> str:
        """The unit of a difference: that of two percentages are points."""
        return "points" if self.unit == "%" else self.unit

    def value(self, value: float) -> str:
        """A value with its unit: "1.25 %", "0.0123"."""
        return f"{value:.2f} %" if self.unit == "%" else f"{value:.4g} {self.unit}".strip()

    def best(self, values: pd.Series) -> float:
        """The best of some values."""
        return float(values.min() if self.better == "lower" else values.max())

    def reached(self, values: pd.Series, threshold: float) -> pd.Series:
        """Which values are as good as the threshold."""
        return values <= threshold if self.better == "lower" else values >= threshold


SEVERAL = Measure("metric", "", "lower")
"""Where rows of different tasks stand together."""


def measure_of(rows: pd.DataFrame) -> Measure:
    """What all rows measure; the error rate where a frame does not say, `SEVERAL` where they differ."""
    if not set(COLUMNS) <= set(rows.columns):
        return Measure()
    kinds = rows[list(COLUMNS)].dropna().drop_duplicates()
    if len(kinds) > 1:
        return SEVERAL
    return Measure(*kinds.iloc[0]) if len(kinds) else Measure()
