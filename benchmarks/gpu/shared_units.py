"""A network whose units are built once, for measurements that use them again and again."""

from dataclasses import replace
from functools import partial

from torch import nn

from models.compute import Compute
from models.feedforward import FeedForward
from models.initialisation import as_factory, build_seeded


def with_shared_units(network: FeedForward, compute: Compute) -> FeedForward:
    """The same network; whoever builds one of its units gets the same module, on the device already."""
    modules = [
        compute.place(build_seeded(as_factory(unit), 0, "unit", i)).train()
        for i, unit in enumerate(network.units)
    ]
    shared = replace(network, units=[partial(_same, module) for module in modules])
    shared.__dict__["trace"] = network.trace  # of units on the CPU: these need not be there
    return shared


def _same(module: nn.Module) -> nn.Module:
    return module
