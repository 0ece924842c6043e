"""How networks are tried before anything starts; what is refused then, test_refused_networks has."""

from functools import partial

import torch
from torch import nn

from orchestrator.config import Options, Sweep
from orchestrator.devices import Available
from orchestrator.plan import make_plan

threads = set[int]()


class Counting(nn.Conv2d):
    def forward(self, x):
        threads.add(torch.get_num_threads())
        return super().forward(x)


def counting(*, input_shape, n_classes):
    conv = partial(Counting, 1, 1, 3, padding=1)
    return nn.Sequential(*[conv() for _ in range(6)], nn.Flatten(), nn.Linear(64, n_classes))


def test_networks_are_tried_with_one_thread():
    torch.set_num_threads(2)
    try:
        sweep = Sweep(
            network=f"{__name__}:counting", n_subnetworks=(1, 3), dataset="synthetic:1x8x8x4x64", seed=0
        )
        make_plan(sweep, Options(), Available(cpus=8, gpus=0))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert threads == {1}
