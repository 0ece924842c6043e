"""Describing a network: shapes and sizes are found by running one sample."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from models.feedforward import FeedForward
from models.parareal import tear
from models.resnet import resnet


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


def test_shapes_and_parameters_of_every_component() -> None:
    network = FeedForward(
        nn.Conv2d(1, 4, 3, padding=1),
        [partial(nn.Conv2d, 4, 6, 3, stride=2, padding=1), nn.Flatten, partial(nn.Linear, 96, 5)],
        nn.Linear(5, 2),
        (1, 8, 8),
    )
    assert network.n_units == 3
    assert network.trace.shapes == ((4, 8, 8), (6, 4, 4), (96,), (5,))
    assert network.trace.unit_parameters == (4 * 6 * 9 + 6, 0, 96 * 5 + 5)
    assert network.trace.preprocess_parameters == 4 * 9 + 4
    assert network.trace.postprocess_parameters == 12


def test_tracing_draws_no_random_number_and_changes_no_module() -> None:
    batch_norm = nn.BatchNorm2d(1)
    network = FeedForward(nn.BatchNorm2d(1), [batch_norm], nn.Flatten(), (1, 4, 4))
    before = torch.get_rng_state()
    _ = network.trace
    _ = resnet(11).trace
    assert torch.equal(torch.get_rng_state(), before)
    assert batch_norm.training
    assert batch_norm.num_batches_tracked == 0


def test_one_sample_is_enough_for_batch_normalisation() -> None:
    network = FeedForward(nn.Identity(), [nn.BatchNorm2d(3)], nn.Flatten(), (3, 1, 1))
    assert network.trace.shapes == ((3, 1, 1), (3, 1, 1))


def test_a_network_without_units_is_refused() -> None:
    with pytest.raises(ValueError, match="hollow has no units"):
        FeedForward(nn.Identity(), [], nn.Identity(), (2,), name="hollow")


@pytest.mark.parametrize(
    ("preprocess", "units", "postprocess", "message"),
    [
        (nn.Linear(3, 2), [nn.Linear(2, 2)], nn.Linear(2, 2), r"preprocess .*\(2,\)"),
        (nn.Linear(2, 2), [nn.Linear(2, 3), nn.Linear(2, 2)], nn.Linear(2, 2), r"unit 1 .*\(3,\)"),
        (nn.Linear(2, 2), [nn.Linear(2, 3)], nn.Linear(2, 2), r"postprocess .*\(3,\)"),
        (nn.Linear(2, 2), [nn.Linear(2, 2), Pair()], nn.Linear(2, 2), r"unit 1 \(Pair\) returns tuple"),
        (nn.Linear(2, 2), [partial(nn.Linear, 2)], nn.Linear(2, 2), "unit 0 .*out_features"),
        (
            nn.Linear(2, 2),
            [nn.Bilinear(2, 2, 2)],
            nn.Linear(2, 2),
            r"unit 0 \(Bilinear\) .*\(2,\): it needs 2 inputs, input1, input2, and gets one tensor",
        ),
        (
            nn.LazyLinear(2),
            [nn.Linear(2, 2)],
            nn.Linear(2, 2),
            r"the preprocess \(LazyLinear\) .* lazy module",
        ),
        (nn.Linear(2, 2), [nn.LSTM(2, 2)], nn.Linear(2, 2), r"unit 0 \(LSTM\) returns tuple"),
        (
            nn.Linear(2, 2),
            [nn.Flatten(0)],
            nn.Linear(2, 2),
            r"unit 0 \(Flatten\) .* batch of 2 into shape \(4,\): keep dimension 0",
        ),
        (nn.Linear(2, 2), [nn.Module()], nn.Linear(2, 2), r"unit 0 \(Module\) .*forward"),
    ],
)
def test_a_component_that_cannot_be_run_is_named(
    preprocess: nn.Module, units: list[nn.Module], postprocess: nn.Module, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        _ = FeedForward(preprocess, units, postprocess, (2,)).trace


def own_network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        *(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(True)) for _ in range(5)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )


def test_a_users_sequential_is_torn_in_a_few_lines() -> None:
    network = FeedForward.from_sequential(own_network(), input_shape=(3, 12, 12), postprocess=3)
    assert network.n_units == 5
    torn = tear(network, 3)
    logits = torn(torch.randn(6, 3, 12, 12))
    assert logits.shape == (6, 4)
    logits.square().sum().backward()
    for name, parameter in torn.named_parameters():
        assert parameter.grad is not None, name


@pytest.mark.parametrize(("preprocess", "postprocess"), [(1, 3), (0, 0), (4, 0), (0, 8), (2, 6)])
def test_a_sequential_in_one_piece_is_itself(preprocess: int, postprocess: int) -> None:
    sequential = own_network()
    x = torch.randn(6, 3, 12, 12)
    network = FeedForward.from_sequential(
        sequential, input_shape=(3, 12, 12), preprocess=preprocess, postprocess=postprocess
    )
    assert network.n_units == 9 - preprocess - postprocess
    torch.testing.assert_close(tear(network)(x), sequential(x))


def test_a_sequential_may_come_with_its_own_interfaces() -> None:
    def interface_preprocess(before: tuple[int, ...], after: tuple[int, ...]) -> nn.Module:
        return nn.Conv2d(3, after[0], 5, padding=2)

    def coarse(before: tuple[int, ...], after: tuple[int, ...], n_units: int) -> nn.Module:
        return nn.AvgPool2d(1)

    options = {"input_shape": (3, 12, 12), "postprocess": 3}
    network = FeedForward.from_sequential(
        own_network(), **options, interface_preprocess=interface_preprocess, coarse=coarse, name="own"
    )
    torn = tear(network, 2)
    assert torn.preprocesses[1].kernel_size == (5, 5)
    assert isinstance(torn.coarse_network[0], nn.AvgPool2d)
    assert network.name == "own"


def test_tearing_leaves_the_users_network_alone() -> None:
    sequential = own_network()
    before = {name: value.clone() for name, value in sequential.state_dict().items()}
    torn = tear(FeedForward.from_sequential(sequential, input_shape=(3, 12, 12), postprocess=3), 2)
    torn(torch.randn(6, 3, 12, 12)).sum().backward()
    assert all(p.grad is None for p in sequential.parameters())
    assert all(torch.equal(value, before[name]) for name, value in sequential.state_dict().items())


class Residual(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class Chain(nn.Sequential):
    def __init__(self, width: int, *, depth: int) -> None:
        super().__init__(*(nn.Linear(width, width) for _ in range(depth)))


def test_a_class_of_sequential_with_arguments_of_its_own_is_a_chain_too() -> None:
    chain = Chain(2, depth=5)
    network = FeedForward.from_sequential(chain, input_shape=(2,), preprocess=2)
    assert network.n_units == 2
    names = [next(iter(part.state_dict())) for part in (network.preprocess, network.postprocess)]
    assert names == ["0.weight", "4.weight"]  # as in the whole


def test_what_is_no_chain_of_units_is_refused() -> None:
    def describe(sequential: nn.Sequential, **options: int) -> FeedForward:
        return FeedForward.from_sequential(sequential, input_shape=(2,), **options)

    linear = nn.Linear(2, 2)
    hooked = nn.Sequential(linear, nn.Linear(2, 2), nn.Linear(2, 2))
    hooked.register_forward_hook(lambda module, read, returned: 2 * returned)
    with pytest.raises(ValueError, match=r"hook on the whole nn\.Sequential, .*: put it on a child"):
        describe(hooked)
    with pytest.raises(ValueError, match="Residual has a forward of its own"):
        describe(Residual(linear, nn.Linear(2, 2), nn.Linear(2, 2)))
    with pytest.raises(ValueError, match="2 children, 1 of them for C and 1 for h, leave no unit"):
        describe(nn.Sequential(linear, nn.Linear(2, 2)))
    with pytest.raises(ValueError, match="-1 of them for C"):
        describe(nn.Sequential(linear, nn.Linear(2, 2)), preprocess=-1)
    for shared, owners in (
        ((1, 2), "unit 0 and unit 1"),
        ((0, 2), "the preprocess and unit 1"),
        ((1, 3), "unit 0 and the postprocess"),
    ):
        children = [linear if i in shared else nn.Linear(2, 2) for i in range(4)]
        with pytest.raises(ValueError, match=rf"{owners} share a parameter of shape \(2, 2\)"):
            describe(nn.Sequential(*children))
    # A module without parameters may appear twice, and a skip connection may be inside a unit.
    tanh = nn.Tanh()
    describe(nn.Sequential(linear, tanh, Residual(nn.Linear(2, 2), nn.ReLU()), tanh, nn.Linear(2, 2)))


def test_a_module_that_is_given_twice_is_refused_and_a_factory_is_not() -> None:
    block = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"unit 0 and unit 1 share a parameter of shape \(2, 2\)"):
        FeedForward(nn.Identity(), [block] * 6, nn.Identity(), (2,))
    with pytest.raises(ValueError, match="unit 0 and the postprocess share a parameter"):
        _ = FeedForward(nn.Identity(), [lambda: block], lambda: block, (2,)).trace
    norm = nn.BatchNorm1d(2, affine=False)
    with pytest.raises(ValueError, match=r"unit 0 and unit 1 share a buffer of shape \(2,\)"):
        FeedForward(nn.Identity(), [norm, norm], nn.Identity(), (2,))
    tanh = nn.Tanh()
    assert FeedForward(tanh, [partial(nn.Linear, 2, 2)] * 6, tanh, (2,)).trace.unit_parameters == (6,) * 6


def test_the_trace_says_what_is_returned_and_whether_anything_is_trained() -> None:
    frozen = nn.Linear(2, 2).requires_grad_(False)
    trace = FeedForward(nn.Identity(), [frozen], partial(nn.Linear, 2, 5), (2,)).trace
    assert trace.output_shape == (5,)
    assert trace.trains
    assert not FeedForward(nn.Identity(), [frozen], nn.Tanh(), (2,)).trace.trains
