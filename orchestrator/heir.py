"""Outlives a sweep's process that ends without a chance to say or clear up anything.

A script for :func:`orchestrator.last_words.appoint`: it imports little, so that it costs little.
"""

import os
import signal
import stat
import sys
import time
from collections.abc import Collection
from pathlib import Path

DONE = "all is well"
PATIENCE = 5.0
"""Seconds that processes have to end by themselves."""


def end_ray(folder: str, process: int, *, patience: float, but: Collection[int] = ()) -> None:
    """End all processes of the Ray that a process has started: who is frozen, and Ray's agents, outlast it.

    They are known by what they write to: files of the session that bears the process's number.

    Args:
        folder: where Ray keeps its sessions.
        process: the number of the process.
        patience: seconds that they have to end by themselves.
        but: those that are left alone.
    """
    end = time.monotonic() + patience
    while (left := started_by(folder, process).difference(but)) and time.monotonic() < end:
        time.sleep(0.2)
    for number in left:
        try:
            os.kill(number, signal.SIGKILL)
        except ProcessLookupError:
            continue


def started_by(folder: str, process: int) -> set[int]:
    """The processes that write to the session of the Ray that it has started."""
    beginning = f"{os.path.realpath(folder)}/session_"
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/[0-9]*"):
        try:
            file, mode = str(link.readlink()), link.lstat().st_mode
        except OSError:  # it has ended, or is somebody else's
            continue
        session = file.removeprefix(beginning).partition("/")[0]
        if file.startswith(beginning) and session.endswith(f"_{process}") and mode & stat.S_IWUSR:
            found.add(int(link.parts[2]))
    return found - {process}


def scratch_prefix(process: int) -> str:
    """What the names of a process's folders for a while begin with."""
    return f"parareal-{process}-"


def main(words: str, folder: str, process: str) -> None:
    """Wait until a pipe breaks; unless all is well by then, say the words, and end the Ray in a folder."""
    if sys.stdin.read() == DONE:
        return
    if words:
        print(words, file=sys.stderr, flush=True)
    if folder:
        end_ray(folder, int(process), patience=PATIENCE)
    import shutil  # not for those who are dismissed
    import tempfile

    for left in Path(tempfile.gettempdir()).glob(f"{scratch_prefix(int(process))}*"):
        shutil.rmtree(left, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
