"""What a folder of encoded images holds, before any of them is read."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from orchestrator.data.decoding import Encoded
from orchestrator.data.labels import Values
from orchestrator.data.source import Rows


class Listed(NamedTuple):
    """One split.

    Attributes:
        files: that they are read from.
        labels: of its images, (n,): words, whole numbers or booleans.
        encoded: reads chosen images, a few at a time, by ascending rows.
    """

    files: Sequence[Path]
    labels: Values
    encoded: Callable[[Rows], Iterator[Encoded]]


class Listing(NamedTuple):
    """All splits by name.

    Attributes:
        splits: by the name that they have in the folder.
        remarks: what a user should know of how the folder was read, a line each.
        names: of the classes by label, where they have others than the labels themselves.
    """

    splits: dict[str, Listed]
    remarks: tuple[str, ...] = ()
    names: dict[int, str] | None = None
