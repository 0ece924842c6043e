"""For every test: the same random numbers in every run, one thread, no deadlines on a shared machine.

Tests that start Ray are marked so (``ray``), come first where several processes share the tests, and have
one Ray for each of these processes.
"""

import os

# Before torch is imported, here and in what tests start: tensors this small only lose by sharing the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Two processes of each Ray that import torch for nothing: Tune's trials do not fit them.
os.environ.setdefault("RAY_prestart_worker_first_driver", "0")

from pathlib import Path

import pytest
import ray
import torch
from hypothesis import settings

from orchestrator import cluster

settings.register_profile("project", deadline=None)
settings.load_profile("project")

TESTS = Path(__file__).parent
START_RAY = ("integration", "benchmarks", "cluster")
"""Folders of tests that start Ray, in a process of their own if not in the test's."""
LONGEST_FIRST = ("recovery", "gang_placement", "strategies", "faults", "sweep_command", "own_network_sweep")


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the marks in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that start Ray; tests that share something of their module stay together."""
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        if folder in START_RAY or "local_ray" in item.fixturenames:
            item.add_marker("ray")
        if folder not in ("integration", "benchmarks") or _shares_what_its_module_has(item):
            item.add_marker(pytest.mark.xdist_group(str(item.path.relative_to(TESTS))))
    items.sort(key=_turn)  # leaves the order of what takes its turn together


def _shares_what_its_module_has(item: pytest.Item) -> bool:
    definitions = item._fixtureinfo.name2fixturedefs.values()  # pytest has no public way to ask
    return any(definition.scope == "module" for of_name in definitions for definition in of_name)


def _turn(item: pytest.Item) -> int:
    """The longest first, so that no process is left alone with one; what measures time in the quiet end."""
    if item.get_closest_marker("ray") is None:
        return len(LONGEST_FIRST) + 1
    name = item.path.stem.removeprefix("test_")
    return LONGEST_FIRST.index(name) if name in LONGEST_FIRST else len(LONGEST_FIRST)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """One Ray for all tests that want one on this machine, gone before the next that does not."""
    if "local_ray" in item.fixturenames:
        cluster.connect(None)
        item.config.stash[_LOCAL_RAY] = True
    else:
        _end_local_ray(item.config)


def pytest_runtest_teardown(item: pytest.Item) -> None:
    assert item.get_closest_marker("ray") or not ray.is_initialized(), "starts Ray: needs the mark"


def pytest_unconfigure(config: pytest.Config) -> None:
    _end_local_ray(config)


_LOCAL_RAY = pytest.StashKey[bool]()


def _end_local_ray(config: pytest.Config) -> None:
    if config.stash.get(_LOCAL_RAY, False):
        cluster.disconnect()
        config.stash[_LOCAL_RAY] = False


@pytest.fixture(scope="session")
def local_ray() -> None:
    """Ray on this machine: see pytest_runtest_setup."""


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Where torch was imported earlier."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    """Whatever else ran before."""
    torch.manual_seed(0)
