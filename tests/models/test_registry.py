"""Networks by name, or by the path of one's own factory."""

from pathlib import Path

import pytest
import torch

from models.registry import NETWORKS, build_network

OWN = """
from torch import nn
from models import FeedForward, resnet

number = 3
built = nn.Sequential(nn.Linear(5, 2))

def tiny(*, input_shape, n_classes, width=4):
    units = [nn.Linear(width, width) for _ in range(2)]
    return FeedForward(nn.Linear(input_shape[0], width), units, nn.Linear(width, n_classes), input_shape)

def chain(*, input_shape, n_classes, width=4):
    units = [nn.Linear(width, width) for _ in range(3)]
    return nn.Sequential(nn.Linear(input_shape[0], width), *units, nn.Linear(width, n_classes))

def anything(**options):
    return chain(**options)

def deaf(depth=3):
    return None

def demanding(*, input_shape, n_classes, depth):
    return None

def nothing(*, input_shape, n_classes):
    return nn.Linear(1, 1)
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "registry_test_networks.py").write_text(OWN, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return "registry_test_networks"


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_has_a_depth_and_a_width_and_reads_the_images_it_is_built_for(name: str) -> None:
    network = build_network(name, input_shape=(1, 8, 8), n_classes=7, width=8)
    assert network.input_shape == (1, 8, 8)
    wider = build_network(name, input_shape=(1, 8, 8), n_classes=7, width=16)
    assert sum(wider.trace.unit_parameters) > sum(network.trace.unit_parameters)


def test_options_reach_the_factory(own_module: str) -> None:
    assert build_network("resnet", input_shape=(3, 8, 8), n_classes=2, depth=20).n_units == 6
    network = build_network(f"{own_module}:tiny", input_shape=(5,), n_classes=2, width=9)
    assert network.trace.shapes == ((9,), (9,), (9,))


@pytest.mark.parametrize("factory", ["chain", "anything"])
def test_a_factory_may_return_a_sequential(own_module: str, factory: str) -> None:
    before = torch.get_rng_state()
    networks = [
        build_network(f"{own_module}:{factory}", input_shape=(5,), n_classes=2, width=9, seed=seed)
        for seed in (0, 0, 1)
    ]
    assert networks[0].n_units == 3
    assert networks[0].name == factory
    first, again, other = (network.units[0].weight for network in networks)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnext", {}, r"unknown network 'resnext': choose one of resnet.*path\.to\.module:name"),
        ("resnet", {"depht": 2}, "'resnet' takes depth, .*'depht': leave depht out with --depht None"),
        ("registry_test_networks:tiny", {"depth": 3}, "'depth': leave depth out with --depth None"),
        ("registry_test_networks:deaf", {}, "takes depth; .*: add input_shape and n_classes"),
        ("registry_test_networks:demanding", {}, "missing .* 'depth': give it a default value"),
        ("registry_test_networks:nothing", {}, "returned Linear: return a FeedForward or an nn.Sequential"),
        ("registry_test_networks:huge", {}, "'registry_test_networks:huge' cannot be imported .*huge"),
        ("no_such_module:tiny", {}, "cannot be imported .*no_such_module"),
        ("registry_test_networks:number", {}, "is a int, not a factory"),
        ("registry_test_networks:built", {}, "is a module: give a function that builds and returns it"),
        ("registry_test_networks:tiny@0a", {}, "given as an object, of a script or notebook: give it again"),
        ("./a/b.py:net", {}, "has a file's path before the colon: .*, such as a.b:net"),
        ("resnet", {"depth": 21}, "depth 21 is not 9n"),
    ],
)
def test_what_cannot_be_built_is_refused(
    own_module: str, name: str, options: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build_network(name, input_shape=(5,), n_classes=2, **options)
