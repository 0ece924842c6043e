"""Learning rate by step."""

from math import cos, pi

from orchestrator.config import TrainingOptions


def learning_rate(options: TrainingOptions, epoch: int, step: int, n_steps: int) -> float:
    """The learning rate of a step.

    ``step``: divided by 10 after each milestone epoch (paper, section 5). ``cosine``: half a cosine
    from the initial value towards 0, constant within an epoch. ``cosine_by_step``: from the end of the
    warm-up to 0 at the end of training, step by step. In a warm-up any of them is multiplied by a factor that
    rises to 1 by equal amounts each step.

    Args:
        options: the schedule.
        epoch: 1-based.
        step: of the epoch, 0-based.
        n_steps: steps in an epoch.
    """
    done = (epoch - 1) * n_steps + step  # steps taken before this one
    warmup = options.warmup * n_steps
    rate = options.learning_rate * (min(1.0, (done + 1) / warmup) if warmup else 1.0)
    if options.schedule == "cosine":
        return rate * 0.5 * (1 + cos(pi * (epoch - 1) / options.epochs))
    if options.schedule == "cosine_by_step":
        total = options.epochs * n_steps
        return rate * 0.5 * (1 + cos(pi * max(0.0, done - warmup) / max(1.0, total - warmup)))
    passed = sum(epoch > milestone for milestone in options.milestones)
    return rate / 10.0**passed
