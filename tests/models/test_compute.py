"""Components compute the same wherever and however they are placed, up to rounding."""

import pytest
import torch
from torch import nn

from models.compute import Compute
from models.parareal import tear
from models.resnet import resnet


def network() -> nn.Module:
    return tear(resnet(29, width=4, input_shape=(3, 16, 16)), 3)


def outcome(compute: Compute) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    module = compute.place(network())
    images = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(1)).to(compute.weight_dtype)
    with compute.autocast():
        logits = module(images)
    logits.float().square().sum().backward()
    return logits, {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("compute", "tolerance"),
    [
        (Compute(), 1e-4),
        (Compute(channels_last=True), 1e-4),
        (Compute(precision="bfloat16"), 0.1),
        (Compute(precision="bfloat16", channels_last=True), 0.1),
    ],
)
def test_the_function_is_the_same_up_to_rounding(compute: Compute, tolerance: float) -> None:
    expected, _ = outcome(Compute(precision="float64"))
    actual, gradients = outcome(compute)
    assert (actual - expected).norm() <= tolerance * expected.norm()
    assert gradients.keys() == dict(network().named_parameters()).keys()


@pytest.mark.parametrize(
    ("precision", "weights", "activations"),
    [
        ("float32", torch.float32, torch.float32),
        ("float64", torch.float64, torch.float64),
        ("bfloat16", torch.float32, torch.bfloat16),
    ],
)
def test_weights_and_activations_have_their_types(
    precision: str, weights: torch.dtype, activations: torch.dtype
) -> None:
    compute = Compute(precision=precision)
    unit = compute.place(nn.Conv2d(3, 4, 1))
    with compute.autocast():
        output = unit(torch.zeros(1, 3, 2, 2, dtype=compute.weight_dtype))
    assert unit.weight.dtype == compute.weight_dtype == weights
    assert output.dtype == compute.activation_dtype == compute.empty(1, 4).dtype == activations


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 7), (2, 5, 3)])
def test_memory_order_is_one_block_of_the_same_memory(channels_last: bool, shape: tuple[int, ...]) -> None:
    compute = Compute(channels_last=channels_last)
    activation = compute.empty(*shape).normal_()
    block = compute.in_memory_order(activation)
    assert block.is_contiguous()
    assert block.data_ptr() == activation.data_ptr()
    # What is sent in one layout and received in the same is what it was.
    received = compute.empty(*shape)
    compute.in_memory_order(received).copy_(compute.in_memory_order(activation.contiguous()))
    assert torch.equal(received, activation)


@pytest.mark.parametrize("channels_last", [False, True])
def test_an_activation_can_be_placed_in_given_memory(channels_last: bool) -> None:
    compute = Compute(precision="bfloat16", channels_last=channels_last)
    assert compute.nbytes(2, 3, 4, 5) == 240
    memory = torch.zeros(300, dtype=torch.uint8)
    activation = compute.empty(2, 3, 4, 5, memory=memory)
    assert activation.dtype == torch.bfloat16
    assert activation.stride() == compute.empty(2, 3, 4, 5).stride()
    activation.fill_(1)
    assert memory[:240].any()
    assert not memory[240:].any()
    assert compute.in_memory_order(activation).data_ptr() == memory.data_ptr()


def test_equal_units_are_compiled_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda module: compiled.append(module))
    module = Compute(compiled=True).place(network())
    units = [unit for g in module.subnetworks for unit in g]
    assert set(units) <= set(compiled)
    assert not any(isinstance(part, nn.Sequential | nn.ModuleList) for part in compiled)
