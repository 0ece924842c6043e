import fcntl
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from orchestrator.data import kept
from orchestrator.data.errors import DatasetError
from orchestrator.data.kept import Copy, keep, made, scratch
from orchestrator.storage.files import NO_LOCKS

MAKER = """
import sys, time
from pathlib import Path
from orchestrator.data.kept import made
def make(folder):
    (folder / "whole").write_text("half")
    print("begun", flush=True)
    sys.stdin.readline()
    (folder / "whole").write_text("whole")
    return {"by": sys.argv[2]}
print(made(Path(sys.argv[1]), make)["by"], flush=True)
"""


def maker(folder, name):
    """A process that makes the folder, and waits in the middle for a line."""
    command = [sys.executable, "-c", MAKER, str(folder), name]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("error", NO_LOCKS)
def test_a_file_system_without_locks_is_refused(tmp_path, monkeypatch, error):
    def refuse(file, operation):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(fcntl, "flock", refuse)
    message = f"{tmp_path} is on a file system without locks .*: give --data-dir a folder on another"
    with pytest.raises(DatasetError, match=message):
        made(tmp_path / "pets", lambda folder: {})


def test_of_two_processes_one_makes_a_folder_and_a_killed_one_leaves_nothing(tmp_path):
    folder = tmp_path / "decoded" / "pets"
    with maker(folder, "killed") as killed:
        assert killed.stdout.readline() == "begun\n"
        assert not folder.exists()
        killed.send_signal(signal.SIGKILL)
    with maker(folder, "first") as first:
        assert first.stdout.readline() == "begun\n"
        with maker(folder, "second") as second:
            first.communicate("\n")
            assert second.communicate("\n")[0] == "first\n"
    assert (folder / "whole").read_text() == "whole"
    assert [path.name for path in folder.parent.iterdir() if path.name.endswith(".tmp")] == []


def test_a_maker_that_fails_leaves_nothing_and_may_try_again(tmp_path):
    def fail(folder):
        (folder / "half").touch()
        raise DatasetError("no")

    with pytest.raises(DatasetError):
        made(tmp_path / "pets", fail)
    assert not [path for path in tmp_path.iterdir() if not path.name.endswith(".lock")]
    assert made(tmp_path / "pets", lambda folder: {"n": 1}) == {"n": 1}
    assert made(tmp_path / "pets", fail) == {"n": 1}


def test_a_changed_digit_in_what_is_known_of_a_folder_is_noticed(tmp_path):
    folder = tmp_path / "pets"
    made(folder, lambda folder: {"n": 1})
    (about,) = folder.iterdir()
    about.write_text(about.read_text().replace('"n": 1', '"n": 7'))
    with pytest.raises(DatasetError, match=f"is damaged .*: remove {folder}, it is made again"):
        made(folder, lambda folder: {"n": 1})


def test_what_the_disk_does_not_hold_is_told_before_it_is_written(tmp_path):
    huge = np.broadcast_to(np.float64(0), (2**50, 2))
    with pytest.raises(
        DatasetError, match=r"take [\d,.]+ GiB of disk in .*, where .* GiB are free: make room"
    ):
        keep(tmp_path / "huge", {"inputs": Copy(huge)})
    with pytest.raises(DatasetError, match="its samples take"):
        scratch(tmp_path, huge.shape, huge.dtype)


def test_chosen_rows_are_kept_as_the_kind_of_number_that_is_asked_for(tmp_path):
    numbers = np.arange(60, dtype=np.uint16).reshape(20, 3)
    rows = np.array([1, 4, 19])
    copy = keep(tmp_path / "some", {"array": Copy(numbers, rows, "int64")})["array"]
    assert copy.dtype == np.int64
    assert (copy == numbers[rows]).all()
    assert not copy.flags.writeable


def test_a_large_array_to_be_written_is_in_a_file_that_goes_with_it(tmp_path, monkeypatch):
    assert not isinstance(scratch(tmp_path, (3,), np.uint8), np.memmap)
    monkeypatch.setattr(kept, "LARGE", 1)
    array = scratch(tmp_path, (3, 2), np.int64)
    array[:] = 7
    assert isinstance(array, np.memmap)
    assert array.sum() == 42
    assert not [*tmp_path.iterdir()]


def test_an_array_whose_header_says_something_else_is_noticed(tmp_path):
    copies = {"array": Copy(np.arange(6, dtype=np.uint8).reshape(2, 3))}
    keep(tmp_path / "some", copies)
    file = tmp_path / "some" / "array.npy"
    file.write_bytes(file.read_bytes().replace(b"(2, 3)", b"(3, 2)"))
    with pytest.raises(DatasetError, match=r"arrays in .* are not those written: remove"):
        keep(tmp_path / "some", copies)


def test_what_is_known_of_a_folder_is_an_object(tmp_path):
    made(tmp_path / "pets", lambda folder: {"n": 1})
    (tmp_path / "pets" / "about.json").write_text("[]")
    with pytest.raises(DatasetError, match="it holds no object"):
        made(tmp_path / "pets", lambda folder: {"n": 1})
