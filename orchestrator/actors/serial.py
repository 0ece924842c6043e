"""SerialActor: the whole network, torn or not, in one process on one device."""

from functools import partial
from typing import cast

import torch
from torch import Tensor

from models.parareal import PararealNetwork
from models.tearing import Tearing
from orchestrator.actors.lockstep import LockstepActor
from orchestrator.actors.metrics import Totals
from orchestrator.config import TrialConfig
from orchestrator.data.batches import HeldOut
from orchestrator.data.data import Data
from orchestrator.devices import GangResources


class SerialActor(LockstepActor):
    """Trains the same parareal network as a gang of actors does, to the same result, without its speed.

    It serves to study the accuracy of many subnetworks on few devices, and as the other side of
    every comparison of speed.

    Args:
        config: the trial.
        tearing: the torn network; N = 1 is the original one.
        data: the trial's images.
        resources: what the actor has reserved.
    """

    def __init__(self, config: TrialConfig, tearing: Tearing, data: Data, resources: GangResources) -> None:
        super().__init__(config, tearing, data, resources, part="network")
        self.own(PararealNetwork(tearing, config.n_iterations, compute=self.compute))

    def train_step(self, epoch: int, step: int, total: Totals) -> None:
        """One optimizer step."""
        run = self.recorder
        images, labels = (
            run.fixed(name, tensor)
            for name, tensor in zip(("images", "labels"), self.batches.train(epoch, step), strict=True)
        )
        self._seed("train", step)
        with self.clock("network.forward"):
            logits, loss = run("forward", partial(self._forward, images, labels))
        total.add(loss, logits, labels)
        self.watch.look(loss)
        with self.clock("network.backward"):
            run("backward", partial(self._backward, loss))
        self.take_step(step, component="network")

    def _seed(self, phase: str, step: int) -> None:
        """Have every component draw what it draws in a gang; one seed for all where the step is recorded."""
        if self.compute.graphs:
            self.draw(phase, step, "network", 0)
        else:
            cast(PararealNetwork, self.module).draw = partial(self.draw, phase, step)  # type: ignore[method-assign]

    def _forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and loss."""
        with self.compute.autocast():
            logits = self.module(images)
            return logits, self.task.loss(logits, labels)

    def _backward(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()

    @torch.no_grad()
    def validate(self, images: HeldOut) -> Totals:
        """Loss and error over images that are held out."""
        total = Totals(self.task, self.device)
        for step in range(images.n_steps):
            batch, labels = images(step)
            self._seed("validation", step)
            with self.compute.autocast():
                logits = self.module(batch)
            total.add(self.task.loss(logits, labels), logits, labels)
        return total
