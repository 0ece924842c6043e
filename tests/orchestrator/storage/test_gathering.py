"""Very many files are read as few, and each row once, whatever has happened to either."""

import json
import signal
import subprocess
import sys

import pandas as pd
import pytest

from analysis import load
from analysis.gathered import NAME, parts
from orchestrator.storage import store as module
from orchestrator.storage.mirror import Mirror
from orchestrator.storage.store import Store

N = 6
KILLED = """
import pathlib, sys
from orchestrator.storage import store
store._MANY = 1
def replace(self, target):
    print("begun", flush=True)
    sys.stdin.readline()
pathlib.Path.replace = replace
store.Store(sys.argv[1]).gather()
"""


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MANY", 1)
    made = Store(tmp_path / "store")
    for i in range(N):
        put(made, f"t{i}", i / 8)
    return made


def put(store, trial_id, error):
    store.write("trials", trial_id, [{"trial_id": trial_id, "status": "finished", "epochs": 2}])
    rows = [{"trial_id": trial_id, "epoch": epoch, "validation_error": error} for epoch in (1, 2)]
    store.write("epochs", trial_id, rows)


def known(store, kind="epochs"):
    """How many files were not read one by one."""
    return sum(len(part.files) for part in parts(store.path / kind) if part.known)


def errors(store):
    """By trial, what readers see; each file's rows come once, and in order."""
    results = load(store.path)
    assert results.trials["trial_id"].is_unique
    assert not results.epochs.duplicated(["trial_id", "epoch"]).any()
    assert results.epochs["trial_id"].is_monotonic_increasing
    seen = results.epochs.groupby("trial_id")["validation_error"].agg(list).to_dict()
    assert store.values("epochs", "validation_error", [*seen, "none"]) == seen
    # Who reads the folder by other means does not see it at all.
    assert len(pd.read_parquet(store.path / "epochs")) == len(results.epochs)
    return {trial_id: values[0] for trial_id, values in seen.items()}


def test_rows_are_the_same_before_and_after(store):
    before = load(store.path)
    assert known(store) == 0
    store.gather()
    assert known(store) == known(store, "trials") == N
    after = load(store.path)
    for kind in ("trials", "epochs", "timings"):
        pd.testing.assert_frame_equal(getattr(before, kind), getattr(after, kind))


def test_what_is_new_changed_or_gone_since_is_seen(store):
    store.gather()
    put(store, "t2", 50.0)
    put(store, "t1a", 60.0)
    (store.path / "epochs" / "t4.parquet").unlink()
    assert errors(store) == {"t0": 0.0, "t1": 1 / 8, "t1a": 60.0, "t2": 50.0, "t3": 3 / 8, "t5": 5 / 8}
    assert known(store) == N - 2
    store.gather()
    assert known(store) == N
    assert len(errors(store)) == N


def test_files_of_other_columns_are_gathered_beside(store):
    older = pd.DataFrame({"trial_id": ["t7"], "epoch": [1], "validation_error": [7.0]})
    older.to_parquet(store.path / "epochs" / "t7.parquet", index=False)
    store.gather()
    assert len([*(store.path / "epochs").glob(NAME.format("*"))]) == 2
    assert known(store) == N + 1
    assert errors(store)["t7"] == 7.0


def test_damage_is_found_in_a_gathered_file_and_in_one_that_was_gathered(store):
    store.gather()
    (gathered,) = (store.path / "epochs").glob(NAME.format("*"))
    whole = gathered.read_bytes()
    gathered.write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
    assert known(store) == 0
    assert len(errors(store)) == N
    gathered.write_bytes(whole)

    damaged = store.path / "epochs" / "t3.parquet"
    content = damaged.read_bytes()
    damaged.write_bytes(content[:99] + bytes([content[99] ^ 1]) + content[100:])
    (told,) = store.set_aside_damaged()
    assert told.startswith(f"{damaged} is damaged (its checksum is another): set aside")
    assert "t3" not in errors(store)
    assert store.status("t3") == "failed"


def test_a_process_killed_while_it_gathers_leaves_every_row_once(store):
    before = errors(store)
    command = [sys.executable, "-c", KILLED, str(store.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        half = [*store.path.glob("*/..gathered-*.tmp")]
        assert len(half) == 1
        assert errors(store) == before  # also in the middle of it
        process.send_signal(signal.SIGKILL)
    assert errors(store) == before
    store.gather()
    assert not [path for path in half if path.exists()]
    assert known(store) == N
    assert errors(store) == before


def test_few_new_files_are_not_worth_it(store, monkeypatch):
    monkeypatch.setattr(module, "_MANY", N + 1)
    store.gather()
    assert known(store) == 0


def test_a_mirror_holds_the_files_themselves(store, tmp_path):
    store.gather()
    Mirror(store.path, (tmp_path / "mirror").as_uri()).push()
    assert len([*(tmp_path / "mirror" / "epochs").iterdir()]) == N
    assert errors(Store(tmp_path / "mirror")) == errors(store)


def test_notes_of_a_mirror_remove_nothing_that_is_not_in_it(store, tmp_path):
    other, url = tmp_path / "other", (tmp_path / "mirror").as_uri()
    other.write_text("mine")
    (store.path / ".mirror.json").write_text(json.dumps({url: {"../other": [1, None], "x": [1]}}))
    Mirror(store.path, url).push()
    (store.path / ".mirror.json").write_text(json.dumps({url: {"../other": [1, None]}}))
    Mirror(store.path, url).push()
    assert other.read_text() == "mine"
