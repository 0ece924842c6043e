"""LockstepActor: the plain epoch of every strategy but parareal."""

import time
from abc import ABC, abstractmethod

from torch import Tensor

from orchestrator.actors.actor import Actor, EpochReport
from orchestrator.actors.metrics import FiniteWatch, Totals


class LockstepActor(Actor, ABC):
    """Takes every step of an epoch, together with its peers where it has any, then validates.

    Attributes:
        computes_loss: whether this actor is the one that reports losses and errors.
    """

    computes_loss = True

    def run_epoch(self, epoch: int) -> EpochReport:
        """Train one epoch (1-based) and validate."""
        rate = self.start_epoch(epoch)
        self.module.train()
        total, watch = Totals(self.device), FiniteWatch(self.device)
        start = time.perf_counter()
        for step in range(self.batches.n_train_steps):
            if not watch.finite():  # at the step before: a GPU does not run dry for this step's loss
                break
            with self.training_step():
                watch.look(self.train_step(epoch, step, rate, total))
        completed = watch.finite()
        seconds = time.perf_counter() - start
        self.module.eval()
        validation = self.validate() if completed else None
        if self.computes_loss:
            return self.report(completed, seconds, rate, total, validation)
        return self.report(completed, seconds)

    @abstractmethod
    def train_step(self, epoch: int, step: int, rate: float, total: Totals) -> Tensor:
        """One optimizer step; adds to ``total``, and returns a loss that is the same for all peers."""

    @abstractmethod
    def validate(self) -> Totals:
        """Loss and error over the validation set; the module is in evaluation mode."""
