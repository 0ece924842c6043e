"""VGG against its published size and torchvision's layers."""

import pytest
import torch
from torch.nn import functional as F

from models.parareal import tear
from models.tearing import plan_tearing
from models.vgg import vgg


@pytest.mark.parametrize(
    ("n_classes", "published"),
    # Those counts include the convolutions' biases, one a channel, which BN makes useless.
    [(10, 14_728_266), (100, 14_774_436)],
)
def test_published_parameter_counts(n_classes: int, published: int) -> None:
    biases = 2 * 64 + 2 * 128 + 3 * 256 + 6 * 512
    assert plan_tearing(vgg(n_classes=n_classes)).n_parameters == published - biases


@pytest.mark.parametrize(("depth", "n_convolutions"), [(11, 8), (13, 10), (16, 13), (19, 16)])
def test_depths_and_shapes(depth: int, n_convolutions: int) -> None:
    network = vgg(depth, width=4)
    assert network.n_units == n_convolutions - 1
    shapes = network.trace.shapes
    assert (shapes[0], shapes[-1]) == ((4, 32, 32), (32, 2, 2))
    assert {shape[1] for shape in shapes} == {32, 16, 8, 4, 2}


@pytest.mark.slow
def test_the_convolutional_part_is_torchvisions() -> None:
    from torchvision.models import vgg16_bn  # seconds to load, in every process

    ours = tear(vgg(width=64)).eval()
    theirs = vgg16_bn(init_weights=False).features.eval()
    units = [ours.preprocesses[0], *ours.subnetworks[0]]
    convolutions = [layer for layer in theirs if isinstance(layer, torch.nn.Conv2d)]
    for unit, convolution in zip(units, convolutions, strict=True):
        convolution.weight = unit.conv.weight
        torch.nn.init.zeros_(convolution.bias)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        features = theirs(x).flatten(1)
        expected = F.linear(features, ours.postprocess.fc.weight, ours.postprocess.fc.bias)
        torch.testing.assert_close(ours(x), expected)


@pytest.mark.parametrize("size", [8, 28, 30, 32])
def test_what_subnetworks_read_has_passed_bn_and_relu(size: int) -> None:
    network = tear(vgg(width=4, input_shape=(1, size, size)), 6)
    x = torch.randn(16, 1, size, size)
    for preprocess in network.preprocesses[1:]:
        read = preprocess(x)
        assert read.min() == 0
        assert 0.3 < read.square().mean() < 0.6  # 0.5 for normal distributions of every channel


def test_what_is_no_vgg_is_refused() -> None:
    with pytest.raises(ValueError, match="no depth 56: pass one of 11, 13, 16, 19 as --depth"):
        vgg(56)
    with pytest.raises(ValueError, match=r"reads images .*\(784,\)"):
        vgg(input_shape=(784,))
