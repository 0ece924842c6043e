"""Options: what the network is trained for."""

from dataclasses import dataclass

from orchestrator.config.option import later


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """What the network is trained for."""

    task: str = later("classification", before="classification")
    """classification (cross entropy, error rate), regression (mean squared error, its root), next_token
    (cross entropy, perplexity), or your own models.task.Task as path.to.module:name."""
    label_smoothing: float = later(0.0, before=0.0)
    """Share of a target's weight that all classes, or tokens, get alike."""

    def check(self) -> None:
        """See that values are in range.

        Raises:
            ValueError: one is not.
        """
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"--label-smoothing {self.label_smoothing}: give 0 or more, less than 1")
