"""Actors that refuse to wait for their GPU within a training step, once all parts have run before."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from models.recorder import WARMUP
from orchestrator.actors.actor import Actor
from orchestrator.actors.driver import DriverActor
from orchestrator.actors.serial import SerialActor
from orchestrator.actors.subnetwork import SubnetworkActor


class _Strict(Actor):
    steps_done = 0

    @contextmanager
    def training_step(self) -> Iterator[None]:
        """Measure the block, in which torch raises where the host would wait for the device."""
        with super().training_step():
            if self.steps_done > WARMUP + 1:
                torch.cuda.set_sync_debug_mode("error")
            try:
                yield
            finally:
                torch.cuda.set_sync_debug_mode("default")
        self.steps_done += 1


class StrictDriver(_Strict, DriverActor):
    """A driver."""


class StrictSubnetwork(_Strict, SubnetworkActor):
    """A subnetwork."""


class StrictSerial(_Strict, SerialActor):
    """The network in one piece."""
