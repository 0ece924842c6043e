"""docs/extending.md: each extension is one file and a registry line, on a copy of the source."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")

# Plans what the commands ask for and runs every torn network once, without starting Ray.
BUILD = """
import shlex, sys, torch
from models.parareal import PararealNetwork
from orchestrator.config import Options
from orchestrator.devices import local_devices
from orchestrator.plan import make_plan
from orchestrator.arguments import parse

torch.set_num_threads(1)
for command in sys.stdin:
    asked = parse([*shlex.split(command)[3:], "--seed", "0"])
    for job in make_plan(asked.sweep, Options(), local_devices()).jobs:
        network = job.tearing.network
        logits = PararealNetwork(job.tearing)(torch.randn(2, *network.input_shape))
        print(network.name, *job.tearing.sizes, tuple(logits.shape))
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def change(source: str, diff: list[str]) -> str:
    """The source with the added lines, each after the line that stands before it in the page."""
    lines, at = source.splitlines(), 0
    for line in diff:
        if line.startswith("+"):
            lines.insert(at, line[1:])
            at += 1
        else:
            at = lines.index(line[1:], at) + 1
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source with all that the page says."""
    copy = tmp_path_factory.mktemp("extended")
    for package in ("models", "orchestrator", "analysis"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    for code in blocks("python"):
        file = copy / code.splitlines()[0].removeprefix("# ")
        assert not file.exists()
        file.write_text(code, encoding="utf-8")
    for text in blocks("diff"):
        name, *diff = text.splitlines()
        file = copy / name.removeprefix("--- ")
        file.write_text(change(file.read_text(encoding="utf-8"), diff), encoding="utf-8")
    return copy


def test_each_extension_is_one_file_and_a_line_with_its_import() -> None:
    assert len(blocks("python")) == len(blocks("diff")) == 5
    for diff in blocks("diff"):
        assert [line[:6] for line in diff.splitlines() if len(line) > 1 and line[0] == "+"] == [
            "+from ",
            '+    "',
        ]


def test_the_commands_of_the_page_work_on_the_extended_source(extended: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BUILD], input=blocks("sh")[0], cwd=extended, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "residual-MLP-24 24 (2, 2)",
        "residual-MLP-24 10 14 (2, 2)",
        "residual-MLP-24 3 3 4 4 5 5 (2, 2)",
        "ResNet-110 36 (2, 2)",
        "ResNet-110 18 18 (2, 2)",
        "ResNet-110 6 6 6 6 6 6 (2, 2)",
    ]
