"""The MLP is what its name says, for inputs of any shape."""

import pytest
import torch
from torch.nn import functional as F

from models.mlp import mlp
from models.parareal import tear
from models.tearing import plan_tearing


@pytest.mark.parametrize("shape", [(5,), (4, 3), (2, 3, 4)])
def test_forward_is_linear_layers_and_relu(shape: tuple[int, ...]) -> None:
    network = tear(mlp(5, width=7, input_shape=shape, n_classes=3))
    layers = list(network.parameters())
    assert len(layers) == 2 * 5
    x = torch.randn(6, *shape)
    expected = x.flatten(1)
    for weight, bias in zip(layers[:-2:2], layers[1:-2:2], strict=True):
        expected = F.relu(F.linear(expected, weight, bias))
    torch.testing.assert_close(network(x), F.linear(expected, *layers[-2:]))


def test_number_of_parameters() -> None:
    expected = (3072 * 128 + 128) + 6 * (128 * 128 + 128) + (128 * 10 + 10)
    assert plan_tearing(mlp()).n_parameters == expected


def test_activations_keep_their_size_through_many_layers() -> None:
    network = tear(mlp(40, width=128))
    x = network.preprocesses[0](torch.randn(64, 3, 32, 32))
    with torch.no_grad():
        assert 0.1 < network.subnetworks[0](x).std() / x.std() < 10


def test_every_preprocess_is_as_the_first_is() -> None:
    first, *others = tear(mlp(8, width=5, input_shape=(2, 3)), 3).preprocesses
    assert {repr(module) for module in others} == {repr(first)}


def test_it_trains_torn_at_a_rate_that_random_coarse_units_diverge_at() -> None:
    images, labels = torch.randn(64, 64), torch.arange(64) % 10
    for seed in range(3):
        network = tear(mlp(14, width=64, input_shape=(64,)), 3, seed=seed)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
        losses = []
        for _ in range(40):
            losses.append(F.cross_entropy(network(images), labels))
            optimizer.zero_grad()
            losses[-1].backward()
            optimizer.step()
        assert losses[-1] < losses[0] / 2


def test_a_depth_without_units_is_refused() -> None:
    with pytest.raises(ValueError, match="depth 2 leaves no unit"):
        mlp(2)
