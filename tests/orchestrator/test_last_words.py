import contextlib
import os
import subprocess
import sys

import psutil
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


def test_what_is_left_of_the_ray_of_a_killed_process_is_ended(tmp_path):
    code = """
import os, signal, subprocess
from pathlib import Path
from ray._common.utils import get_default_ray_temp_dir
from orchestrator.last_words import appoint
log = Path(get_default_ray_temp_dir(), f"session_x_{os.getpid()}", "logs", "actor.out")
log.parent.mkdir(parents=True)
with log.open("w") as file:
    actor = subprocess.Popen(["sleep", "300"], stdout=file, stderr=subprocess.DEVNULL)
actor.send_signal(signal.SIGSTOP)
print(actor.pid, flush=True)
appoint(ends_ray=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = os.environ | {"RAY_TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment
    )
    assert done.stderr == ""
    with contextlib.suppress(psutil.NoSuchProcess):
        # Nobody may be there to hear how it ended.
        assert psutil.Process(int(done.stdout)).status() == psutil.STATUS_ZOMBIE


def test_the_folders_for_a_while_of_a_killed_process_are_removed_and_nobody_elses(tmp_path):
    code = """
import os, signal, tempfile
from orchestrator.heir import scratch_prefix
for process in (os.getpid(), 1):
    folder = tempfile.mkdtemp(prefix=scratch_prefix(process))
    open(os.path.join(folder, "file"), "w").close()
"""
    for end, left in (("os.kill(os.getpid(), signal.SIGKILL)", 1), ("pass", 2)):
        folder = tmp_path / str(left)
        folder.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", f"{code}\n{CODE.format(end)}"],
            stderr=subprocess.PIPE,
            timeout=60,
            env=os.environ | {"TMPDIR": str(folder)},
        )
        assert len(list(folder.iterdir())) == left, done.stderr
