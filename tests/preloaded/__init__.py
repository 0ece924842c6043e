"""Workers of Ray for the tests, forked from one process that has imported torch.

Two seconds of processor time for every actor of every test are most of what the tests would take; see
``sitecustomize.py`` for what is the same as without, which is nearly everything. ``PARAREAL_TEST_FORKS=``
(empty) in the environment leaves it out.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import ray

from orchestrator.cluster import WORKER_ENVIRONMENT

HERE = Path(__file__).parent
FORKS = "PARAREAL_TEST_FORKS"


class Forks:
    """The process that workers are forked from, from now on for all that this process starts."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="forks-")
        allocator = Path(ray.__file__).parent / "core" / "libjemalloc.so"  # as Ray has it in its workers
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "forks.py"), self._folder.name],
            env=os.environ | WORKER_ENVIRONMENT | {"LD_PRELOAD": str(allocator)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"
        os.environ[FORKS] = str(Path(self._folder.name, "socket"))
        os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])

    def close(self) -> None:
        """End it; workers that are still there stay."""
        self._process.communicate()
        del os.environ[FORKS]
        self._folder.cleanup()


def environment(process: psutil.Process) -> dict[str, str]:
    """What a process was started with, were it forked."""
    if forks := os.environ.get(FORKS):
        written = Path(forks).with_name(str(process.pid))
        if written.exists():
            return json.loads(written.read_text())
    return process.environ()
