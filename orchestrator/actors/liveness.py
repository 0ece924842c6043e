"""Signs of life: how a process that is frozen is noticed. Ray notices only one that is gone.

watched process, a thread of its own        watching process
count 1, 2, 3, … every second      ──▶      TCP store; who stands still for too long is silent
"""

import atexit
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

import ray

from orchestrator.actors.transport import Rendezvous, TransportError, open_store

SLOW_START = 300
"""Seconds that a process may take to start, import torch, fetch its images and build its network."""

_INTERVAL = 1.0  # between two signs of life


def show_life(rendezvous: Rendezvous, name: str) -> None:
    """Give a sign of life as ``name``, and from now on one every second as long as this process runs.

    Raises:
        TransportError: nobody watches there.
    """
    store = rendezvous.join()
    store.add(_key(name), 1)
    over = threading.Event()

    def keep_counting() -> None:
        nonlocal store
        while not over.wait(min(_INTERVAL, rendezvous.timeout / 4)):
            try:
                store.add(_key(name), 1)
            except RuntimeError:  # the watching process is frozen itself, or gone and this one soon after
                with suppress(TransportError):
                    store = rendezvous.join()

    def end() -> None:
        over.set()
        thread.join(timeout=2 * _INTERVAL)

    thread = threading.Thread(target=keep_counting, daemon=True)
    thread.start()
    atexit.register(end)  # a thread that came back from torch while Python is taken down would abort it


@dataclass
class _Heard:
    """What has been heard of a process: its last count, and for how long nothing since."""

    count: int
    silence: float
    limit: float


class Watch:
    """Notices which of some processes have fallen silent.

    Args:
        timeout: seconds without a sign of life until a process counts as silent; before its first one
            since :meth:`expect` it is given :data:`SLOW_START` or what that is told, if it is longer.

    Attributes:
        rendezvous: the TCP store where the processes' :func:`show_life` finds this watch.
    """

    def __init__(self, *, timeout: float) -> None:
        self._store, self.rendezvous = open_store(ray.util.get_node_ip_address(), timeout)
        self._heard: dict[str, _Heard] = {}
        self._looked = time.monotonic()

    def expect(self, name: str, *, slow_start: float | None = None) -> None:
        """Watch a process that is about to start; before its first sign it has ``slow_start`` seconds."""
        limit = max(SLOW_START if slow_start is None else slow_start, self.rendezvous.timeout)
        self._heard[name] = _Heard(self._count(name), 0.0, limit)

    def dismiss(self, name: str) -> None:
        """Watch it no longer."""
        self._heard.pop(name, None)

    def silent(self) -> dict[str, float]:
        """Processes that have been silent for too long, and for how many seconds."""
        now = time.monotonic()
        # Time that this process itself was frozen counts for little: nobody was heard in it.
        passed, self._looked = min(now - self._looked, 2 * _INTERVAL), now
        for name, heard in self._heard.items():
            if (count := self._count(name)) == heard.count:
                heard.silence += passed
            else:
                heard.count, heard.silence, heard.limit = count, 0.0, self.rendezvous.timeout
        return {name: heard.silence for name, heard in self._heard.items() if heard.silence > heard.limit}

    def _count(self, name: str) -> int:
        count: int = self._store.add(_key(name), 0)
        return count


def _key(name: str) -> str:
    return f"alive/{name}"
