"""The code in docs/own-network.md runs and does what the page says."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

from models.parareal import PararealNetwork
from models.registry import build_network
from models.tearing import plan_tearing

PAGE = Path(__file__).parents[2] / "docs" / "own-network.md"


def blocks(language: str) -> list[str]:
    parts = PAGE.read_text(encoding="utf-8").split(f"```{language}\n")[1:]
    return [part.split("```")[0] for part in parts]


def test_the_tutorial_takes_less_than_20_lines() -> None:
    code = blocks("python")[0]
    assert len(code.strip().splitlines()) < 20
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["logits"].shape == (8, 10)
    assert len(names["parareal"].coarse_network) == 2


@pytest.mark.parametrize("code", blocks("python"))
def test_every_block_runs(code: str) -> None:
    exec(code, {"__name__": "page"})


def test_the_command_names_a_network_that_can_be_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (command,) = blocks("bash")
    words = shlex.split(command)
    values = {option: words[words.index(option) + 1] for option in ("--network", "--depth", "--width")}
    module, _, _ = values["--network"].partition(":")
    (tmp_path / f"{module}.py").write_text(blocks("python")[1], encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    network = build_network(
        values["--network"],
        input_shape=(1, 8, 8),
        n_classes=10,
        depth=int(values["--depth"]),
        width=int(values["--width"]),
    )
    start = words.index("--n-subnetworks") + 1
    for n in (1, 3, 6):
        assert str(n) in words[start : start + 3]
        torn = PararealNetwork(plan_tearing(network, n, n_coarse_units=1))
        assert torn(torch.randn(4, 1, 8, 8)).shape == (4, 10)
