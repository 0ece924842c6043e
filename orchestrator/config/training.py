"""Options: how weights begin and are trained."""

from dataclasses import dataclass
from typing import Literal

from orchestrator.config.option import at_least, later, spelt

Optimizer = Literal["sgd", "adamw"]
Schedule = Literal["step", "cosine", "cosine_by_step"]
Decay = Literal["all", "weights"]


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How weights begin and are trained."""

    seed: int = 0
    """Seeds of the initial weights, the order of the images and their augmentation."""
    initial: str | None = later(None, before=None)
    """Weights to begin with: a file .safetensors of the network in one process, or a result store, of which
    the trial of the same network, N and seed that began anew is meant. None: those that the seed says."""
    epochs: int = 8
    """Passes over the training images; 0: do not train, only time the components."""
    batch_size: int = 64
    """Images per optimizer step; the last, incomplete batch of an epoch is left out."""
    optimizer: Optimizer = later("sgd", before="sgd")
    """sgd (with momentum) or adamw (Adam with decoupled weight decay)."""
    learning_rate: float = 0.1
    """Learning rate that the schedule begins with."""
    schedule: Schedule = "step"
    """step: divide the learning rate by 10 at each milestone; cosine: anneal it to 0 by the epoch;
    cosine_by_step: likewise by the step, from the end of the warm-up on."""
    warmup: float = later(0.0, before=0.0)
    """Epochs, or a part of one, in which the learning rate rises from 0 by equal amounts each step."""
    milestones: tuple[int, ...] = (5, 7)
    """Epochs after which the step schedule divides the learning rate by 10 (one list for all)."""
    momentum: float = 0.9
    """Momentum of SGD; β1 of AdamW."""
    nesterov: bool = later(False, before=False)
    """Whether the momentum of SGD is Nesterov's."""
    beta2: float = later(0.999, before=0.999)
    """β2 of AdamW."""
    weight_decay: float = 5e-4
    """Weight decay: of SGD added to the gradient, of AdamW taken off the weight."""
    decay: Decay = later("all", before="all")
    """What decays: all parameters, or weights alone: no biases, nothing of normalisations."""
    clip_norm: float | None = later(None, before=None)
    """Largest norm of the gradient of all parameters together; a longer one is shortened to it."""

    def check(self) -> None:
        """See that values are in range.

        Raises:
            ValueError: one is not.
        """
        at_least(1, self, "batch_size")
        if self.learning_rate <= 0:
            raise ValueError(f"--learning-rate {self.learning_rate}: give a positive number")
        at_least(0, self, "epochs", "warmup", "momentum", "beta2", "weight_decay", "seed")
        for name in ("momentum", "beta2"):
            if getattr(self, name) >= 1:
                raise ValueError(f"{spelt(name)} {getattr(self, name)}: give less than 1")
        if self.nesterov and not self.momentum:
            raise ValueError("--nesterov True with --momentum 0: leave out one of them")
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise ValueError(f"--clip-norm {self.clip_norm}: give a positive number, or None")
        if self.warmup > self.epochs > 0:
            raise ValueError(f"--warmup {self.warmup:g} is longer than --epochs {self.epochs}: shorten it")
        if list(self.milestones) != sorted(set(self.milestones)) or any(m < 1 for m in self.milestones):
            raise ValueError(f"--milestones {self.milestones}: give increasing epochs, 1 or more")
