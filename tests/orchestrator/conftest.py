"""A place for what is decoded, and a store that already holds what components cost."""

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from itertools import combinations
from math import prod
from pathlib import Path

import pytest

from models.cost_profile import CostProfile
from models.feedforward import FeedForward
from models.step_time import Cost
from orchestrator.config import TORN
from orchestrator.costs import Costs, key_of
from orchestrator.data import datasets
from orchestrator.trial import Job

ALL_N_C = {1, 2, 3, 4, 6}
"""What ⌈12 / N⌉ can be from N = 2 on."""


def profile_of(
    network: FeedForward, n_coarse_units: Collection[int], batch_size: int = 16, whole: int = 16
) -> CostProfile:
    """Made up: a unit costs by what it returns, F^j as much as N_c of them, C^j next to nothing.

    Half of a unit's cost is launching it, which does not get shorter with the batch.
    """
    part = 0.5 + 0.5 * batch_size / whole

    def units(returns: tuple[int, ...], number: float = 1.0) -> Cost:
        return Cost(1e-6 * prod(returns) * number * part, 2e-6 * prod(returns) * number * part)

    shapes = network.trace.shapes
    jumps = list(dict.fromkeys(combinations(shapes[1:], 2)))
    return CostProfile(
        shapes=shapes,
        units=tuple(map(units, shapes[1:])),
        preprocess=Cost(1e-5, 2e-5),
        interface_preprocess=dict.fromkeys(shapes[1:-1], Cost(1e-6, 2e-6)),
        coarse={(*jump, n): units(jump[1], n + 0.1) for jump in jumps for n in n_coarse_units},
        postprocess=Cost(1e-5, 1e-5),
        batch_size=batch_size,
        element_bytes=4,
    )


@pytest.fixture(autouse=True, scope="session")
def decoded_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests decode goes with them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "FOLDER", str(tmp_path_factory.mktemp("decoded")))
        yield


@pytest.fixture
def known_costs(tmp_path: Path) -> Callable[..., Costs]:
    """Writes made-up profiles of the jobs' networks, for these N_c, into a store; returns its costs.

    ``all_ways``: with both kinds of F^j, and with all parts of a batch.
    """

    def write(jobs: Iterable[Job], n_coarse_units: Collection[int], *, all_ways: bool = False) -> Costs:
        folder = tmp_path / "costs"
        folder.mkdir(exist_ok=True)
        for job in jobs:
            network, whole = job.tearing.network, job.config.batch_size
            several = all_ways and job.config.strategy in TORN
            own = {"coarse": job.config.coarse, "preprocess": job.config.preprocess}
            for kind in (own, {"coarse": "units"}, {"coarse": "shortcut"})[: 3 if several else 1]:
                numbers = (
                    {*n_coarse_units} if kind is own else {0} if kind["coarse"] == "shortcut" else ALL_N_C
                )
                for size in [whole // 2**i for i in range(whole.bit_length() if several else 1)]:
                    config = replace(job.config, **{"preprocess": "auto"} | kind, batch_size=size)
                    file = folder / f"{key_of(config, network, job.resources)}.json"
                    if kind is own or not file.exists():
                        profile = profile_of(network, numbers, size, whole)
                        file.write_text(json.dumps(profile.to_dict()))
        return Costs(tmp_path)

    return write
