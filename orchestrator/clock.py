"""Where an actor's time goes: seconds by activity, added up over an epoch."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Adds up host seconds by name.

    On a GPU work is asynchronous: what the host spends is then launching, and waiting where a value
    is needed.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add the duration of the block to ``name``."""
        start = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - start
