"""Frames, tables, figure and report of a result store. Needs neither Ray nor torch.

from analysis import load

results = load("results/quickstart")
results.table1()
"""

from analysis.frames import Results, StoreError, StoreWarning, load
from analysis.published import published_table1, published_table2

__all__ = [
    "Results",
    "StoreError",
    "StoreWarning",
    "load",
    "published_table1",
    "published_table2",
]
