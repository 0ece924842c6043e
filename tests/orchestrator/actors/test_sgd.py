import io
import subprocess
import sys

import pytest
import torch
from torch import nn

from orchestrator.actors.sgd import SGD

RATES = (0.1, 0.1, 0.01, 0.001, 0.3, 0.01)


class Network(nn.Module):
    """With a part that takes part in every second step only, and a frozen one."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.sometimes = nn.Linear(36, 36)
        self.frozen = nn.Linear(36, 36).requires_grad_(False)
        self.last = nn.Linear(36, 5)
        self.to(dtype)

    def loss(self, step: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(8, 3, 5, 5, generator=generator).to(self.last.weight.dtype)
        x = self.frozen(self.norm(self.first(x)).flatten(1))
        if step % 2:
            x = x + self.sometimes(x)
        return self.last(x).square().mean()


def train(network, zero_grad, set_rate, step, steps):
    for i in steps:
        zero_grad()
        network.loss(i).backward()
        set_rate(RATES[i])
        step()


def reference(momentum, weight_decay, dtype):
    """Weights after training with torch's own class."""
    network = Network(dtype)
    optimizer = torch.optim.SGD(
        [p for p in network.parameters() if p.requires_grad], momentum=momentum, weight_decay=weight_decay
    )

    def set_rate(rate):
        optimizer.param_groups[0]["lr"] = rate

    train(network, optimizer.zero_grad, set_rate, optimizer.step, range(len(RATES)))
    return network.state_dict()


@pytest.mark.parametrize("stop", [None, 1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("momentum", "weight_decay"), [(0.9, 5e-4), (0.0, 5e-4), (0.9, 0.0), (0.0, 0.0)])
def test_bit_equal_to_torch_also_when_stopped_and_resumed(momentum, weight_decay, dtype, stop):
    network = Network(dtype)
    optimizer = SGD(network, momentum=momentum, weight_decay=weight_decay)
    train(network, optimizer.zero_grad, optimizer.set_learning_rate, optimizer.step, range(len(RATES))[:stop])
    if stop is not None:
        file = io.BytesIO()
        torch.save((network.state_dict(), optimizer.state_dict()), file)
        file.seek(0)
        weights, state = torch.load(file, weights_only=True)
        network = Network(dtype)
        network.load_state_dict(weights)
        optimizer = SGD(network, momentum=momentum, weight_decay=weight_decay)
        optimizer.load_state_dict(state)
        train(
            network,
            optimizer.zero_grad,
            optimizer.set_learning_rate,
            optimizer.step,
            range(len(RATES))[stop:],
        )
    expected = reference(momentum, weight_decay, dtype)
    assert not torch.equal(expected["last.weight"], Network(dtype).last.weight)
    for name, value in network.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_state_is_the_momentum_of_what_was_trained():
    network = Network(torch.float32)
    optimizer = SGD(network, momentum=0.9, weight_decay=0.0)
    assert optimizer.state_dict() == {}
    train(network, optimizer.zero_grad, optimizer.set_learning_rate, optimizer.step, [0])
    trained = {n for n, _ in network.named_parameters() if not n.startswith(("sometimes", "frozen"))}
    assert optimizer.state_dict().keys() == trained
    for name, buffer in optimizer.state_dict().items():
        assert torch.equal(buffer, network.get_parameter(name).grad)


def test_gradients_are_forgotten():
    network = Network(torch.float32)
    optimizer = SGD(network, momentum=0.9, weight_decay=0.0)
    network.loss(1).backward()
    optimizer.zero_grad()
    assert all(p.grad is None for p in network.parameters())


def test_a_module_without_parameters_can_be_stepped():
    SGD(nn.Flatten(), momentum=0.9, weight_decay=5e-4).step()


TRAINING_STEP = """
import io, sys
import torch
import orchestrator.actors.driver, orchestrator.actors.subnetwork
from models.autograd import seed_gradient
from models.registry import build_network
from models.tearing import plan_tearing
from orchestrator.actors.sgd import SGD

network = build_network("resnet", depth=11, width=2, input_shape=(1, 8, 8), n_classes=10)
tearing = plan_tearing(network, 3)
module = torch.nn.Sequential(tearing.build_preprocess(2), tearing.build_subnetwork(2))
optimizer = SGD(module, momentum=0.9, weight_decay=5e-4)
for _ in range(2):
    output = module(torch.randn(4, 1, 8, 8))
    optimizer.zero_grad()
    seed_gradient(output, torch.ones_like(output)).backward()
    optimizer.set_learning_rate(0.1)
    optimizer.step()
torch.save({"module": module.state_dict(), "optimizer": optimizer.state_dict()}, io.BytesIO())
print(*sorted({"torch._dynamo", "torch._inductor", "sympy"} & sys.modules.keys()))
"""


def test_an_actors_work_loads_no_compiler():
    """Each actor would pay seconds and hundreds of megabytes for it."""
    printed = subprocess.run(
        [sys.executable, "-c", TRAINING_STEP], capture_output=True, text=True, check=True
    )
    assert printed.stdout.split() == []
