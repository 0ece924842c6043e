"""LockstepActor: the plain epoch of every strategy but parareal."""

import time
from abc import ABC, abstractmethod

from orchestrator.actors.actor import Actor, EpochReport
from orchestrator.actors.metrics import FiniteWatch, Totals
from orchestrator.data.batches import HeldOut


class LockstepActor(Actor, ABC):
    """Takes every step of an epoch, together with its peers where it has any, then validates.

    Attributes:
        computes_loss: whether this actor is the one that reports losses and errors.
        watch: whether the loss of the step before was finite.
    """

    watch: FiniteWatch

    computes_loss = True

    def run_epoch(self, epoch: int) -> EpochReport:
        """Train one epoch (1-based) and validate."""
        self.start_epoch(epoch)
        self.module.train()
        total, self.watch = Totals(self.task, self.device), FiniteWatch(self.device)
        start = time.perf_counter()
        for step in range(self.batches.n_train_steps):
            if not self.watch.finite():  # at the step before: a GPU does not run dry for this step's loss
                break
            with self.training_step():
                self.train_step(epoch, step, total)
        completed = self.watch.finite()
        seconds = self.seconds_since(start)
        self.module.eval()
        validation = self.validate(self.batches.validation) if completed else None
        if self.computes_loss:
            return self.report(completed, seconds, total, validation)
        return self.report(completed, seconds)

    @abstractmethod
    def train_step(self, epoch: int, step: int, total: Totals) -> None:
        """One optimizer step; adds to ``total``, and has ``watch`` look at a loss that all peers have."""

    @abstractmethod
    def validate(self, images: HeldOut) -> Totals:
        """Loss and error over images that are held out; the module is in evaluation mode."""
