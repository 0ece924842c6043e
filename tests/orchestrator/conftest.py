"""A place for what is decoded, and a store that already holds what components cost."""

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import combinations
from math import prod
from pathlib import Path

import pytest

from models.cost_profile import CostProfile
from models.feedforward import FeedForward
from models.step_time import Cost
from orchestrator.costs import Costs, key_of
from orchestrator.data import datasets
from orchestrator.trial import Job


def profile_of(network: FeedForward, n_coarse_units: Collection[int]) -> CostProfile:
    """Made up: a unit costs by what it returns, F^j as much as N_c of them, C^j next to nothing."""

    def units(returns: tuple[int, ...], number: float = 1.0) -> Cost:
        return Cost(1e-6 * prod(returns) * number, 2e-6 * prod(returns) * number)

    shapes = network.trace.shapes
    jumps = list(dict.fromkeys(combinations(shapes[1:], 2)))
    return CostProfile(
        shapes=shapes,
        units=tuple(map(units, shapes[1:])),
        preprocess=Cost(1e-5, 2e-5),
        interface_preprocess=dict.fromkeys(shapes[1:-1], Cost(1e-6, 2e-6)),
        coarse={(*jump, n): units(jump[1], n + 0.1) for jump in jumps for n in n_coarse_units},
        postprocess=Cost(1e-5, 1e-5),
        batch_size=16,
        element_bytes=4,
    )


@pytest.fixture(autouse=True, scope="session")
def decoded_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests decode goes with them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "FOLDER", str(tmp_path_factory.mktemp("decoded")))
        yield


@pytest.fixture
def known_costs(tmp_path: Path) -> Callable[[Iterable[Job], Collection[int]], Costs]:
    """Writes made-up profiles of the jobs' networks, for these N_c, into a store; returns its costs."""

    def write(jobs: Iterable[Job], n_coarse_units: Collection[int]) -> Costs:
        folder = tmp_path / "costs"
        folder.mkdir(exist_ok=True)
        for job in jobs:
            name = key_of(job.config, job.tearing.network, job.resources)
            profile = profile_of(job.tearing.network, n_coarse_units)
            (folder / f"{name}.json").write_text(json.dumps(profile.to_dict()))
        return Costs(tmp_path)

    return write
