"""Parts of a step give the same results called, recorded and replayed."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models.compute import Compute
from models.recorder import WARMUP, Recorder

N_STEPS = WARMUP + 4


class Halved(nn.Module):
    """Forward and backward pass in parts of their own; counts its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.last = nn.Linear(36, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(F.relu(self.norm(self.first(x))).flatten(1))


def train(compute: Compute) -> tuple[dict[str, torch.Tensor], list[float]]:
    """State after some steps, and their losses."""
    compute.settle()
    torch.manual_seed(3)
    module = Halved()
    compute.place(module).train()
    run = Recorder(compute, module)

    def forward(x: torch.Tensor) -> torch.Tensor:
        return module(x).square().mean()

    def backward(loss: torch.Tensor) -> None:
        module.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter -= 0.1 * parameter.grad

    losses = []
    for step in range(N_STEPS):
        generator = torch.Generator().manual_seed(step)
        batch = torch.randn(8, 3, 5, 5, generator=generator).to(compute.device, compute.weight_dtype)
        x = run.fixed("x", batch)
        loss = run("forward", lambda x=x: forward(x))
        run("backward", lambda loss=loss: backward(loss))
        losses.append(loss.item())
    return {name: value.cpu() for name, value in module.state_dict().items()}, losses


def test_without_graphs_parts_are_called_with_what_they_are_given() -> None:
    compute = Compute()
    run = Recorder(compute, nn.Identity())
    calls: list[int] = []
    tensor = torch.ones(3)
    assert run.fixed("x", tensor) is tensor
    for i in range(N_STEPS):
        assert run("part", lambda i=i: calls.append(i)) is None
    assert calls == list(range(N_STEPS))


def test_batches_are_counted() -> None:
    state, _ = train(Compute(precision="float64"))
    assert state["norm.num_batches_tracked"] == N_STEPS


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_recorded_parts_compute_what_called_ones_do(precision: str) -> None:
    device = torch.device("cuda", 0)
    expected, losses = train(Compute(device, precision))
    actual, recorded_losses = train(Compute(device, precision, graphs=True))
    assert recorded_losses == pytest.approx(losses, rel=1e-4)
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, msg=name)
    assert actual["norm.num_batches_tracked"] == N_STEPS


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_what_cannot_be_recorded_says_so() -> None:
    compute = Compute(torch.device("cuda", 0), graphs=True)
    compute.settle()
    run = Recorder(compute, nn.Identity())
    tensor = torch.ones(3, device="cuda")
    for _ in range(WARMUP):
        run("part", lambda: float(tensor.sum()))
    with pytest.raises(RuntimeError, match=r"part cannot be recorded as a CUDA graph .*--graphs True"):
        run("part", lambda: float(tensor.sum()))
