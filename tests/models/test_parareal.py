"""The torn network: exact where theory says so (Proposition 1), the serial network for N = 1."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from models.feedforward import FeedForward
from models.mlp import mlp
from models.parareal import PararealNetwork, tear
from models.resnet import resnet
from models.vgg import vgg
from models.vit import vit


class LinearPart(nn.Module):
    """The linear part of a chain of affine units, sharing their weights."""

    def __init__(self, units: nn.Sequential) -> None:
        super().__init__()
        self.units = units

    def forward(self, x: Tensor) -> Tensor:
        for unit in self.units:
            if isinstance(unit, nn.Conv2d):
                x = F.conv2d(x, unit.weight, stride=unit.stride, padding=unit.padding)
            else:
                x = F.linear(x, unit.weight)
        return x


def make_linear(network: PararealNetwork) -> None:
    """Let each F^j be the linear part of g^{j+1}: the same tensors, so their gradients add up."""
    network.coarse_network = nn.ModuleList(LinearPart(g) for g in network.subnetworks[1:])


def relative_error(value: Tensor, expected: Tensor) -> float:
    return ((value - expected).norm() / expected.norm()).item()


def gradients(network: nn.Module, x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Output and gradient of the input; gradients of parameters are left in .grad."""
    x = x.clone().requires_grad_()
    output = network(x)
    (output * weights).sum().backward()
    assert x.grad is not None
    return output.detach(), x.grad


def assert_exact(torn: PararealNetwork, serial: PararealNetwork, x: Tensor) -> None:
    """Outputs and all gradients agree, and C^2 … C^N do not matter."""
    weights = torch.randn_like(serial(x).detach())
    output, input_gradient = gradients(torn, x, weights)
    expected, expected_gradient = gradients(serial, x, weights)
    assert relative_error(output, expected) < 1e-12
    assert relative_error(input_gradient, expected_gradient) < 1e-12
    pairs = [
        (torn.preprocesses[0], serial.preprocesses[0]),
        (nn.Sequential(*(unit for g in torn.subnetworks for unit in g)), serial.subnetworks[0]),
        (torn.postprocess, serial.postprocess),
    ]
    found, wanted = [], []
    for module, expected_module in pairs:
        for p, q in zip(module.parameters(), expected_module.parameters(), strict=True):
            assert torch.equal(p, q)
            found.append(p.grad.flatten())
            wanted.append(q.grad.flatten())
    assert relative_error(torch.cat(found), torch.cat(wanted)) < 1e-12
    scale = torch.cat(wanted).norm()
    for j, preprocess in enumerate(torn.preprocesses[1:], start=2):
        for p in preprocess.parameters():
            assert p.norm() > 0, f"C^{j} is there to be ignored"
            assert p.grad is None or p.grad.norm() < 1e-12 * scale, f"C^{j}"


def affine(n_inputs: int, n_outputs: int) -> nn.Linear:
    """Keeps sizes through many layers, so that the gradient of none is lost beside the others."""
    layer = nn.Linear(n_inputs, n_outputs)
    nn.init.orthogonal_(layer.weight)
    return layer


@st.composite
def affine_chains(draw: st.DrawFn) -> tuple[FeedForward, list[int], int]:
    """An affine network, a partition of its units into up to 8 subnetworks, and a seed."""
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=8))
    n_units = sum(sizes)
    widths = draw(st.lists(st.integers(2, 5), min_size=n_units + 3, max_size=n_units + 3))
    layers = [partial(affine, a, b) for a, b in pairwise(widths)]
    network = FeedForward(
        layers[0], layers[1:-1], layers[-1], (widths[0],), coarse=lambda before, after, n: nn.Identity()
    )
    return network, sizes, draw(st.integers(0, 2**31))


def linear_preprocess(before: tuple[int, ...], after: tuple[int, ...]) -> nn.Module:
    return nn.Linear(before[0], after[0])


@settings(max_examples=60)
@given(affine_chains(), st.data())
def test_an_affine_network_with_linear_coarse_parts_is_exact(
    chain: tuple[FeedForward, list[int], int], data: st.DataObject
) -> None:
    network, sizes, seed = chain
    torn = tear(network, len(sizes), partition=sizes, preprocess=linear_preprocess, seed=seed).double()
    make_linear(torn)
    torn.n_iterations = data.draw(st.integers(1, len(sizes)))
    serial = tear(network, seed=seed).double()
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(7, *network.input_shape, dtype=torch.float64, generator=generator)
    assert_exact(torn, serial, x)


@pytest.mark.parametrize("preprocess", ["strided", "patch"])
@pytest.mark.parametrize("sizes", [(3, 3), (1, 2, 3), (1, 1, 1, 1, 1, 1)])
def test_an_affine_convolutional_network_is_exact(preprocess: str, sizes: tuple[int, ...]) -> None:
    channels, strides = (4, 4, 5, 6, 6, 6, 3), (1, 2, 1, 1, 2, 1)
    network = FeedForward(
        lambda: nn.Conv2d(2, 4, 3, padding=1),
        [
            lambda a=a, b=b, s=s: nn.Conv2d(a, b, 3, stride=s, padding=1)
            for (a, b), s in zip(pairwise(channels), strides, strict=True)
        ],
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 5)),
        (2, 8, 8),
        coarse=lambda before, after, n: nn.Identity(),
    )
    torn = tear(network, len(sizes), partition=sizes, preprocess=preprocess).double()
    make_linear(torn)
    assert_exact(torn, tear(network).double(), torch.randn(3, 2, 8, 8, dtype=torch.float64))


def test_it_is_not_exact_otherwise() -> None:
    network = FeedForward(
        lambda: nn.Linear(4, 4), [lambda: nn.Linear(4, 4)] * 3, nn.Identity(), (4,), coarse=linear_coarse
    )
    x = torch.randn(5, 4)
    assert relative_error(tear(network, 3, preprocess=linear_preprocess)(x), tear(network)(x)) > 1e-2


def linear_coarse(before: tuple[int, ...], after: tuple[int, ...], n_units: int) -> nn.Module:
    return nn.Linear(before[0], after[0])


def nonlinear(n_units: int) -> FeedForward:
    return FeedForward(
        lambda: nn.Linear(3, 4),
        [lambda: nn.Sequential(nn.Linear(4, 4), nn.Tanh())] * n_units,
        lambda: nn.Linear(4, 2),
        (3,),
        coarse=linear_coarse,
    )


def test_forward_is_the_papers_recursion() -> None:
    network = tear(nonlinear(5), 4, preprocess=linear_preprocess, partition=(1, 2, 1, 1))
    (C1, C2, C3, C4), (g1, g2, g3, g4) = network.preprocesses, network.subnetworks
    (F1, F2, F3), h = network.coarse_network, network.postprocess
    x = torch.randn(6, 3)
    r1, r2, r3 = g1(C1(x)) - C2(x), g2(C2(x)) - C3(x), g3(C3(x)) - C4(x)
    expected = h(g4(C4(x)) + F3(r3 + F2(r2 + F1(r1))))
    torch.testing.assert_close(network(x), expected)


@pytest.mark.parametrize("n_iterations", [1, 2, 3, 4])
def test_iterations_are_those_of_the_parareal_algorithm(n_iterations: int) -> None:
    """U^k_{j+1} = U^{k−1}_{j+1} + δ_{j+1}, δ_2 = y_1 − U_2, δ_{j+1} = y_j − U^{k−1}_{j+1} + F^{j−1}(δ_j)."""
    network = tear(nonlinear(5), 4, preprocess=linear_preprocess, partition=(1, 2, 1, 1)).double()
    x = torch.randn(6, 3, dtype=torch.float64)
    U: list = [None, *(C(x) for C in network.preprocesses), 0.0]
    for k in range(1, n_iterations + 1):
        y = [None, *(g(U_j) for g, U_j in zip(network.subnetworks, U[1:], strict=False))]
        delta = None
        for j in range(1, 5):
            jump = y[j] - U[j + 1]
            # What has converged is not corrected, whatever F^{j−1} makes of 0.
            delta = jump if j <= k else jump + network.coarse_network[j - 2](delta)
            U[j + 1] = U[j + 1] + delta
    network.n_iterations = n_iterations
    torch.testing.assert_close(network(x), network.postprocess(U[5]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("architecture", [resnet, vgg, mlp, vit])
def test_as_many_iterations_as_subnetworks_are_the_network_itself(
    architecture: Callable[..., FeedForward], n: int
) -> None:
    depth = {resnet: 29, vgg: 11, mlp: 8, vit: 6}[architecture]
    network = architecture(depth=depth, width=4, input_shape=(1, 8, 8), n_classes=10)
    torn, serial = tear(network, n, n_iterations=n).double(), tear(network).double()
    x = torch.rand(6, 1, 8, 8, dtype=torch.float64)
    weights = torch.randn(6, 10, dtype=torch.float64)
    for _ in range(2):  # the second time with statistics that have changed
        output, input_gradient = gradients(torn, x, weights)
        expected, expected_gradient = gradients(serial, x, weights)
        assert relative_error(output, expected) < 1e-10
        assert relative_error(input_gradient, expected_gradient) < 1e-10
    for modules, expected_modules in (
        ([torn.preprocesses[0]], serial.preprocesses),
        ([unit for g in torn.subnetworks for unit in g], serial.subnetworks[0]),
        ([torn.postprocess], [serial.postprocess]),
    ):
        for module, other in zip(modules, expected_modules, strict=True):
            for p, q in zip(module.parameters(), other.parameters(), strict=True):
                assert relative_error(p.grad, q.grad) < 1e-10
            for p, q in zip(module.buffers(), other.buffers(), strict=True):
                torch.testing.assert_close(p, q, rtol=1e-10, atol=0)
    for module in (*torn.preprocesses[1:], *torn.coarse_network):
        assert all(p.grad is None for p in module.parameters())
    assert relative_error(torn.eval()(x), serial.eval()(x)) < 1e-10


def test_the_number_of_iterations_can_be_changed() -> None:
    torn = tear(resnet(29, width=2, input_shape=(1, 8, 8), n_classes=3), 3)
    x = torch.randn(4, 1, 8, 8)
    torn(x)
    trained = torn.state_dict()
    once = torn.eval()(x)
    torn.n_iterations = 2
    twice = torn(x)
    assert relative_error(twice, once) > 1e-3
    assert trained.keys() < torn.state_dict().keys()
    torn.n_iterations = 1
    assert torch.equal(torn(x), once)
    assert torn.state_dict().keys() == trained.keys()
    for n_iterations in (0, 4):
        with pytest.raises(ValueError, match=f"n_iterations = {n_iterations}: give 1 to 3"):
            torn.n_iterations = n_iterations


def test_one_subnetwork_is_the_serial_network() -> None:
    modules = [nn.Linear(3, 4), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 5), nn.Linear(5, 2)]
    network = tear(FeedForward(modules[0], modules[1:-1], modules[-1], (3,)))
    x = torch.randn(6, 3)
    assert torch.equal(network(x), nn.Sequential(*modules)(x))
    assert len(network.coarse_network) == 0
    assert len(network.state_dict()) == 8


@pytest.mark.parametrize("preprocess", ["strided", "patch"])
@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_every_parameter_of_a_torn_resnet_learns(n: int, preprocess: str) -> None:
    description = resnet(56, width=4, input_shape=(3, 16, 16), n_classes=4)
    network = tear(description, n, preprocess=preprocess)
    F.cross_entropy(network(torch.randn(8, 3, 16, 16)), torch.arange(8) % 4).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_units_may_overwrite_their_input() -> None:
    def description(inplace: bool) -> FeedForward:
        unit = lambda: nn.Sequential(nn.ReLU(inplace), nn.Linear(4, 4))  # noqa: E731
        return FeedForward(
            lambda: nn.Linear(3, 4), [unit] * 3, lambda: nn.Linear(4, 2), (3,), coarse=linear_coarse
        )

    x = torch.randn(6, 3)
    networks = [tear(description(inplace), 3, preprocess=linear_preprocess) for inplace in (True, False)]
    outputs = [network(x) for network in networks]
    assert torch.equal(*outputs)
    for output in outputs:
        output.sum().backward()
    for p, q in zip(*(network.parameters() for network in networks), strict=True):
        assert torch.equal(p.grad, q.grad)


def test_each_component_is_announced_before_it_draws() -> None:
    network = tear(resnet(29, width=2, input_shape=(1, 8, 8), n_classes=3), 3)
    images, told = torch.randn(2, 1, 8, 8), []
    expected = network(images)
    network.draw = lambda component, j: told.append((component, j))
    assert torch.equal(network(images), expected)
    assert told == [
        *(("subnetwork", j) for j in (1, 2, 3)),
        *(("coarse", j) for j in (1, 2)),
        ("postprocess", 0),
    ]
    torn = told.copy()
    network.n_iterations = 2
    told.clear()
    network(images)
    assert told == [
        torn[0],
        torn[1],
        torn[3],
        torn[2],
        torn[4],
        torn[5],
    ]  # g^3 has nothing to do in the first


class Centred(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sub_(x.mean())


@pytest.mark.parametrize("first", [nn.Identity, Centred, partial(nn.Flatten, 1)])
def test_no_component_spoils_the_image_for_another(first: Callable[[], nn.Module]) -> None:
    units = [lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 4))] * 3
    network = FeedForward(
        first, units, nn.Identity(), (4,), interface_preprocess=lambda before, after: Centred()
    )
    torn, x = tear(network, 3, n_coarse_units=1), torch.randn(5, 4)
    before = x.clone()
    torn(x)
    assert torch.equal(x, before)
    read = []
    for preprocess in torn.preprocesses:
        preprocess.register_forward_pre_hook(
            lambda module, inputs: read.append(inputs[0].clone()), prepend=True
        )
    torn(x)
    assert all(torch.equal(image, before) for image in read)
