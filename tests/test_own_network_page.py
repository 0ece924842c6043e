"""The code in docs/own-network.md runs and does what the page says; its sweep is in tests/integration."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import orchestrator
from models.feedforward import FeedForward
from models.parareal import PararealNetwork
from models.registry import build_network
from models.tearing import plan_tearing

PAGE = (Path(__file__).parents[1] / "docs" / "own-network.md").read_text(encoding="utf-8")
MODULE, SCRIPT, LOOP, FACTORY, TRANSFORMER = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
(COMMAND,) = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(autouse=True)
def my_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that the page begins with, and the factory of large networks in another."""
    (tmp_path / "my_networks.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "my_factories.py").write_text(FACTORY, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("my_networks", "my_factories"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_a_network_is_torn_and_swept_in_less_than_20_lines() -> None:
    assert len((MODULE + COMMAND).strip().splitlines()) < 20


def test_the_script_sweeps_its_partial(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(orchestrator, "run", lambda *arguments: asked.extend(arguments), raising=False)
    names: dict[str, Any] = {}
    exec(SCRIPT, names)
    names["sweep"]()
    sweep, options = asked
    assert len(sweep.trials()) == 9
    assert options.store == "results/thin"


def test_the_training_loop_gets_a_torn_network() -> None:
    names: dict[str, Any] = {}
    exec(LOOP, names)
    assert names["logits"].shape == (8, 10)
    assert len(names["parareal"].coarse_network) == 2


def test_a_transformer_with_its_own_coarse_network_runs() -> None:
    exec(TRANSFORMER, {"__name__": "page"})


@pytest.mark.parametrize("name", ["my_networks:plain", "my_factories:residual"])
def test_the_functions_make_networks_that_the_command_can_tear(name: str) -> None:
    network = build_network(name, input_shape=(1, 8, 8), n_classes=10, depth=6, width=8)
    assert isinstance(network, FeedForward)
    assert network.n_units == 6
    for n in (1, 2, 3):
        torn = PararealNetwork(plan_tearing(network, n, n_coarse_units=1))
        assert torn(torch.randn(4, 1, 8, 8)).shape == (4, 10)
