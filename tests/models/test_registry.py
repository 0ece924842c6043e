"""Networks by name, or by the path of one's own factory."""

from pathlib import Path

import pytest

from models.registry import NETWORKS, build_network

OWN = """
from torch import nn
from models import FeedForward

number = 3

def tiny(*, input_shape, n_classes, width=4):
    units = [nn.Linear(width, width)] * 2
    return FeedForward(nn.Linear(input_shape[0], width), units, nn.Linear(width, n_classes), input_shape)
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


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnext", {}, r"unknown network 'resnext': choose one of resnet.*path\.to\.module:factory"),
        ("resnet", {"depht": 20}, "network 'resnet' takes no 'depht' .*depth.*leave out --depht"),
        ("registry_test_networks:tiny", {"depth": 3}, "takes no 'depth' .*leave out --depth"),
        ("registry_test_networks:huge", {}, "'registry_test_networks:huge' cannot be imported .*huge"),
        ("no_such_module:tiny", {}, "cannot be imported .*no_such_module"),
        ("registry_test_networks:number", {}, "is a int, not a factory"),
        ("resnet", {"depth": 21}, "depth 21 is not 9n"),
    ],
)
def test_what_cannot_be_built_is_refused(
    own_module: str, name: str, options: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build_network(name, input_shape=(5,), n_classes=2, **options)
