"""What is said for a process that ended without a chance to say it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_HEIR = "import sys; sys.stdin.read() or print(sys.argv[1], file=sys.stderr)"


@contextmanager
def last_words(text: str) -> Iterator[None]:
    """Have ``text`` printed on stderr should this process end within the block: killed, or by Ray.

    Ray ends a process whose cluster is gone at once, past every handler of Python's. So a small process
    waits until this one leaves the block, or a pipe to it breaks.
    """
    # A session of its own: an interruption from the terminal is not for it.
    heir = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _HEIR, text],
        stdin=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield
    finally:
        heir.communicate("all is well")
