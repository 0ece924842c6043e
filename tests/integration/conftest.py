"""Gangs of real actors, and a sweep that all can compare with."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import ray
from filelock import FileLock
from ray.util.placement_group import placement_group, remove_placement_group

from orchestrator.actors import gang
from orchestrator.actors.gang import Gang
from orchestrator.config import Sweep, TrialConfig
from orchestrator.data.datasets import load_dataset
from orchestrator.devices import GangResources, n_actors
from orchestrator.plan import describe, tear_as_asked
from tests.integration.command import TINY, Command
from tests.integration.pool import Pool

GangFactory = Callable[[TrialConfig], Gang]


@pytest.fixture(scope="session")
def pool(local_ray: None) -> Pool:
    """Processes for the actors of one gang after the other."""
    return Pool()


@pytest.fixture
def pooled(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gangs get their processes from the pool: for tests that harm none."""
    monkeypatch.setattr(gang, "ray", pool)


@pytest.fixture
def start_gang(local_ray: None) -> Iterator[GangFactory]:
    """Starts the gang of a trial on CPU, connected; it ends with the test."""

    @contextmanager
    def start(config: TrialConfig) -> Iterator[Gang]:
        images = load_dataset(
            config.dataset,
            train_subset=config.train_subset,
            validation_subset=config.validation_subset,
        )
        size = n_actors(config.n_subnetworks, config.strategy, config.n_replicas)
        resources = GangResources(size, "cpu", cpus=0.1, gpus=0, n_replicas=config.n_replicas)
        group = placement_group(resources.bundles)
        try:
            with Gang(
                config, tear_as_asked(config, describe(config, images)), ray.put(images), resources, group
            ) as actors:
                actors.connect(timeout=60)
                yield actors
        finally:
            remove_placement_group(group)

    return start


@pytest.fixture(scope="session")
def trial() -> Callable[..., TrialConfig]:
    """A small trial, three steps an epoch; keyword arguments override."""

    def make(**options: object) -> TrialConfig:
        defaults = {"depth": 29, "width": 4, "train_subset": 24, "validation_subset": 20, "batch_size": 8}
        defaults |= {"epochs": 2, "seed": 0, "n_subnetworks": 2, "precision": "float64"}
        values = {
            name: value if name == "milestones" else (value,) for name, value in (defaults | options).items()
        }
        (config,) = Sweep(**values).trials()
        return config

    return make


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A store that an undisturbed sweep has filled, once for all processes that run tests: only read it."""
    folder = tmp_path_factory.getbasetemp()
    if worker_id != "master":  # one of several processes, whose folders are in a common one
        folder = folder.parent
    store = folder / "finished"
    with FileLock(folder / "finished.lock"):
        if not (folder / "finished.done").exists():
            run_undisturbed(store)
            (folder / "finished.done").touch()
    return store


def run_undisturbed(store: Path) -> None:
    """Fill a store."""
    command = Command(*TINY, "--store", str(store))
    status, output = command.finish()
    assert status == 0, output
    assert command.await_end_of_descendants(20) == []
    assert "Table 1" in output
    assert "2/2 trials done" in output
