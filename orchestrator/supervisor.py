"""The processes of trials, one a trial: which are frozen, how often one may die."""

from pathlib import Path
from typing import Any

import ray

from orchestrator import ray_watch
from orchestrator.actors.liveness import Watch
from orchestrator.actors.transport import Rendezvous
from orchestrator.observers.observer import Observer


class Supervisor(Observer):
    """A Tune callback that ends trial processes which are frozen, so that Tune starts them again.

    Args:
        timeout: seconds without a sign of life until a process counts as frozen.
        max_failures: how often in a row, without an epoch finished, a trial's process may be lost.

    Attributes:
        failures: what Tune says of trials that it has given up, by trial_id.
    """

    def __init__(self, *, timeout: float, max_failures: int) -> None:
        self._watch = Watch(timeout=timeout)
        self._max_failures = max_failures
        self.failures: dict[str, str] = {}

    @property
    def rendezvous(self) -> Rendezvous:
        """Where the trials' processes show that they live."""
        return self._watch.rendezvous

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial's process is there."""
        self._watch.expect(trial.config["trial_id"])

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A trial has something to say; an epoch finished wipes out the failures before it."""
        if "epoch" in result:
            trial.max_failures = trial.num_failures + self._max_failures

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has ended by itself."""
        self._watch.dismiss(trial.config["trial_id"])

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial's process has died and waits to be started again."""
        self._watch.dismiss(trial.config["trial_id"])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial's process has died once too often, or raised what nobody had foreseen."""
        self._watch.dismiss(trial.config["trial_id"])
        # What Trial.get_error() reads has not been copied to its place yet.
        said = Path(trial.error_file).read_text(encoding="utf-8") if trial.error_file else ""
        _, _, last = said.rpartition("Failure # ")
        _, _, said = last.partition("\n")  # without Tune's headline
        self.failures[trial.config["trial_id"]] = said.strip() or "Tune gave it up and did not say why"

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Look at all of them, some times a second, and at the Ray that they run on."""
        ray_watch.check()
        if silent := self._watch.silent():
            for trial in trials:
                if trial.config["trial_id"] in silent:
                    ray.kill(trial.temporary_state.ray_actor)
                    self._watch.dismiss(trial.config["trial_id"])
