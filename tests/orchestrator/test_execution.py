"""What Ray Tune is given to run."""

import io
from dataclasses import replace

import cloudpickle
import ray
from rich.console import Console
from torch import nn
from torch.nn.utils import parametrizations

from models.feedforward import FeedForward
from models.tearing import plan_tearing
from orchestrator import execution
from orchestrator.config import Options, Sweep
from orchestrator.devices import Available
from orchestrator.execution import run_jobs
from orchestrator.plan import make_plan
from orchestrator.storage.store import Store


class Tuner:
    """Is told what to run, and runs nothing."""

    def __init__(self, trainable, **options):
        Tuner.told = trainable, options["param_space"]

    def fit(self):
        pass


def large(seed):
    """A Sequential of a million numbers, torn."""
    first = parametrizations.weight_norm(nn.Linear(500, 500))
    units = [first, *(nn.Linear(500, 500) for _ in range(3))]
    chain = nn.Sequential(nn.Sequential(nn.Flatten(), nn.Linear(64, 500)), *units, nn.Linear(500, 4))
    network = FeedForward.from_sequential(chain, input_shape=(1, 8, 8))
    return {n: plan_tearing(network, n, n_coarse_units=1, seed=seed) for n in (1, 2)}


def test_networks_are_shared_and_not_a_part_of_what_tune_copies(local_ray, tmp_path, monkeypatch):
    sweep = Sweep(
        n_subnetworks=(1, 2), depth=(29,), width=(2,), dataset=("synthetic:1x8x8x4x64",), seed=(0, 1)
    )
    plan = make_plan(sweep, Options(), Available(cpus=2, gpus=0))
    networks = {seed: large(seed) for seed in (0, 1)}
    jobs = [replace(job, tearing=networks[job.config.seed][job.config.n_subnetworks]) for job in plan.jobs]
    monkeypatch.setattr(execution.tune, "Tuner", Tuner)
    monkeypatch.setattr(execution.tune, "with_resources", lambda trainable, resources: (trainable, resources))
    run_jobs(jobs, plan.data, Store(tmp_path), Options(), Console(file=io.StringIO()))
    assert len(cloudpickle.dumps(Tuner.told)) < 100_000

    shared = execution._share(jobs)
    assert shared.keys() == {job.config.trial_id for job in jobs}
    assert len(set(shared.values())) == 2
    for job in jobs:
        arrived = ray.get(shared[job.config.trial_id])[job.config.trial_id]
        assert arrived.config == job.config
        assert arrived.tearing.n_parameters == job.tearing.n_parameters
