import fcntl
import os
import struct
import subprocess
import sys
import threading
from dataclasses import asdict
from itertools import permutations
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from analysis.reading import UnreadableError
from orchestrator.config import Sweep
from orchestrator.status import look
from orchestrator.storage.files import NO_LOCKS
from orchestrator.storage.store import SCHEMAS, Store, StoreError
from tests.unreadable import make_readable, make_unreadable

NOW = pd.Timestamp("2026-03-01 12:30:00.123456", tz="UTC")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def trial_row(trial_id, **values):
    (config,) = Sweep(n_subnetworks=(3,), seed=(0,)).trials()
    row = {"trial_id": trial_id, "status": "finished", "error": "", "started": NOW, "finished": NOW}
    return row | asdict(config) | {"milestones": "6 9", "commit": "abc"} | values


def epoch_row(trial_id, epoch=1, **values):
    row = {"trial_id": trial_id, "epoch": epoch, "learning_rate": 0.1, "train_loss": 2.5}
    return row | {"validation_error": 12.5, "seconds": 0.25, "peak_memory_bytes": 300_000_000} | values


def test_rows_come_back_as_they_were_written(store):
    rows = [epoch_row("a", epoch, train_loss=1 / 3) for epoch in (1, 2, 3)]
    store.write("epochs", "a", rows)
    assert [{name: row[name] for name in rows[0]} for row in store.read("epochs", "a")] == rows
    store.write("epochs", "a", rows[:1])
    assert len(store.read("epochs", "a")) == 1

    store.write("trials", "a", [trial_row("a", finished=pd.NaT, seed=2**60)])
    (row,) = store.read("trials", "a")
    assert (row["started"], row["finished"], row["seed"]) == (NOW, None, 2**60)
    assert (row["train_subset"], row["augment"]) == (None, True)
    store.write("trials", "a", store.read("trials", "a"))
    assert store.read("trials", "a") == [row]


def test_every_option_of_a_trial_has_a_column():
    (config,) = Sweep(n_subnetworks=(3,), seed=(0,)).trials()
    assert asdict(config).keys() <= set(SCHEMAS["trials"].names)


def test_a_column_that_is_not_known_is_refused(store):
    with pytest.raises(ValueError, match="epochs has no column loss: add it to SCHEMAS"):
        store.write("epochs", "a", [epoch_row("a", loss=1.0)])
    assert store.read("epochs", "a") == []


def test_nothing_there_is_no_rows_and_no_status(store):
    assert store.read("trials", "a") == []
    assert store.status("a") is None
    for kind in SCHEMAS:
        store.write(kind, "a", [])
        assert store.read(kind, "a") == []
    assert store.status("a") is None


def test_the_status_is_the_last_written(store):
    for status in ("running", "diverged"):
        store.write("trials", "a", [trial_row("a", status=status)])
        assert store.status("a") == status


def test_trials_do_not_touch_each_other(store):
    store.write("epochs", "a", [epoch_row("a")])
    store.write("epochs", "b", [epoch_row("b"), epoch_row("b", 2)])
    assert [len(store.read("epochs", trial_id)) for trial_id in "ab"] == [1, 2]


# Rows of one kind that a reader which guesses types would find contradictory.
TRIALS = [
    trial_row("", status="running", finished=pd.NaT),
    trial_row("", train_subset=400, width=None),
    trial_row("", weight_decay=0, error="the loss was not finite"),
]
EPOCHS = [
    epoch_row(""),
    {"trial_id": "", "epoch": 1, "train_loss": float("inf")},
    epoch_row("", train_loss=2),
]


def none_if_empty(value):
    return None if pd.isna(value) else value


@pytest.mark.parametrize(("kind", "rows"), [("trials", TRIALS), ("epochs", EPOCHS)])
def test_plain_pandas_reads_the_folder_whatever_is_missing_in_one_trial(tmp_path, kind, rows):
    for number, order in enumerate(permutations(rows)):
        store = Store(tmp_path / str(number))
        for trial_id, row in zip("abc", order, strict=True):
            store.write(kind, trial_id, [row | {"trial_id": trial_id}])
        frame = pd.read_parquet(store.path / kind)
        assert frame.pop("trial_id").tolist() == ["a", "b", "c"]
        for name in frame:
            read, written = frame[name].tolist(), [row.get(name) for row in order]
            assert [none_if_empty(value) for value in read] == [none_if_empty(value) for value in written]


def test_a_reader_sees_whole_files_while_they_are_written(store):
    """All rows of a frame are of one writing."""

    def write(version):
        n = version % 7 + 1
        store.write("epochs", "a", [epoch_row("a", epoch, seconds=float(version)) for epoch in range(n)])

    def keep_writing():
        version = 0
        while not stop.is_set():
            version += 1
            write(version)

    write(0)
    stop = threading.Event()
    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        versions = set()
        while len(versions) < 20:
            frame = pd.read_parquet(store.path / "epochs")
            (version,) = frame["seconds"].unique()
            assert len(frame) == version % 7 + 1
            versions.add(version)
    finally:
        stop.set()
        writer.join()


def damaged(content):
    yield b""
    yield content[:100]
    yield content[:-1]
    yield b"x" * len(content)
    yield content[:4] + b"\0" * 400 + content[404:]


def test_a_damaged_file_is_named_with_the_remedy(store):
    store.write("trials", "a", [trial_row("a")])
    path = store.path / "trials" / "a.parquet"
    for content in damaged(path.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(StoreError, match=rf"^{path} is damaged .*: run the same command again") as error:
            store.status("a")
        assert "\n" not in str(error.value)
    path.unlink()
    assert store.status("a") is None


@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_damaged_file_is_set_aside_and_its_trial_is_run_again(store, kind):
    for trial_id in "ab":
        for each in SCHEMAS:
            store.write(each, trial_id, [trial_row(trial_id) if each == "trials" else {"trial_id": trial_id}])
    assert store.set_aside_damaged() == []
    path = store.path / kind / "a.parquet"
    content = path.read_bytes()[:-7]
    path.write_bytes(content)

    (told,) = store.set_aside_damaged()
    assert told.startswith(f"{path} is damaged (")
    assert told.endswith(": set aside as .a.parquet.damaged")
    assert (path.parent / ".a.parquet.damaged").read_bytes() == content
    assert store.read(kind, "a") == []
    assert store.status("a") == {"trials": None, "epochs": "failed", "timings": "finished"}[kind]
    assert store.status("b") == "finished"
    assert list(pd.read_parquet(path.parent)["trial_id"]) == ["b"]  # plain readers pass it over
    assert store.set_aside_damaged() == []


def test_a_file_that_cannot_be_read_just_now_is_neither_empty_nor_set_aside_and_nor_is_any_other(store):
    for trial_id in "ab":
        store.write("epochs", trial_id, [epoch_row(trial_id)])
        store.write("trials", trial_id, [trial_row(trial_id)])
    (store.path / "epochs" / "a.parquet").write_bytes(b"damaged")
    for place in ("epochs/b.parquet", "trials"):
        path = make_unreadable(store.path / place)
        names = sorted(path.name for path in (store.path / "epochs").iterdir())
        with pytest.raises(UnreadableError, match=rf"^{path} cannot be read \(.*\): give access, or wait"):
            store.set_aside_damaged()
        assert sorted(path.name for path in (store.path / "epochs").iterdir()) == names
        with pytest.raises(UnreadableError):
            store.read(path.parent.name if path.suffix else "trials", "b")
        make_readable(path)
    assert store.status("a") == "finished"
    assert len(store.set_aside_damaged()) == 1
    assert store.read("epochs", "b")[0]["train_loss"] == 2.5


def test_files_have_checksums(store):
    store.write("epochs", "a", [epoch_row("a", train_loss=0.123456789)])
    path = store.path / "epochs" / "a.parquet"
    content = path.read_bytes()
    at = content.index(struct.pack("<d", 0.123456789))
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    with pytest.raises(StoreError, match="is damaged"):
        store.read("epochs", "a")


@pytest.mark.parametrize("error", NO_LOCKS)
def test_a_file_system_without_locks_is_refused(store, monkeypatch, error):
    def refuse(file, operation):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(fcntl, "flock", refuse)
    message = "is on a file system without locks .*: give --store a folder on another"
    with pytest.raises(StoreError, match=message):
        store.lock()
    with pytest.raises(StoreError, match=message), store.claim("a"):
        pass
    assert not look(store.path).running


# folders


def test_a_store_is_made_with_its_folders_and_found_again(tmp_path):
    path = tmp_path / "a" / "b"
    Store(path).write("epochs", "a", [epoch_row("a")])
    assert Store(str(path)).read("epochs", "a") == Store(path).read("epochs", "a") != []


def test_a_relative_path_stays_the_same_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = Store("results")
    monkeypatch.chdir("/")
    store.write("epochs", "a", [epoch_row("a")])
    assert (tmp_path / "results" / "epochs" / "a.parquet").exists()


def a_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    return tmp_path / "file", "is a file, not a folder: give --store another name"


def a_folder_of_other_things(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    return tmp_path, "holds other things and no result store .*1 entries.*: give --store an empty or a new"


def below_a_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    return tmp_path / "file" / "store", "cannot be written .*: give --store a folder of yours"


def where_nobody_may_write(tmp_path):
    return Path("/proc/store"), "cannot be written .*: give --store a folder of yours"


def a_name_that_no_disk_takes(tmp_path):
    return tmp_path / ("x" * 300), "cannot be written .*: give --store a folder of yours"


@pytest.mark.parametrize(
    "case",
    [a_file, a_folder_of_other_things, below_a_file, where_nobody_may_write, a_name_that_no_disk_takes],
)
def test_a_path_that_cannot_serve_is_refused_and_left_alone(tmp_path, case):
    path, message = case(tmp_path)
    before = {entry: entry.read_text() for entry in tmp_path.iterdir()}
    with pytest.raises(StoreError, match=message) as error:
        Store(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert {entry: entry.read_text() for entry in tmp_path.iterdir()} == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to any folder")
def test_a_folder_of_someone_else_is_refused(tmp_path):
    for mode in (0o555, 0o000):
        tmp_path.chmod(mode)
        with pytest.raises(StoreError, match="cannot be written"):
            Store(tmp_path / "store")
    tmp_path.chmod(0o755)


# lock

HOLDER = """
import sys
from orchestrator.storage.store import Store

lock = Store(sys.argv[1]).lock()
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_store_that_another_process_holds_is_refused_until_that_is_killed(store):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(store.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(
            StoreError, match=f"another sweep is running on {store.path}: wait .* or give --store"
        ):
            store.lock()
    finally:
        holder.kill()
        holder.communicate()
    with store.lock():
        pass


def test_the_lock_is_held_for_the_block(store):
    with store.lock(), pytest.raises(StoreError, match="another sweep"):
        Store(store.path).lock()
    with Store(store.path).lock():
        pass


def test_types_are_those_of_arrow_in_every_file(store):
    for kind, schema in SCHEMAS.items():
        store.write(kind, "a", [{"trial_id": "a"}])
        read = pa.parquet.read_schema(store.path / kind / "a.parquet")
        assert read.equals(schema, check_metadata=False)


def test_a_trial_that_another_process_has_is_waited_for_and_cleared_of_its_rests(store, monkeypatch):
    code = HOLDER.replace("lock()", "claim('a'); lock.__enter__()")
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(store.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        with monkeypatch.context() as patch:
            patch.setattr("orchestrator.storage.store._PATIENCE", 0.1)
            with (
                pytest.raises(StoreError, match=r"another process has been at a for 0.1 s"),
                store.claim("a"),
            ):
                pass
        with store.claim("b"):  # others are free
            pass
        (store.path / "epochs" / ".a.parquet.123.tmp").write_text("half")
        (store.path / "epochs" / ".b.parquet.123.tmp").write_text("another's")
        (store.checkpoints("a") / ".epoch-0001.123.tmp").mkdir()
        threading.Timer(0.5, holder.kill).start()
        with store.claim("a"):
            left = [path.name for path in store.path.glob("**/.*.tmp")]
            assert left == [".b.parquet.123.tmp"]
    finally:
        holder.kill()
        holder.communicate()
    with store.claim("a"):  # and again once it is over
        pass
