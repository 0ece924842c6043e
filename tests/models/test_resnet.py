"""ResNet against its published sizes and a second, plainly written forward pass."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from models.parareal import tear
from models.residual_unit import ResidualUnit
from models.resnet import resnet
from models.tearing import plan_tearing

VARIANTS = [
    {"stride_position": position, "shortcut_input": shortcut}
    for position in ("conv1", "conv2")
    for shortcut in ("activated", "raw")
]


@pytest.mark.parametrize(
    ("depth", "n_classes", "n_units", "n_parameters"),
    [
        (164, 10, 54, 1_703_258),
        (164, 100, 54, 1_726_388),
        (1001, 10, 333, 10_327_706),
        (1001, 100, 333, 10_350_836),
    ],
)
def test_published_parameter_counts(depth: int, n_classes: int, n_units: int, n_parameters: int) -> None:
    network = resnet(depth, n_classes=n_classes)
    assert network.n_units == n_units
    # Of what is built: that a tearing counts the same, the next test shows of a network a sixth as deep.
    built = (source() for _, source in network.components())
    assert sum(parameter.numel() for module in built for parameter in module.parameters()) == n_parameters
    assert network.name == f"ResNet-{depth}"


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_have_equally_many_parameters(variant: dict[str, str]) -> None:
    assert plan_tearing(resnet(164, **variant)).n_parameters == 1_703_258


def test_shapes_of_the_three_stages() -> None:
    shapes = resnet(20, input_shape=(3, 32, 32)).trace.shapes
    assert shapes == ((16, 32, 32), *[(64, 32, 32)] * 2, *[(128, 16, 16)] * 2, *[(256, 8, 8)] * 2)


def reference(state: dict[str, Tensor], x: Tensor, *, n: int, training: bool, **variant: str) -> Tensor:
    """He et al. (2016), from their description, over the weights of the one-process network."""

    def bn_relu(x: Tensor, name: str) -> Tensor:
        statistics = state[f"{name}.running_mean"].clone(), state[f"{name}.running_var"].clone()
        weights = state[f"{name}.weight"], state[f"{name}.bias"]
        return F.relu(F.batch_norm(x, *statistics, *weights, training=training))

    x = F.conv2d(x, state["preprocesses.0.weight"], padding=1)
    for i in range(3 * n):
        name = f"subnetworks.0.{i}"
        stride = 2 if i in (n, 2 * n) else 1
        first, second = (stride, 1) if variant["stride_position"] == "conv1" else (1, stride)
        activated = bn_relu(x, f"{name}.bn1")
        identity = x
        if i in (0, n, 2 * n):
            source = activated if variant["shortcut_input"] == "activated" else x
            identity = F.conv2d(source, state[f"{name}.shortcut.weight"], stride=stride)
        x = F.conv2d(activated, state[f"{name}.conv1.weight"], stride=first)
        x = F.conv2d(bn_relu(x, f"{name}.bn2"), state[f"{name}.conv2.weight"], stride=second, padding=1)
        x = F.conv2d(bn_relu(x, f"{name}.bn3"), state[f"{name}.conv3.weight"]) + identity
    x = F.adaptive_avg_pool2d(bn_relu(x, "postprocess.bn"), 1).flatten(1)
    return F.linear(x, state["postprocess.fc.weight"], state["postprocess.fc.bias"])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("training", [True, False])
def test_forward_is_the_published_network(variant: dict[str, str], training: bool) -> None:
    network = tear(resnet(20, width=4, input_shape=(3, 12, 12), n_classes=5, **variant)).double()
    x = torch.randn(4, 3, 12, 12, dtype=torch.float64)
    network(x)  # running statistics that differ from where they start
    network.train(training)
    # A copy: the training pass below moves the running statistics.
    state = {name: value.clone() for name, value in network.state_dict().items()}
    expected = reference(state, x, n=2, training=training, **variant)
    torch.testing.assert_close(network(x), expected, rtol=1e-10, atol=1e-10)
    others = [v for v in VARIANTS if v != variant]
    for other in others:
        assert not torch.allclose(network(x), reference(state, x, n=2, training=training, **other))


def test_convolutions_start_with_variance_2_over_fan_out() -> None:
    torch.manual_seed(0)
    unit = ResidualUnit(256, 256)
    for conv, fan_out in ((unit.conv1, 64), (unit.conv2, 9 * 64), (unit.conv3, 256)):
        assert conv.weight.var().item() == pytest.approx(2 / fan_out, rel=0.05)


@pytest.mark.parametrize(
    ("depth", "nearest"), [(21, "20 and 29"), (1000, "992 and 1001"), (2, "11 and 20"), (-5, "11 and 20")]
)
def test_a_depth_that_is_not_9n_plus_2_is_refused(depth: int, nearest: str) -> None:
    with pytest.raises(ValueError, match=f"depth {depth} is not 9n \\+ 2: the nearest are {nearest}"):
        resnet(depth)


def test_an_input_that_is_no_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"reads images .*\(784,\)"):
        resnet(11, input_shape=(784,))


@pytest.mark.parametrize("n_units", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [(8, 8), (7, 9), (1, 6), (9, 1), (32, 32)])
@pytest.mark.parametrize("cut", [(0, 6), (1, 5), (0, 3), (2, 6), (3, 4), (1, 2)])
def test_coarse_units_lead_from_any_unit_to_any_later_one(
    n_units: int, size: tuple[int, int], cut: tuple[int, int]
) -> None:
    network = resnet(20, width=4, input_shape=(3, *size))
    before, after = (network.trace.shapes[index] for index in cut)
    module = network.coarse(before, after, n_units)
    assert len(module) == n_units
    assert module(torch.zeros(2, *before)).shape == (2, *after)


def test_coarse_units_spread_the_halvings() -> None:
    units = resnet(11).coarse((64, 32, 32), (256, 8, 8), 3)
    x, shapes = torch.zeros(1, 64, 32, 32), []
    for unit in units:
        x = unit(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes == [(256, 16, 16), (256, 8, 8), (256, 8, 8)]


def test_coarse_units_are_the_networks_own_variant() -> None:
    coarse = resnet(20, stride_position="conv2", shortcut_input="raw").coarse
    unit = coarse((64, 32, 32), (128, 16, 16), 1)[0]
    assert (unit.conv1.stride, unit.conv2.stride, unit.shortcut_input) == ((1, 1), (2, 2), "raw")


def test_coarse_units_refuse_shapes_that_no_stride_joins() -> None:
    coarse = resnet(11).coarse
    with pytest.raises(ValueError, match=r"\(16, 8, 8\) to \(16, 5, 5\): .*tear\(coarse=…\)"):
        coarse((16, 8, 8), (16, 5, 5), 2)
    with pytest.raises(ValueError, match="no stride"):
        coarse((16, 4, 4), (16, 8, 8), 2)


def test_the_description_allocates_nothing() -> None:
    network = resnet(1001)
    assert all(isinstance(unit, partial) for unit in network.units)
