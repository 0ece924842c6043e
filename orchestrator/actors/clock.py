"""Where an actor's time goes: seconds by activity, added up over an epoch."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch

Mark = float | torch.cuda.Event
"""A point in time: the host's seconds, or an event in a GPU's stream of work."""


def mark(device: torch.device) -> Mark:
    """Now, on a CPU; on a GPU when it is done with what the current stream has been given so far."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def seconds_between(start: Mark, end: Mark) -> float:
    """Seconds from one mark of a device to another; waits until a GPU has come to the later one."""
    if isinstance(start, float) or isinstance(end, float):
        assert isinstance(start, float) and isinstance(end, float)  # noqa: PT018 - of one device
        return end - start
    end.synchronize()
    milliseconds: float = start.elapsed_time(end)
    return milliseconds / 1e3


class Clock:
    """Adds up seconds by name: the host's on a CPU, the device's on a GPU.

    On a GPU the blocks are marked in the stream of work and read when the epoch is over, so that
    nothing waits for the clock. On a CPU a processor's seconds are taken as well: where processes share
    a core and interrupt each other, only these tell what a block costs.

    Args:
        device: whose time to take.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._processor_seconds: dict[str, float] = defaultdict(float)
        self._marks: list[tuple[str, Mark, Mark]] = []

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add the duration of the block to ``name``."""
        start, used = mark(self._device), time.thread_time()
        yield
        if self._device.type != "cuda":
            self._processor_seconds[name] += time.thread_time() - used
        self._marks.append((name, start, mark(self._device)))

    def each(self, name: str) -> list[float]:
        """Seconds of every block of that name, in order."""
        return [seconds_between(start, end) for this, start, end in self._marks if this == name]

    def seconds(self) -> dict[str, float]:
        """Seconds so far by name; on a GPU, once all marked work is done."""
        total: dict[str, float] = defaultdict(float)
        for name, start, end in self._marks:
            total[name] += seconds_between(start, end)
        return dict(total)

    def processor_seconds(self) -> dict[str, float]:
        """Processor time of the calling thread so far, seconds by name; empty on a GPU."""
        return dict(self._processor_seconds)
