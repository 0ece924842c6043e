"""The GPU benchmark, rehearsed on a CPU: every stage runs, none outlives its time, files are whole."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.gpu.__main__ import STAGES
from tests.preloaded import start_python

COMMAND = ["-m", "benchmarks.gpu", "--device", "cpu", "--tiny"]


def contents(folder: Path) -> dict[str, dict]:
    """Every stage's file, which must be whole."""
    return {file.stem: json.loads(file.read_text()) for file in folder.glob("*.json")}


def test_every_stage_is_rehearsed(tmp_path: Path) -> None:
    # It takes a third of a minute where nothing else is at work; a busy machine is to skip nothing here.
    process = start_python([*COMMAND, "--minutes", "4", "--folder", str(tmp_path)])
    output = process.stdout.read()
    assert process.wait() == 0, output
    assert len(output) <= 12_000
    found = contents(tmp_path)
    assert found.keys() == STAGES.keys()
    assert not {name for name, content in found.items() if "error" in content["facts"]}
    rows = {name: [r for r in content["rows"] if "skipped" not in r] for name, content in found.items()}
    assert not [r for of_stage in rows.values() for r in of_stage if "error" in r and "n" not in r]
    compared = [r for r in rows["correctness"] if r.get("bound")]
    assert len(compared) >= 10
    assert all(r["difference"] <= r["bound"] for r in compared)
    for row in rows["table2"]:
        parts = ("preprocessing", "parallel_subnetworks", "coarse_network", "postprocessing")
        assert row["total"] == pytest.approx(sum(row[part] for part in parts), rel=0.5)
    assert {row["n"] for row in rows["table2"]} == {1, 3}
    assert all(0 <= row["error"] <= 100 for row in rows["accuracy"])


def test_a_stage_is_cut_off_when_its_time_is_over_and_the_next_one_runs(tmp_path: Path) -> None:
    # Accuracy takes seconds before it can look at the time.
    stages = ["--stages", "accuracy", "compiled"]
    process = start_python([*COMMAND, "--minutes", "0.001", "--folder", str(tmp_path), *stages])
    output = process.stdout.read()
    assert process.wait() == 0, output
    assert "== compiled" in output
    assert contents(tmp_path).keys() <= {"accuracy", "compiled"}


def test_files_are_whole_when_the_benchmark_is_killed(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, *COMMAND, "--minutes", "1", "--folder", str(tmp_path), "--stages", "critical_paths"],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not any(content["rows"] for content in contents(tmp_path).values()):
        assert time.monotonic() < deadline
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert contents(tmp_path)["critical_paths"]["rows"]


WITHOUT_RAY = """
import sys, time
from pathlib import Path
sys.modules["ray"] = None
import torch
from benchmarks.gpu import correctness, table2
from benchmarks.gpu.report import Report
torch.set_num_threads(1)
for stage in (table2, correctness):
    report = Report(Path(sys.argv[1]), torch.device("cpu"), True, time.monotonic() + 60)
    stage.run(report)
    assert not [row for row in report.rows if "error" in row], report.rows
assert report.rows[-1]["skipped"] == "there is no Ray"
"""


def test_nothing_but_gangs_needs_ray(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_RAY, str(tmp_path / "rows.json")], check=True, timeout=90)
