"""A trial of more epochs goes on from the store's trial of fewer, where that had the same learning rates."""

from dataclasses import replace
from math import ceil

from orchestrator.config import TrialConfig
from orchestrator.storage import checkpoint
from orchestrator.storage.store import Row, Store


def begin_with_shorter(config: TrialConfig, found: Row, store: Store) -> str | None:
    """Copy rows and checkpoints of the longest finished trial that differs in its number of epochs alone.

    Args:
        config: the trial, which has no checkpoint yet.
        found: columns of ``trials`` in which the other has to agree beside the options: a partition by cost
            may cut elsewhere than it once did, and a file of initial weights may have changed.
        store: of both trials.

    Returns:
        The other's ``trial_id``; None if there is none, or if the learning rate goes by how many epochs there
        are to be.
    """
    if config.schedule != "step":
        return None
    for epochs in range(config.epochs - 1, max(1, ceil(config.warmup)) - 1, -1):
        shorter = replace(config, epochs=epochs).trial_id
        wanted = {"status": "finished", **found}
        if not any(wanted.items() <= row.items() for row in store.read("trials", shorter)):
            continue
        for kind in ("epochs", "timings"):
            kept = (row for row in store.read(kind, shorter) if row.get("mode", "wall") == "wall")
            store.write(kind, config.trial_id, [row | {"trial_id": config.trial_id} for row in kept])
        checkpoint.copy(store.checkpoints(shorter), store.checkpoints(config.trial_id))
        return shorter
    return None
