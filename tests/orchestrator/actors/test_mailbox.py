import subprocess
import sys
from pathlib import Path

import pytest
import torch

from orchestrator.actors.mailbox import attach, offer

PEER = """
import sys
from orchestrator.actors.mailbox import attach

mailbox = attach(sys.argv[1])
mailbox.memory[:3] += 1
mailbox.pipes[1].write(b"done")
sys.stdin.read()
"""


def test_two_processes_share_memory_and_pipes_until_one_ends():
    with offer(5, n_pipes=2) as (mine, address):
        mine.memory.copy_(torch.tensor([1, 2, 3, 4, 5]))
        peer = subprocess.Popen([sys.executable, "-c", PEER, address], stdin=subprocess.PIPE)
        assert mine.pipes[1].read(4) == b"done"
    assert mine.memory.tolist() == [2, 3, 4, 4, 5]
    peer.kill()
    peer.communicate()
    assert [pipe.read(1) for pipe in mine.pipes] == [b"", b""]  # the end, not a wait
    assert mine.memory.tolist() == [2, 3, 4, 4, 5]


def test_the_owners_end_is_an_error_for_the_peer():
    with offer(1, n_pipes=1) as (mine, address):
        theirs = attach(address)
    mine.pipes[0].close()
    with pytest.raises(BrokenPipeError):
        theirs.pipes[0].write(b".")


def test_once_offered_no_more_there_is_nothing_to_attach_to():
    with offer(1, n_pipes=1) as (_, address):
        assert attach(address) is not None
    assert attach(address) is None


def test_what_goes_by_the_same_path_on_another_host_is_left_alone(tmp_path: Path):
    file = tmp_path / "file"
    file.write_bytes(b"precious")
    with offer(1, n_pipes=1) as (_, address), file.open("r+b") as other:
        pid, name, memory, pipe = address.split()
        assert attach(f"{pid} {name} {other.fileno()} {pipe}") is None
        assert attach(f"{pid} parareal-another {memory} {pipe}") is None
        assert attach(f"{2**22 + 1} {name} {memory} {pipe}") is None  # no process has so high a number
        assert attach("") is None
    assert file.read_bytes() == b"precious"


def test_a_mailbox_leaves_no_open_files_behind():
    files = Path("/proc/self/fd")
    before = len(list(files.iterdir()))
    for _ in range(3):
        with offer(10, n_pipes=3) as (mine, address):
            theirs = attach(address)
            assert theirs.memory[:10].data_ptr() != mine.memory.data_ptr()
        del mine, theirs
    assert len(list(files.iterdir())) == before


def test_a_mailbox_may_have_no_memory():
    with offer(0, n_pipes=1) as (mine, address):
        assert len(mine.memory) == 0
        assert attach(address) is not None
