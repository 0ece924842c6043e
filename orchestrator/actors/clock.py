"""Where an actor's time goes: seconds by activity, added up over an epoch."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Clock:
    """Adds up seconds by name: the host's on a CPU, the device's on a GPU.

    On a GPU the blocks are marked in the stream of work and read when the epoch is over, so that
    nothing waits for the clock. On a CPU a processor's seconds are taken as well: where processes share
    a core and interrupt each other, only these tell what a block costs.

    Args:
        device: whose time to take.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._seconds: dict[str, float] = defaultdict(float)
        self._processor_seconds: dict[str, float] = defaultdict(float)
        self._marks: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add the duration of the block to ``name``."""
        if self._on_gpu:
            start = _mark()
            yield
            self._marks.append((name, start, _mark()))
        else:
            begin, used = time.perf_counter(), time.thread_time()
            yield
            self._processor_seconds[name] += time.thread_time() - used
            self._seconds[name] += time.perf_counter() - begin

    def seconds(self) -> dict[str, float]:
        """Seconds so far by name; on a GPU, once all marked work is done."""
        total = defaultdict(float, self._seconds)
        for name, start, end in self._marks:
            end.synchronize()
            total[name] += start.elapsed_time(end) / 1e3
        return dict(total)

    def processor_seconds(self) -> dict[str, float]:
        """Processor time of the calling thread so far, seconds by name; empty on a GPU."""
        return dict(self._processor_seconds)


def _mark() -> torch.cuda.Event:
    """An event in the current stream that will know its time."""
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event
