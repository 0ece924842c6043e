import pytest
import torch
from torch import nn

from models import FeedForward, resnet
from models.compute import Compute
from models.parareal import PararealNetwork
from models.tearing import plan_tearing
from orchestrator.actors.pipeline import _Stage


def in_stages(network, sizes, compute=Compute()):  # noqa: B008 - frozen
    tearing = plan_tearing(
        network, len(sizes), partition=sizes, preprocess=nn.Identity, coarse=nn.Identity, seed=3
    )
    return [_Stage(tearing, j, compute) for j in range(1, len(sizes) + 1)]


@pytest.mark.parametrize("sizes", [(6,), (4, 2), (1, 2, 1, 2)])
def test_the_stages_one_after_the_other_are_the_serial_network(sizes):
    network = resnet(depth=20, width=4, input_shape=(3, 8, 8), n_classes=5)
    serial = PararealNetwork(plan_tearing(network, 1, seed=3))
    stages = in_stages(network, sizes)
    output = images = torch.randn(4, 3, 8, 8)
    for stage in stages:
        output = stage(output)
    assert torch.equal(output, serial(images))
    parameters = [parameter for stage in stages for parameter in stage.parameters()]
    assert [p.shape for p in parameters] == [p.shape for p in serial.parameters()]


def test_a_stage_may_begin_with_a_unit_that_overwrites_its_input():
    units = [nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 4)) for _ in range(2)]
    last = in_stages(FeedForward(nn.Linear(4, 4), units, nn.Linear(4, 2), input_shape=(4,)), (1, 1))[1]
    received = torch.randn(3, 4).requires_grad_()
    last(received).sum().backward()
    assert received.grad is not None


def test_what_a_stage_returns_can_be_sent():
    class Transposed(nn.Module):
        def forward(self, x):
            return x.mT

    network = FeedForward(nn.Identity(), [Transposed(), nn.Identity()], nn.Flatten(), input_shape=(2, 3))
    assert in_stages(network, (1, 1))[0](torch.randn(5, 2, 3)).is_contiguous()


def test_what_travels_in_bfloat16_is_that_whatever_the_last_unit_returns():
    class Float(nn.Module):
        def forward(self, x):
            return x.float()

    network = FeedForward(nn.Identity(), [Float(), nn.Identity()], nn.Flatten(), input_shape=(3,))
    sender = in_stages(network, (1, 1), Compute(precision="bfloat16"))[0]
    assert sender(torch.randn(5, 3)).dtype == torch.bfloat16
