"""Runs the jobs of a plan: Ray Tune over the trials."""

import logging
import os
import tempfile
from typing import Any

import ray
from ray import tune
from ray.tune.progress_reporter import TrialProgressCallback
from rich.console import Console

from analysis import command
from analysis.reading import UnreadableError
from orchestrator import heir
from orchestrator.actors.liveness import show_life
from orchestrator.cgroup import MemoryKills
from orchestrator.config import Options, config_columns
from orchestrator.data.data import Data
from orchestrator.observers.display import Display
from orchestrator.observers.observer import Harmless, Observer
from orchestrator.observers.tensorboard import TensorBoard
from orchestrator.plan import DataKey, data_key
from orchestrator.reason import holds_traceback, reason
from orchestrator.storage.files import WriteError
from orchestrator.storage.store import Store, StoreError
from orchestrator.supervisor import Supervisor
from orchestrator.trial import Job, record_failure, record_untrained, run_trial


def run_jobs(
    jobs: list[Job], data: dict[DataKey, Data], store: Store, options: Options, console: Console
) -> None:
    """Train all jobs, as many at a time as there are devices for; results go to the store."""
    for job in jobs:
        if not job.config.epochs:
            record_untrained(job, store)
    jobs = [job for job in jobs if job.config.epochs]
    if not jobs:
        return
    by_id = {job.config.trial_id: job for job in jobs}
    store.announce({trial_id: {**config_columns(job.config), **job.data} for trial_id, job in by_id.items()})
    # One copy of small data and of each network in the object store, whatever the number of trials; of
    # large data only where they lie.
    for images in data.values():
        images.settle()
    references = {key: ray.put(images) for key, images in data.items()}
    shared = _share(jobs)
    bundles = {trial_id: job.resources.bundles for trial_id, job in by_id.items()}
    # Our store is written; Tune's own loggers would only repeat it, and Tune would miss them at the end.
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # an interruption ends the sweep, not this call alone
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # Tune's new output is not silent even with verbose=0
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what is lost, the display says in a line
    supervisor = Supervisor(timeout=options.timeout, max_failures=options.max_failures)
    rendezvous = supervisor.rendezvous

    def trainable(config: dict[str, Any]) -> None:
        job = ray.get(shared[config["trial_id"]])[config["trial_id"]]
        show_life(rendezvous, config["trial_id"])
        group = ray.util.get_current_placement_group()
        assert group is not None  # Tune runs every trial in one
        try:
            run_trial(
                job,
                references[data_key(job.config)],
                group,
                store,
                max_failures=options.max_failures,
                timeout=options.timeout,
                keep_best=options.keep == "best",
                progress=lambda row: tune.report(dict(row)),
                tell=lambda remark: tune.report({"remark": remark}),
            )
        except (StoreError, UnreadableError, WriteError) as error:
            # Said and done: Tune would only try again, with the same files on the same disk.
            tune.report({"remark": str(error)})

    display = Display(jobs, store, console)
    shown: list[tune.Callback] = [display, TensorBoard(jobs, store)]
    if options.mlflow is not None:
        from orchestrator.observers.mlflow import MLflow  # long to import, and may not be installed

        shown.append(MLflow(jobs, store, options.mlflow, console))
    callbacks: list[tune.Callback] = [
        _Silent(),
        _SignalHandlers(),
        supervisor,
        *(Harmless(observer, display.say) for observer in shown),
    ]
    memory_kills = MemoryKills()
    # Not in the store, whose disk may be full; and all trials' own processes are on this machine.
    scratch = tempfile.TemporaryDirectory(prefix=heir.scratch_prefix(os.getpid()), ignore_cleanup_errors=True)
    tuner = tune.Tuner(
        tune.with_resources(
            trainable,
            lambda config: tune.PlacementGroupFactory(bundles[config["trial_id"]]),
        ),
        param_space={"trial_id": tune.grid_search(list(by_id))},
        tune_config=tune.TuneConfig(trial_name_creator=lambda trial: trial.config["trial_id"]),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=scratch.name,
            verbose=0,
            callbacks=callbacks,
            # The trial itself survives the loss of actors; this is for its own process.
            failure_config=tune.FailureConfig(max_failures=options.max_failures),
        ),
    )
    try:
        tuner.fit()
        # What run_trial could not handle, such as the loss of its own process again and again.
        for trial_id, said in supervisor.failures.items():
            if holds_traceback(said):  # nothing that was foreseen
                display.say(said)
            try:
                record_failure(by_id[trial_id], store, memory_kills.explain(reason(said)))
            except (StoreError, UnreadableError, WriteError) as error:
                display.say(f"{trial_id}: {reason(said)}; {error}")
    finally:
        display.stop()
        scratch.cleanup()


class _Silent(TrialProgressCallback):
    """In the place of Tune's own, which even silent tells of a trial that has no epoch to report."""

    def _print(self, msg: str) -> None:
        """Say nothing."""


class _SignalHandlers(Observer):
    """Keeps what is to happen at a signal; at SIGUSR1 Tune would end as if all trials had finished."""

    def __init__(self) -> None:
        self._handlers = command.handlers()

    def setup(self, *args: Any, **kwargs: Any) -> None:
        """Tune has set handlers of its own."""
        command.restore(self._handlers)


def _share(jobs: list[Job]) -> dict[str, "ray.ObjectRef[dict[str, Job]]"]:
    """By trial, where in Ray's object store its job is, together with all others of the same network.

    Tune pickles what it runs, with all that it refers to, for every trial: too much for a network of modules.
    """
    of_network: dict[int, dict[str, Job]] = {}
    for job in jobs:
        of_network.setdefault(id(job.tearing.network), {})[job.config.trial_id] = job
    return {
        trial_id: reference
        for together in of_network.values()
        for reference in [ray.put(together)]
        for trial_id in together
    }
