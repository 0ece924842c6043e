"""What a fault is."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from benchmarks.faults.running import Running


class NotNowError(RuntimeError):
    """The fault has nothing to strike at this moment."""


DEAR = 0.3
"""Weight of a kind that takes as long as several others, since a whole Ray starts anew."""

Undo = Callable[[], object]
"""Ends a fault that lasts."""


def nothing() -> None:
    """What ends a fault that is over at once."""


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        strike: strikes a running sweep, and returns what ends the fault; raises NotNowError.
        seconds: how long it lasts.
        weight: how often it is chosen; less where its end takes long.
    """

    strike: Callable[[Running, Random], Undo]
    seconds: float = 0.0
    weight: float = 1.0
