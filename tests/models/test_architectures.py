"""Every architecture in the registry, torn: a new one is covered by its line there."""

import cloudpickle
import pytest
import torch
from torch.nn import functional as F

from models.feedforward import FeedForward
from models.parareal import PararealNetwork, tear
from models.registry import NETWORKS, build_network
from models.tearing import Tearing, plan_tearing
from models.timing import time_components

N_CLASSES = 5

every_network = pytest.mark.parametrize("name", NETWORKS)
every_n = pytest.mark.parametrize("n", [1, 2, 3])


def describe(name: str) -> FeedForward:
    return build_network(name, input_shape=(3, 16, 16), n_classes=N_CLASSES, width=8)


def images(n: int) -> torch.Tensor:
    return torch.randn(n, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@every_network
@every_n
@pytest.mark.parametrize("preprocess", ["auto", "strided", "patch"])
def test_every_parameter_learns(name: str, n: int, preprocess: str) -> None:
    network = PararealNetwork(plan_tearing(describe(name), n, preprocess=preprocess))
    logits = network(images(10))
    assert logits.shape == (10, N_CLASSES)
    F.cross_entropy(logits, torch.arange(10) % N_CLASSES).backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name


@every_network
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 16)])
def test_it_trains_with_what_stands_at_the_cuts_by_default(name: str, shape: tuple[int, ...]) -> None:
    network = tear(build_network(name, input_shape=shape, n_classes=N_CLASSES, width=8), 3)
    x, labels = torch.randn(10, *shape), torch.arange(10) % N_CLASSES
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    for _ in range(2):
        optimizer.zero_grad()
        F.cross_entropy(network(x), labels).backward()
        optimizer.step()
    assert F.cross_entropy(network(x), labels).isfinite()


def outputs(tearing: Tearing) -> torch.Tensor:
    with torch.no_grad():
        return PararealNetwork(tearing).eval()(images(4))


@every_network
@every_n
def test_it_travels_and_is_the_same_there(name: str, n: int) -> None:
    tearing = plan_tearing(describe(name), n, seed=3)
    arrived = cloudpickle.loads(cloudpickle.dumps(tearing))
    assert torch.equal(outputs(arrived), outputs(tearing))


@every_network
def test_the_seed_decides(name: str) -> None:
    tearings = [plan_tearing(describe(name), 2, seed=seed) for seed in (0, 0, 1)]
    first, again, other = map(outputs, tearings)
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@every_network
def test_units_are_initialised_by_their_place(name: str) -> None:
    serial, torn = (plan_tearing(describe(name), n) for n in (1, 3))
    units = list(serial.build_subnetwork(1))
    for j in (3, 1, 2):
        for i, unit in zip(torn.units(j), torn.build_subnetwork(j), strict=True):
            assert all(
                torch.equal(p, q) for p, q in zip(unit.parameters(), units[i].parameters(), strict=True)
            )


@every_network
def test_the_count_is_that_of_the_network(name: str) -> None:
    tearing = plan_tearing(describe(name), 3)
    assert tearing.n_parameters == sum(p.numel() for p in PararealNetwork(tearing).parameters())


@every_network
def test_it_can_be_timed(name: str) -> None:
    times = list(time_components(plan_tearing(describe(name), 2), batch_size=4, repeats=1, warmup=0))
    assert len(times) == 2 * (2 + 2 + 1 + 1)


@every_network
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32)])
def test_it_reads_the_usual_small_images(name: str, shape: tuple[int, ...]) -> None:
    network = build_network(name, input_shape=shape, n_classes=N_CLASSES, width=4)
    tearing = plan_tearing(network, 2)
    with torch.no_grad():
        assert PararealNetwork(tearing).eval()(torch.randn(2, *shape)).shape == (2, N_CLASSES)
