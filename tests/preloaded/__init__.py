"""Processes for the tests, forked from one that has imported what they would import.

Two seconds of processor time for every actor of every test, and five for every command, are most of what the
tests would take. Only the way in which they come to their imports differs: each is a process of its own, with
its own arguments, environment, folder, output and priority. Ray's workers come to it by ``sitecustomize.py``,
commands by `start_python`. ``PARAREAL_TEST_FORKS=`` (empty) in the environment leaves it out.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import ClassVar

import psutil
import ray

from orchestrator.cluster import WORKER_ENVIRONMENT
from tests.preloaded.asking import ask

HERE = Path(__file__).parent
FORKS = "PARAREAL_TEST_FORKS"
OF_COMMANDS = [*("torch", "ray.tune", "pandas", "matplotlib.figure", "scipy.stats", "mlflow")]
"""What ``python -m orchestrator.sweep`` imports of other projects, sooner or later."""


class Forked:
    """A process that was forked, as `subprocess.Popen` would have it."""

    def __init__(self, link: socket.socket, output: int) -> None:
        self._link = link.makefile("rb")
        self.pid = int.from_bytes(self._link.read(8), "big")
        self.stdout = os.fdopen(output, encoding="utf-8")
        self.returncode: int | None = None

    def wait(self) -> int:
        """Wait for its end; returns its status, or -N where signal N has ended it."""
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(int.from_bytes(self._link.read(8), "big"))
            self._link.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it is known to have ended."""
        if self.returncode is None:
            os.kill(self.pid, number)


class Forks:
    """The process that others are forked from, until `close_all`.

    Args:
        modules: what it imports.
        environment: what its own has beside this one's.
    """

    running: ClassVar[list["Forks"]] = []

    def __init__(self, modules: Sequence[str], **environment: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="forks-")
        self.folder = Path(self._folder.name)
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "forks.py"), str(self.folder), *modules],
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"
        self.running.append(self)

    def close(self) -> None:
        """End it; what was forked from it stays."""
        self._process.communicate()
        self.running.remove(self)
        self._folder.cleanup()


def fork_workers() -> None:
    """From now on all workers of Ray that this process, or what it starts, leads to are forked."""
    allocator = Path(ray.__file__).parent / "core" / "libjemalloc.so"  # as Ray has it in its workers
    # Not Ray, which reads a worker's environment while it is imported.
    forks = Forks(["torch"], **WORKER_ENVIRONMENT, LD_PRELOAD=str(allocator))
    os.environ[FORKS] = str(forks.folder / "socket")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])


def start_python(
    arguments: Sequence[str], *, environ: Mapping[str, str] = os.environ, folder: Path | None = None
) -> "Forked | subprocess.Popen[str]":
    """Start Python with these arguments; both its outputs come as the process's ``stdout``."""
    command = [sys.executable, *arguments]
    folder = folder or Path.cwd()
    if not os.environ.get(FORKS):
        return subprocess.Popen(
            command,
            env=environ,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=_heed_the_keyboard,
        )
    output, written = os.pipe()
    link = ask(_commands() / "socket", command, environ, folder, [0, written, written], reported=True)
    os.close(written)
    return Forked(link, output)


def environment(process: psutil.Process) -> dict[str, str]:
    """What a process was started with, were it forked."""
    for forks in Forks.running:
        if (written := forks.folder / str(process.pid)).exists():
            return json.loads(written.read_text())
    return process.environ()


def close_all() -> None:
    """End the processes that others are forked from."""
    for forks in list(Forks.running):
        forks.close()


@cache
def _commands() -> Path:
    return Forks(OF_COMMANDS).folder


def _heed_the_keyboard() -> None:
    """As from a terminal: what a script runs in the background ignores these signals, and hands that on."""
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
