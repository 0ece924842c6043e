"""SerialActor: the whole network, torn or not, in one process on one device."""

import time

import torch
from torch import Tensor
from torch.nn import functional as F

from models.parareal import PararealNetwork
from models.tearing import Tearing
from orchestrator.actor import Actor, EpochReport
from orchestrator.config import TrialConfig
from orchestrator.datasets import ImageData
from orchestrator.devices import GangResources
from orchestrator.metrics import Totals


class SerialActor(Actor):
    """Trains the same parareal network as a gang of actors does, to the same result, without its speed.

    It serves to study the accuracy of many subnetworks on few devices, and as the other side of
    every comparison of speed.

    Args:
        config: the trial.
        tearing: the torn network.
        data: the trial's images.
        resources: what the actor has reserved.
    """

    def __init__(
        self, config: TrialConfig, tearing: Tearing, data: ImageData, resources: GangResources
    ) -> None:
        super().__init__(config, data, resources, part="network")
        self.own(PararealNetwork(tearing))

    def run_epoch(self, epoch: int) -> EpochReport:
        """Train one epoch (1-based) and validate."""
        rate = self.start_epoch(epoch)
        self.module.train()
        total = Totals(self.device)
        start = time.perf_counter()
        steps = range(self.batches.n_train_steps)
        completed = all(self._train_step(*self.batches.train(epoch, step), rate, total) for step in steps)
        seconds = time.perf_counter() - start
        return self.report(completed, seconds, rate, total, self._validate() if completed else None)

    def _train_step(self, images: Tensor, labels: Tensor, rate: float, total: Totals) -> bool:
        """One optimizer step; False, and no step, if the loss is not finite."""
        with self.clock("network.forward"):
            logits = self.module(images)
            loss = F.cross_entropy(logits, labels)
            total.add(loss, logits, labels)
            proceed = bool(torch.isfinite(loss))
        if proceed:
            self.optimizer.zero_grad()
            with self.clock("network.backward"):
                loss.backward()
            with self.clock("network.optimizer"):
                self.optimizer.step(rate)
        return proceed

    @torch.no_grad()
    def _validate(self) -> Totals:
        """Loss and error over the validation set."""
        self.module.eval()
        total = Totals(self.device)
        for step in range(self.batches.n_validation_steps):
            images, labels = self.batches.validation(step)
            logits = self.module(images)
            total.add(F.cross_entropy(logits, labels), logits, labels)
        return total
