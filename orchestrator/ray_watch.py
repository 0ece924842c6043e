"""The Ray that a sweep runs on: whether it is there still.

A part of it that is lost Ray itself asks again for up to a minute, one that is frozen for ever. Its timers go
by the clock of the day: where that is set back, they stand still until it is as late again.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import NodeID
from ray._private import worker
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.exceptions import RpcError

from analysis.command import complain
from orchestrator import heir

_INTERVAL = 1.0  # seconds between two looks
_GRACE = 5.0  # seconds that the main thread has to notice
_NEEDED = {"raylet": "raylet", "gcs_server": "GCS"}
"""Parts without which nothing goes on, by Ray's names for them."""


class LostError(RuntimeError):
    """The Ray that this process is connected to can be used no more; says why."""


_lost = ""
"""Why, once it is."""


def check() -> None:
    """See that what :func:`watching` has last seen of Ray was good: for loops that wait.

    Raises:
        LostError: see there.
    """
    if _lost:
        raise LostError(_lost)


@contextmanager
def watching(*, timeout: float) -> Iterator[None]:
    """Look after the connected Ray for the length of the block, in a thread.

    Once Ray is lost, :func:`check` raises. Where nobody has called it after some seconds, since a call of
    Ray's waits without end, this process says why and ends, as Ray ends one whose GCS is gone.

    Args:
        timeout: seconds that Ray's GCS may be silent, or its timers may stand still.
    """
    global _lost
    _lost = ""
    over = threading.Event()
    watch = _Watch(timeout)

    def look() -> None:
        global _lost
        while not over.wait(_INTERVAL):
            if _lost := watch.what_is_lost():
                if not over.wait(_GRACE):
                    complain(_lost)
                    os._exit(1)
                return

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(2 * _INTERVAL)
        if _lost:
            watch.end_others()


def _clock() -> float:
    """The clock of the day against one that nobody sets, seconds."""
    return time.time() - time.monotonic()


class _Watch:
    """Looks at the connected Ray.

    Args:
        timeout: seconds that its GCS may be silent, or its timers may stand still.
    """

    def __init__(self, timeout: float) -> None:
        context = ray.get_runtime_context()
        self._here = NodeID.from_hex(context.get_node_id())
        # A connection of its own: nobody else waits in it.
        self._gcs = GcsClient(address=context.gcs_address)
        self._node: Any = worker._global_node
        self._timeout = timeout
        self._clock = _clock()

    def what_is_lost(self) -> str:
        """What is wrong with it; "" if nothing is."""
        node = self._node
        if node is not None and node.all_processes:  # started by this process
            for kind, process in node.dead_processes():
                if kind in _NEEDED:
                    return f"Ray's {_NEEDED[kind]} has ended on this machine (status {process.poll()})"
            if not Path(node.raylet_socket_name).exists():
                return (
                    f"Ray's folder {node.get_session_dir_path()} has been removed: have whatever cleans "
                    f"{node.get_temp_dir_path()} leave it, or set RAY_TMPDIR to another folder"
                )
        before, self._clock = self._clock, _clock()
        if (back := before - self._clock) > self._timeout:
            return (
                f"the clock of this machine was set back by {back:.0f} s, and for so long Ray's timers stand "
                "still: restart Ray, where this command has not started it"
            )
        # The first failure may be this process's own, if it was frozen itself.
        for patience in (self._timeout, _INTERVAL):
            start = time.monotonic()
            try:
                (alive,) = self._gcs.check_alive([self._here], timeout=patience)
            except RpcError:
                if (
                    time.monotonic() - start < patience
                ):  # refused: soon it has ended, or Ray ends this process
                    return ""
            else:
                return "" if alive else "Ray counts this machine as dead: its raylet does not answer"
        return f"no sign of life from Ray's GCS for {self._timeout:g} s"

    def end_others(self) -> None:
        """End what is left of a Ray that this process has started, but for its GCS: one leaves with it."""
        gcs = [each.process.pid for each in self._node.all_processes.get("gcs_server", [])]
        heir.end_ray(self._node.get_temp_dir_path(), os.getpid(), patience=0, but=gcs)
