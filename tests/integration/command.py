"""The command as a user runs it, and what its store holds in the end."""

import contextlib
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

from tests.preloaded import environment, start_python

MEASURED = ["seconds", "samples_per_second", "step_seconds", "peak_memory_bytes"]
"""Columns of the epochs frame that differ from run to run."""
TINY = ["--n-subnetworks", "1", "2", "--seed", "0", "--depth", "20", "--width", "4", "--epochs", "3"]
TINY += ["--train-subset", "640", "--timing-repeats", "2", "--partition", "uniform", "--coarse", "units"]
UNTIMED = [*TINY, "--timing-repeats", "0"]


class Command:
    """``python -m orchestrator.sweep`` in a process of its own, whose descendants can be found.

    Before it stands the prefix, a command that turns itself into the one behind it, such as ``nice``.
    """

    def __init__(self, *options: str, prefix: Sequence[str] = (), **environment: str) -> None:
        self.mark = uuid.uuid4().hex
        environ = os.environ | environment | {"PARAREAL_TEST": self.mark}
        arguments = ["-m", "orchestrator.sweep", *options]
        self.process: Any = start_python(arguments, environ=environ, prefix=prefix)

    def lines(self):
        """Its output as it comes."""
        return iter(self.process.stdout)

    def finish(self):
        """Wait for its end; returns exit status and output."""
        output = "".join(self.lines())
        return self.process.wait(), output

    def processes(self, title):
        """Those of its Ray whose title begins so, such as SerialActor or SerialActor.run_epoch."""
        found = []
        for process in self.descendants():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                if (process.cmdline() or [""])[0].startswith(f"ray::{title}"):
                    found.append(process)
        return found

    def descendants(self):
        """Processes it has started, directly or not, that are still there."""
        found = []
        for process in psutil.process_iter():
            try:
                if environment(process).get("PARAREAL_TEST") == self.mark:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
                continue
        return found

    def await_end_of_descendants(self, seconds):
        _, alive = psutil.wait_procs(self.descendants(), timeout=seconds)
        return alive


def epochs(store):
    """All rows of the epochs frame but for what depends on the machine."""
    frame = pd.read_parquet(Path(store, "epochs")).sort_values(["trial_id", "epoch"], ignore_index=True)
    return frame.drop(columns=MEASURED)
