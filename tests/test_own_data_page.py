"""The code in docs/own-data.md makes data that the commands beside it can train networks on."""

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from models.parareal import PararealNetwork
from models.task import build_task
from orchestrator.arguments import parse
from orchestrator.config import Sweep
from orchestrator.data.batches import Batches
from orchestrator.data.datasets import load_dataset
from orchestrator.plan import describe, tear_as_asked

PAGE = (Path(__file__).parents[1] / "docs" / "own-data.md").read_text(encoding="utf-8")
MODULES = dict(re.findall(r"```python\n# (\w+)\.py\n(.*?)```", PAGE, re.DOTALL))
COMMANDS = {
    match[1]: shlex.split(match[0].replace("\\\n", " "))[3:]
    for match in re.finditer(r"python -m orchestrator\.sweep --dataset (my_\w+):(?:[^\n]|(?<=\\)\n)*", PAGE)
    if match[1] in MODULES
}


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that the page shows, where a command would run."""
    monkeypatch.syspath_prepend(tmp_path)
    for name, code in MODULES.items():
        (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
        monkeypatch.delitem(sys.modules, name, raising=False)


def sweep_of(name: str) -> Sweep:
    return parse(COMMANDS[name]).sweep


def test_each_module_has_its_command() -> None:
    assert (
        [*COMMANDS] == [name for name in MODULES if name != "my_loss"] == ["my_data", "my_series", "my_text"]
    )


def test_the_loss_of_the_page_is_a_task() -> None:
    assert "`--task my_loss:Quantile`" in PAGE
    task = build_task("my_loss:Quantile")
    targets = torch.rand(9, dtype=torch.float64)
    task.check((1,), targets)
    assert task.is_mean((1,), targets)
    assert task.value(task.sums(targets[:, None] - 0.1, targets).tolist()) == pytest.approx(9)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_network_of_the_page_is_torn_and_learns(name: str) -> None:
    config = sweep_of(name).trials()[-1]
    assert config.n_subnetworks >= 3
    data = load_dataset(config.dataset)
    description = describe(config, data)
    network = PararealNetwork(tear_as_asked(config, description))
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.003)
    batches = Batches(data, batch_size=config.batch_size, seed=0)
    losses = []
    for step in range(batches.n_train_steps * 2)[:12]:
        inputs, targets = batches.train(1 + step // batches.n_train_steps, step % batches.n_train_steps)
        loss = description.task.loss(network(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-3:]) < losses[0]


def test_what_the_sections_say_of_their_data() -> None:
    diabetes, series, text = (load_dataset(sweep_of(name).trials()[0].dataset) for name in COMMANDS)
    assert [len(targets) for targets in diabetes.targets()] == [300, 70, 72]
    assert diabetes.train_inputs.shape[1:] == (10,)
    assert series.train_inputs.shape[1:] == (48, 1)
    assert series.train_targets.shape[1:] == (12,)
    assert series.augmentation().own is not None
    assert text.vocabulary is not None
    assert (text.train_inputs[:, 1:] == text.train_targets[:, :-1]).all()
