import io
import subprocess
import sys

import pytest
import torch
from torch import nn

from benchmarks.one_process import torchs_own_optimizer
from orchestrator.actors.optimizer import make_optimizer
from orchestrator.config import TrainingOptions

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


def reference(options, dtype):
    """Weights after training with torch's own class."""
    network = Network(dtype)
    optimizer = torchs_own_optimizer(network, options)

    def set_rate(rate):
        for group in optimizer.param_groups:
            group["lr"] = rate

    def step():
        if options.clip_norm is not None:
            nn.utils.clip_grad_norm_(network.parameters(), options.clip_norm)
        optimizer.step()

    train(network, optimizer.zero_grad, set_rate, step, range(len(RATES)))
    return network.state_dict()


def step_of(optimizer, options):
    def step():
        if options.clip_norm is not None:
            optimizer.clip(float(optimizer.square_norm()))
        optimizer.step()

    return step


@pytest.mark.parametrize("stop", [None, 1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "options",
    [
        *({"momentum": m, "weight_decay": w} for m in (0.9, 0.0) for w in (5e-4, 0.0)),
        {"nesterov": True, "decay": "weights", "weight_decay": 0.1},
        {"optimizer": "adamw"},
        {"optimizer": "adamw", "momentum": 0.8, "beta2": 0.95, "weight_decay": 0.1, "decay": "weights"},
    ],
    ids=str,
)
def test_bit_equal_to_torch_also_when_stopped_and_resumed(options, dtype, stop):
    options = TrainingOptions(**options)
    network = Network(dtype)
    optimizer = make_optimizer(network, options)

    def run(steps):
        train(network, optimizer.zero_grad, optimizer.set_learning_rate, optimizer.step, steps)

    run(range(len(RATES))[:stop])
    if stop is not None:
        file = io.BytesIO()
        torch.save((network.state_dict(), optimizer.state_dict()), file)
        file.seek(0)
        weights, state = torch.load(file, weights_only=True)
        network = Network(dtype)
        network.load_state_dict(weights)
        optimizer = make_optimizer(network, options)
        optimizer.load_state_dict(state)
        run(range(len(RATES))[stop:])
    expected = reference(options, dtype)
    assert not torch.equal(expected["last.weight"], Network(dtype).last.weight)
    for name, value in network.state_dict().items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("clip_norm", [0.01, 1e6])
def test_clipped_as_torch_clips(optimizer, clip_norm):
    options = TrainingOptions(optimizer=optimizer, clip_norm=clip_norm)
    network = Network(torch.float64)
    ours = make_optimizer(network, options)
    steps = range(len(RATES))
    train(network, ours.zero_grad, ours.set_learning_rate, step_of(ours, options), steps)
    clipped = reference(options, torch.float64)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, clipped[name], rtol=1e-12, atol=1e-14)
    whole = reference(TrainingOptions(optimizer=optimizer), torch.float64)
    assert torch.equal(clipped["last.weight"], whole["last.weight"]) == (clip_norm == 1e6)


def test_state_is_the_momentum_of_what_was_trained():
    network = Network(torch.float32)
    optimizer = make_optimizer(network, TrainingOptions(weight_decay=0.0))
    assert optimizer.state_dict() == {}
    train(network, optimizer.zero_grad, optimizer.set_learning_rate, optimizer.step, [0])
    trained = {n for n, _ in network.named_parameters() if not n.startswith(("sometimes", "frozen"))}
    assert optimizer.state_dict().keys() == trained
    for name, buffer in optimizer.state_dict().items():
        assert torch.equal(buffer, network.get_parameter(name).grad)


def test_gradients_are_forgotten():
    network = Network(torch.float32)
    optimizer = make_optimizer(network, TrainingOptions(weight_decay=0.0))
    network.loss(1).backward()
    optimizer.zero_grad()
    assert all(p.grad is None for p in network.parameters())


def test_a_module_without_parameters_can_be_stepped():
    optimizer = make_optimizer(nn.Flatten(), TrainingOptions(clip_norm=1.0))
    assert optimizer.square_norm() == 0
    optimizer.clip(4.0)
    optimizer.step()


TRAINING_STEP = """
import io, sys
import torch
import orchestrator.actors.driver, orchestrator.actors.subnetwork
from models.autograd import seed_gradient
from models.registry import build_network
from models.tearing import plan_tearing
from benchmarks.one_process import torchs_own_optimizer
from orchestrator.actors.optimizer import make_optimizer
from orchestrator.config import TrainingOptions

network = build_network("resnet", depth=11, width=2, input_shape=(1, 8, 8), n_classes=10)
tearing = plan_tearing(network, 3)
module = torch.nn.Sequential(tearing.build_preprocess(2), tearing.build_subnetwork(2))
optimizer = make_optimizer(module, TrainingOptions(optimizer=sys.argv[1]))
for _ in range(2):
    output = module(torch.randn(4, 1, 8, 8))
    optimizer.zero_grad()
    seed_gradient(output, torch.ones_like(output)).backward()
    optimizer.set_learning_rate(0.1)
    optimizer.step()
torch.save({"module": module.state_dict(), "optimizer": optimizer.state_dict()}, io.BytesIO())
print(*sorted({"torch._dynamo", "torch._inductor", "sympy"} & sys.modules.keys()))
"""


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_an_actors_work_loads_no_compiler(optimizer):
    """Each actor would pay seconds and hundreds of megabytes for it."""
    printed = subprocess.run(
        [sys.executable, "-c", TRAINING_STEP, optimizer], capture_output=True, text=True, check=True
    )
    assert printed.stdout.split() == []
