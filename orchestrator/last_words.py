"""What is said and cleared up for a process that ended without a chance to do it itself."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ray._common.utils import get_default_ray_temp_dir

from analysis.command import error_stream
from orchestrator import heir

Heir = subprocess.Popen[str]


def appoint(*, words: str = "", ends_ray: bool = False) -> Heir:
    """Start a process that waits until this one dismisses it, or ends: killed, or by Ray.

    Ray ends a process whose cluster is gone at once, past every handler of Python's.

    Args:
        words: printed on stderr if this process ends first.
        ends_ray: whether the processes of a Ray that this one has started are ended then.

    Then the folders are removed that it has made under :func:`orchestrator.heir.scratch_prefix`.
    """
    folder = get_default_ray_temp_dir() if ends_ray else ""
    # A session of its own: an interruption from the terminal is not for it.
    return subprocess.Popen(
        [sys.executable, "-I", "-S", heir.__file__, words, folder, str(os.getpid())],
        stdin=subprocess.PIPE,
        stderr=error_stream(),
        text=True,
        start_new_session=True,
    )


def dismiss(appointed: Heir) -> None:
    """Have it end without a word."""
    appointed.communicate(heir.DONE)


@contextmanager
def last_words(text: str) -> Iterator[None]:
    """Have ``text`` printed on stderr should this process end within the block."""
    appointed = appoint(words=text)
    try:
        yield
    finally:
        dismiss(appointed)
