"""Learning rate by epoch."""

from math import cos, pi

from orchestrator.config import TrialConfig


def learning_rate(config: TrialConfig, epoch: int) -> float:
    """The learning rate of a 1-based epoch.

    ``step``: divided by 10 after each milestone epoch (paper, section 5). ``cosine``: half a cosine
    from the initial value towards 0, constant within an epoch.
    """
    if config.schedule == "cosine":
        return config.learning_rate * 0.5 * (1 + cos(pi * (epoch - 1) / config.epochs))
    passed = sum(epoch > milestone for milestone in config.milestones)
    return config.learning_rate / 10.0**passed
