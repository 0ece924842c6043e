"""What benchmarks.faults makes of stores and outcomes; the faults themselves strike in its own runs."""

import pandas as pd

from benchmarks.faults.__main__ import table
from benchmarks.faults.running import Running
from benchmarks.faults.sweeps import compare, ordinary
from orchestrator.storage.store import Store


def store(path, *, epochs, **values):
    made = Store(path)
    made.write("trials", "a", [{"trial_id": "a", "status": "finished", "started": pd.Timestamp.now("UTC")}])
    made.write(
        "epochs",
        "a",
        [{"trial_id": "a", "epoch": n, "bytes_sent": 7, "seconds": 0.1} | values for n in epochs],
    )
    return path


def test_what_is_struck_is_the_real_command(tmp_path):
    running = Running(tmp_path / "store", ["--dry-run", "--network", "mlp", "--n-subnetworks", "1"])
    running.start()
    assert running.commands[0].process.wait() == 0
    assert running.finished()
    assert running.statuses == [0]
    assert running.orphans() == []


def test_every_column_but_times_is_compared_and_rows_are_counted(tmp_path):
    reference = store(tmp_path / "reference", epochs=[1, 2, 3])
    assert compare(store(tmp_path / "same", epochs=[1, 2, 3], seconds=9.9), reference) == (0, [])
    lost, wrong = compare(store(tmp_path / "other", epochs=[1, 2, 2], bytes_sent=8), reference)
    assert lost == 2  # one is missing, one is there twice
    assert len(wrong) == 2
    assert wrong[0] == "epochs ('a', 1) bytes_sent: 8, not 7"


def test_the_rows_of_a_damaged_file_are_lost_until_they_are_made_again(tmp_path):
    reference = store(tmp_path / "reference", epochs=[1, 2, 3])
    struck = store(tmp_path / "struck", epochs=[1, 2, 3])
    (struck / "epochs" / "a.parquet").write_bytes(b"")
    assert compare(struck, reference) == (3, [])
    assert compare(store(struck, epochs=[1, 2, 3]), reference) == (0, [])


def test_a_line_is_known_by_what_it_says_beside_numbers():
    assert ordinary("N = 1: epoch 3/5, about 0:00:05 left") == ordinary(
        "N = 2: epoch 41/50, about 0:01:15 left"
    )
    assert ordinary("N = 1: failed") != ordinary("N = 1: finished")


def test_what_became_of_a_sweep_counts_for_each_kind_that_struck_it():
    struck = pd.DataFrame(
        {
            "sweep": [0, 0, 1, 1],
            "fault": ["x", "y", "x", "x"],
            "seconds": [1.0, 4.0, 2.0, float("nan")],
            "lines": [1, 2, 0, 0],
            "pages": [0, 0, 0, 0],
        }
    )
    sweeps = pd.DataFrame(
        {"sweep": [0, 1], "lost": [0, 0], "wrong": [3, 0], "left over": [0, 1], "hung": [None, ""]}
    )
    cells = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in table(struck, sweeps).splitlines()[2:]
    ]
    assert cells == [
        ["x", "3", "0", "3", "1", "0", "1.5", "2.0", "1", "0"],
        ["y", "1", "0", "3", "0", "0", "4.0", "4.0", "2", "0"],
        ["all", "4", "0", "3", "1", "0", "2.0", "4.0", "2", "0"],
    ]
