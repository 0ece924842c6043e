"""What is said and cleared up for a process that ended without a chance to do it itself."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ray._common.utils import get_default_ray_temp_dir

from analysis.command import error_stream
from orchestrator import heir


@contextmanager
def last_words(text: str) -> Iterator[None]:
    """Have ``text`` printed on stderr should this process end within the block: killed, or by Ray.

    Ray ends a process whose cluster is gone at once, past every handler of Python's. So a small process
    waits until this one leaves the block, or a pipe to it breaks; then it also ends what is left of a Ray
    that this one has started.
    """
    # A session of its own: an interruption from the terminal is not for it.
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", heir.__file__, text, get_default_ray_temp_dir(), str(os.getpid())],
        stdin=subprocess.PIPE,
        stderr=error_stream(),
        text=True,
        start_new_session=True,
    )
    try:
        yield
    finally:
        process.communicate(heir.DONE)
