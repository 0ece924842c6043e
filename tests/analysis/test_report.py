import subprocess
import sys
from io import StringIO

import pandas as pd
import pytest
from rich.console import Console

from analysis import load
from analysis.frames import FIGURES, TABLES
from analysis.report import Report, main, write_report
from analysis.schema import COLUMNS
from tests.unreadable import make_unreadable

FILES = {
    *("report.md", "report.html"),
    *(f"{figure}.{suffix}" for figure in FIGURES for suffix in ("png", "svg")),
    *(f"{table}.{suffix}" for table in TABLES for suffix in ("csv", "md", "tex")),
}
TIMES = {("preprocess", 1): [(1.0, 1.0)], ("subnetwork", 1): [(1.0, 2.0)], ("postprocess", 0): [(1.0, 0.0)]}


def test_report_writes_all_files_beside_the_frames(store):
    store.timings(store.trial(1, errors=[4.0, 2.0]), TIMES)
    files = write_report(store.path)
    assert {path.name for path in files} == FILES
    assert {path.parent for path in files} == {store.path / "report"}
    assert all(path.stat().st_size for path in files)
    table = pd.read_csv(store.path / "report" / "table1.csv")
    assert table["error"].tolist() == [2.0]
    text = (store.path / "report" / "report.md").read_text()
    for expected in (
        "figure3.png",
        "speed_up.png",
        "6000 (1.00×)",
        "2.00",
        "abc1234",
        "2.15.0",
        "node1",
        "2026-03-01",
        "1 finished.",
    ):
        assert expected in text


def test_same_store_gives_the_same_bytes(store, tmp_path):
    for n in (1, 3):
        store.trial(n, 0, errors=[9.0, 4.0])
        store.timings(store.trained(n, 1, steps=[9.0, 4.0, 5.0]), TIMES, critical_path=[3.0, 4.0])
    first, second = (write_report(store.path, tmp_path / name) for name in ("a", "b"))
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_half_finished_store_is_reported_as_it_stands(store):
    store.trial(1, 0, errors=[4.0, 2.0])
    store.trial(3, 0, errors=[9.0], status="running")
    store.trial(3, 1, status="failed", error="Traceback (most recent call last):\n  x\nOSError: disk | full")
    store.trial(3, 2, errors=[90.0], status="diverged", error="loss is\nnot finite")
    write_report(store.path)
    text = (store.path / "report" / "report.md").read_text()
    assert "4 trials: 1 finished, 1 running, 1 failed, 1 diverged. The numbers will change." in text
    assert r"OSError: disk \| full" in text
    assert "Traceback" not in text
    assert "loss is not finite" in text
    assert "No gradient has been timed yet." in text
    assert "No step has been trained or timed yet." in text


ALONE = ("status", "dataset", "network", "n_subnetworks", "seed", "strategy", "devices")


@pytest.mark.parametrize(
    ("kind", "missing"), [*((kind, "all") for kind in COLUMNS), *(("trials", c) for c in ALONE)]
)
def test_whatever_column_is_missing_the_rest_is_reported(store, kind, missing):
    for n in (1, 3):
        store.timings(store.trained(n, steps=[9.0, 4.0], status="failed"), TIMES, critical_path=[3.0])
        store.trained(n, steps=[9.0, 4.0])
    for file in (store.path / kind).iterdir():
        frame = pd.read_parquet(file)
        frame = frame[["trial_id"]] if missing == "all" else frame.drop(columns=missing)
        frame.to_parquet(file, index=False)
    assert {path.name for path in write_report(store.path)} == FILES


def test_empty_store_says_what_is_missing(store):
    assert {path.name for path in write_report(store.path)} == FILES
    text = (store.path / "report" / "report.md").read_text()
    assert "no trial has been started yet" in text
    assert "What was run" not in text


def test_terminal_shows_all_tables(store):
    store.timings(store.trial(1, errors=[4.0, 2.5]), TIMES, critical_path=[7.0])
    console = Console(file=StringIO(), width=100)
    Report(load(store.path)).print(console)
    text = console.file.getvalue()
    assert "Table 1" in text
    assert "2.50" in text
    assert "6000.00" in text
    assert "7000 (1.00×)" in text


def test_the_answer_and_the_data_come_first(store):
    data = {"n_train": 1438, "n_validation": 359, "input_shape": "1×8×8", "n_classes": 10, "crop": 1}
    for n in (1, 3):
        store.timings(store.trial(n, errors=[5.0 - n], flip=False, **data), TIMES, critical_path=[9.0 / n])
    answer = "ResNet-56 torn into 3: steps 3.0 times as fast on its critical path, "
    answer += "errors 2.0 points lower (n = 1)."
    console = Console(file=StringIO(), width=200)
    Report(load(store.path)).print(console)
    assert console.file.getvalue().lstrip().startswith(answer)
    write_report(store.path)
    text = (store.path / "report" / "report.md").read_text()
    assert text.startswith(f"# small\n\n{answer}\n\n## Is it worth it?\n\n![Is it worth it?](worth_it.png)")
    line = "digits: train 1,438, validation 359 images, 1×8×8, 10 classes; crop 1, no flip"
    assert line in text
    assert line in (store.path / "report" / "report.html").read_text()


def test_command_line_writes_where_it_is_told(store, tmp_path, capsys):
    store.trial(1, errors=[4.0, 2.0])
    assert main([str(store.path), "--out", str(tmp_path / "there")]) == 0
    assert {path.name for path in (tmp_path / "there").iterdir()} == FILES
    assert str(tmp_path / "there" / "report.md") in capsys.readouterr().out


@pytest.mark.parametrize("name", ["missing", "."])
def test_command_line_refuses_what_is_no_store_in_one_line(tmp_path, capsys, name):
    assert main([str(tmp_path / name)]) == 2
    errors = capsys.readouterr().err
    assert len(errors.splitlines()) == 1
    assert "is no result store" in errors


def test_command_line_refuses_what_it_cannot_read_or_write_in_one_line(store, tmp_path, capsys):
    store.trial(1, errors=[4.0, 2.0])
    (tmp_path / "file").touch()
    assert main([str(store.path), "--out", str(tmp_path / "file")]) == 2
    said = f"error: {tmp_path / 'file'} cannot be written (File exists): give --out a folder that may be"
    assert capsys.readouterr().err.startswith(said)
    path = make_unreadable(store.path / "epochs")
    assert main([str(store.path)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {path} cannot be read (")


def test_module_exits_with_its_status_and_imports_neither_ray_nor_torch(tmp_path):
    code = """
import runpy, sys
try:
    runpy.run_module("analysis.report", run_name="__main__")
finally:
    assert not {"ray", "torch", "orchestrator"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, check=False)
    assert done.returncode == 2
    assert b"is no result store" in done.stderr
