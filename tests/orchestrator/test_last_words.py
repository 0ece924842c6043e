import subprocess
import sys

import pytest

CODE = """
import os, signal, sys
from orchestrator.last_words import last_words
with last_words("go on; like [this] $(echo that)"):
    {}
"""


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", True),
        ("os._exit(1)", True),
        ("pass", False),
        ("sys.exit(1)", False),
        ("1 / 0", False),
    ],
)
def test_the_words_are_said_only_for_who_could_not_speak(end, said):
    code = CODE.format(end)
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.stderr == "go on; like [this] $(echo that)\n") == said
