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
from pathlib import Path

import psutil
import ray

from orchestrator.cluster import WORKER_ENVIRONMENT
from tests.preloaded.asking import ask

HERE = Path(__file__).parent
FORKS = "PARAREAL_TEST_FORKS"
OF_WORKERS = (
    *("torch", "pandas", "pyarrow.fs", "fsspec", "pydantic", "requests", "jsonschema", "filelock", "yaml"),
    *("tensorboardX", "PIL.Image", "rich.progress"),
)
"""What workers import of other projects, but Ray, which reads a worker's environment while it is imported."""
OF_COMMANDS = (
    *("torch", "ray.tune", "pandas", "matplotlib.figure", "scipy.stats", "mlflow"),
    *("tyro", "tensorboardX", "rich.progress", "pandas.io.formats.style"),
)
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
            status = self._link.read(8)
            assert len(status) == 8, "who waits for it was lost"
            self.returncode = os.waitstatus_to_exitcode(int.from_bytes(status, "big"))
            self._link.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it is known to have ended."""
        if self.returncode is None:
            os.kill(self.pid, number)


class Forks:
    """The processes that others are forked from, for all that this one starts until `close`."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="forks-")
        allocator = Path(ray.__file__).parent / "core" / "libjemalloc.so"  # as Ray has it in its workers
        workers = self._start("workers", OF_WORKERS, WORKER_ENVIRONMENT | {"LD_PRELOAD": str(allocator)})
        self._processes = [workers, self._start("commands", OF_COMMANDS, {})]
        for process in self._processes:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
        os.environ[FORKS] = self._folder.name
        os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])

    def _start(self, name: str, modules: Sequence[str], more: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        (folder := Path(self._folder.name, name)).mkdir()
        return subprocess.Popen(
            [sys.executable, str(HERE / "forks.py"), str(folder), *modules],
            env=os.environ | more,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def close(self) -> None:
        """End them; what was forked from them stays."""
        for process in self._processes:
            process.communicate()
        del os.environ[FORKS]
        self._folder.cleanup()


def start_python(
    arguments: Sequence[str],
    *,
    environ: Mapping[str, str] = os.environ,
    folder: Path | None = None,
    prefix: Sequence[str] = (),
) -> "Forked | subprocess.Popen[str]":
    """Start Python with these arguments; both its outputs come as the process's ``stdout``.

    With a prefix, a command that turns itself into the one behind it, it is never forked.
    """
    command = [sys.executable, *arguments]
    folder = folder or Path.cwd()
    if prefix or not (forks := os.environ.get(FORKS)):
        return subprocess.Popen(
            [*prefix, *command],
            env=environ,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=_heed_the_keyboard,
        )
    output, written = os.pipe()
    link = ask(f"{forks}/commands", command, environ, folder, [0, written, written], reported=True)
    os.close(written)
    return Forked(link, output)


def environment(process: psutil.Process) -> dict[str, str]:
    """What a process was started with, were it forked."""
    if forks := os.environ.get(FORKS):
        for written in Path(forks).glob(f"*/{process.pid}"):
            return json.loads(written.read_text())
    return process.environ()


def _heed_the_keyboard() -> None:
    """As from a terminal: what a script runs in the background ignores these signals, and hands that on."""
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
