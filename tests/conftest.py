"""For every test: the same random numbers in every run, one thread, no deadlines on a shared machine.

Tests that start Ray are marked so (``ray``), come first where several processes share the tests, and have
one Ray for each of these processes.
"""

import os

# Before torch is imported, here and in what tests start: tensors this small only lose by sharing the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import atexit
import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
import torch
from hypothesis import settings

from orchestrator import cluster
from tests.preloaded import FORKS, Forks

settings.register_profile("project", deadline=None)
settings.load_profile("project")

TESTS = Path(__file__).parent
START_RAY = ("integration", "benchmarks", "cluster")
"""Folders of tests that start Ray, in a process of their own if not in the test's."""
SLOW = (
    *("report", "page", "worth_it", "summary", "notebook", "command"),
    *("sweep", "plan", "forecast", "status", "optimizer", "links", "fitting"),
    *("imports", "extending_page", "own_data_page", "own_network_page"),
    *("legible", "costs", "last_words", "trial_id"),
    *("liveness", "mailbox", "device_link", "heir", "actor"),
)
"""Those that draw reports, plan large networks or start processes: not among the quick ones."""
LONGEST_FIRST = ("recovery", "faults", "sweep_command", "run", "own_data_sweep", "own_network_sweep")


@pytest.hookimpl(wrapper=True)  # pytest-xdist reads the marks in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Mark tests that start Ray; tests that share something of their module stay together."""
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        if folder in START_RAY or "local_ray" in item.fixturenames:
            item.add_marker("ray")
        if item.path.stem.removeprefix("test_") in SLOW:
            item.add_marker("slow")
        if folder not in ("integration", "benchmarks") or _shares_what_its_module_has(item):
            item.add_marker(pytest.mark.xdist_group(str(item.path.relative_to(TESTS))))
    items.sort(key=_turn)  # leaves the order of what takes its turn together
    yield


def _shares_what_its_module_has(item: pytest.Item) -> bool:
    definitions = item._fixtureinfo.name2fixturedefs.values()  # pytest has no public way to ask
    return any(definition.scope == "module" for of_name in definitions for definition in of_name)


def _turn(item: pytest.Item) -> int:
    """The longest first, so that no process is left alone with one; what measures time in the quiet end.

    Those that use the process's own Ray come together, so that it is started once.
    """
    name = item.path.stem.removeprefix("test_")
    if item.get_closest_marker("ray") is None:
        return len(LONGEST_FIRST) + 2
    if name in LONGEST_FIRST:
        return LONGEST_FIRST.index(name)
    return len(LONGEST_FIRST) + ("local_ray" in item.fixturenames)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """One Ray for all tests that want one on this machine, gone before the next that does not."""
    if item.get_closest_marker("ray") and FORKS not in os.environ:
        item.config.stash[_FORKS] = Forks()
    if "local_ray" in item.fixturenames:
        cluster.connect(None)
        item.config.stash[_LOCAL_RAY] = True
    else:
        _end_local_ray(item.config)


def pytest_runtest_teardown(item: pytest.Item) -> None:
    assert item.get_closest_marker("ray") or not ray.is_initialized(), "starts Ray: needs the mark"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Not later: pytest-xdist interrupts a process that takes 5 s once it has said that it has finished."""
    _end_local_ray(session.config)
    if _FORKS in session.config.stash:
        session.config.stash[_FORKS].close()
    gc.collect()
    gc.freeze()  # pytest collects another five times
    atexit.register(gc.unfreeze)  # what is left at the end would count as leaked


_LOCAL_RAY = pytest.StashKey[bool]()
_FORKS = pytest.StashKey[Forks]()


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
