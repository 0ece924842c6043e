"""What --dry-run says of the cuts."""

import io

import pytest
from rich.console import Console

from orchestrator.config import Options, Sweep
from orchestrator.cuts import hopeless, look_at_cuts
from orchestrator.devices import Available
from orchestrator.plan import make_plan


@pytest.fixture
def said():
    def make(**options):
        sweep = Sweep(
            **{"network": "vgg", "depth": 16, "width": 4, "n_subnetworks": (1, 3), "seed": 0} | options
        )
        console = Console(file=io.StringIO(), width=80)
        plan = make_plan(sweep, Options(), Available(cpus=8, gpus=0))
        console.print(*look_at_cuts(plan), *hopeless(plan))
        return console.file.getvalue()

    return make


def test_a_setting_that_is_known_to_fail_is_named_and_no_other(said):
    text = said(preprocess=("auto", "strided"), seed=(0, 1))
    lines = text.splitlines()
    (bad,) = [line for line in lines if "do not train this" in line]
    assert bad.startswith("N = 3, strided: ")
    assert "C^j(x) is the same for all samples" in " ".join(text.split())
    assert "auto: do not" not in text
    rows = [line.split() for line in lines if line.startswith("N = 3") and line is not bad]
    assert [row[3] for row in rows] == ["auto", "strided"]
    assert float(rows[0][4]) > 0.1 > float(rows[1][4])


def test_what_is_not_torn_is_not_looked_at(said):
    assert said(n_subnetworks=1).strip() == ""
    assert said(n_subnetworks=3, strategy=("data_parallel", "gpipe")).strip() == ""
