"""MLflow's view of a sweep (``--mlflow URI``), through Tune's own callback."""

import os
from dataclasses import asdict
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException
from ray.air.integrations.mlflow import MLflowLoggerCallback
from rich.console import Console

from orchestrator.observers.observer import Observer
from orchestrator.reason import reason
from orchestrator.storage.store import Store
from orchestrator.trial import Job

# MLflow's own patience is four minutes, in which a sweep would stand still at the end of every epoch.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")


def check(uri: str) -> None:
    """See that MLflow answers.

    Raises:
        ValueError: it does not.
    """
    try:
        mlflow.MlflowClient(uri).search_experiments(max_results=1)
    except MlflowException as error:
        raise ValueError(
            f"no MLflow answers at {uri} ({reason(error)}): start one, or leave out --mlflow"
        ) from error


class MLflow(Observer, MLflowLoggerCallback):
    """A Tune callback that makes a run of every trial, named by its trial_id.

    Parameters are the trial's options, metrics the columns of its epochs, by epoch. A trial that a later
    command goes on with gets a new run, which begins with the epochs that the store has. A server that
    stops answering is told after the next epoch, and never stops the sweep.

    Args:
        jobs: the trials of this sweep.
        store: where their rows come from; its folder's name is the experiment's.
        uri: of the tracking server or database.
        console: where to say that it does not answer.
    """

    def __init__(self, jobs: list[Job], store: Store, uri: str, console: Console) -> None:
        super().__init__(uri, experiment_name=store.path.name)
        self._configs = {job.config.trial_id: job.config for job in jobs}
        self._store = store
        self._console = console
        self._n_rows = dict.fromkeys(self._configs, 0)

    def log_trial_start(self, trial: Any) -> None:
        """A trial has its devices, for the first time or again."""
        self._tell(trial)

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        """A trial has finished an epoch."""
        self._tell(trial)

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """A trial has ended; the store says how."""
        self._tell(trial, ended=True)

    def _tell(self, trial: Any, *, ended: bool = False) -> None:
        """Send what has not been sent yet."""
        trial_id = trial.config["trial_id"]
        try:
            if trial not in self._trial_runs:
                super().log_trial_start(trial)
                self.mlflow_util.log_params(asdict(self._configs[trial_id]), self._trial_runs[trial])
            for row in self._store.read("epochs", trial_id)[self._n_rows[trial_id] :]:
                self.mlflow_util.log_metrics(row["epoch"], row, self._trial_runs[trial])
                self._n_rows[trial_id] += 1
            if ended:
                super().log_trial_end(trial, failed=self._store.status(trial_id) != "finished")
        except MlflowException as error:
            self._console.print(f"MLflow does not answer ({reason(error)}): the sweep goes on", markup=False)
