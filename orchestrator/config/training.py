"""Options: how weights begin and are trained."""

from dataclasses import dataclass
from typing import Literal

from orchestrator.config.option import at_least

Schedule = Literal["step", "cosine"]


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How weights begin and are trained."""

    seed: int = 0
    """Seeds of the initial weights, the order of the images and their augmentation."""
    epochs: int = 8
    """Passes over the training images; 0: do not train, only time the components."""
    batch_size: int = 64
    """Images per optimizer step; the last, incomplete batch of an epoch is left out."""
    learning_rate: float = 0.1
    """Initial learning rate of SGD."""
    schedule: Schedule = "step"
    """step: divide the learning rate by 10 at each milestone; cosine: anneal it to 0 by the epoch."""
    milestones: tuple[int, ...] = (5, 7)
    """Epochs after which the step schedule divides the learning rate by 10 (one list for all)."""
    momentum: float = 0.9
    """Momentum of SGD."""
    weight_decay: float = 5e-4
    """Weight decay of SGD."""

    def check(self) -> None:
        """See that values are in range.

        Raises:
            ValueError: one is not.
        """
        at_least(1, self, "batch_size")
        if self.learning_rate <= 0:
            raise ValueError(f"--learning-rate {self.learning_rate}: give a positive number")
        at_least(0, self, "epochs", "momentum", "weight_decay", "seed")
        if self.momentum >= 1:
            raise ValueError(f"--momentum {self.momentum}: give less than 1")
        if list(self.milestones) != sorted(set(self.milestones)) or any(m < 1 for m in self.milestones):
            raise ValueError(f"--milestones {self.milestones}: give increasing epochs, 1 or more")
