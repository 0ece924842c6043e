"""F^j fits the shapes that it joins, whatever they are."""

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from models.coarse import DenseUnit, coarse_from_shapes, repeat, shortcut
from models.feedforward import FeedForward
from models.residual_unit import ResidualUnit
from models.resnet import resnet
from models.tearing import plan_tearing


def n_units_in(module: nn.Module) -> int:
    return sum(isinstance(child, ResidualUnit | DenseUnit) for child in module)


@given(
    channels=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    stride=st.integers(1, 5),
    n_units=st.integers(1, 4),
)
def test_between_images(channels: tuple[int, int], size: tuple[int, int], stride: int, n_units: int) -> None:
    before, after = (channels[0], *size), (channels[1], *(-(-length // stride) for length in size))
    module = coarse_from_shapes(before, after, n_units)
    assert n_units_in(module) == n_units
    assert module.eval()(torch.zeros(2, *before)).shape == (2, *after)


@given(
    shapes=st.one_of(
        st.tuples(st.tuples(st.integers(1, 5)), st.tuples(st.integers(1, 5))),
        st.builds(lambda t, a, b: ((t, a), (t, b)), st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)),
        st.tuples(st.tuples(*[st.integers(1, 4)] * 3), st.tuples(st.integers(1, 5))),
        st.tuples(st.tuples(*[st.integers(1, 4)] * 2), st.tuples(st.integers(1, 5))),
    ),
    n_units=st.integers(1, 4),
)
def test_between_features_and_tokens(shapes: tuple[tuple[int, ...], tuple[int, ...]], n_units: int) -> None:
    before, after = shapes
    module = coarse_from_shapes(before, after, n_units)
    assert n_units_in(module) == (n_units if before == after else n_units - 1)
    assert module(torch.zeros(2, *before)).shape == (2, *after)


def test_a_dense_unit_adds_to_what_it_reads_and_at_first_nothing() -> None:
    unit, x = DenseUnit(3), torch.randn(2, 5, 3)
    assert torch.equal(unit(x), x)
    weight, bias = (nn.init.normal_(parameter) for parameter in unit.parameters())
    torch.testing.assert_close(unit(x), x + x.clamp(min=0) @ weight.T + bias)


def test_a_correction_may_have_either_sign() -> None:
    for shape in ((4, 8, 8), (9,), (5, 7)):
        module = coarse_from_shapes(shape, shape, 2)
        output = module(torch.randn(8, *shape))
        assert output.min() < 0 < output.max()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((4, 8, 8), (4, 5, 5)),
        ((4, 4, 4), (4, 8, 8)),
        ((5, 8), (6, 8)),
        ((4, 8, 8), (16, 4)),
        ((9,), (4, 3, 3)),
        ((2, 3, 4, 5), (2, 3, 4, 5)),
    ],
)
def test_shapes_without_a_default_are_refused(before: tuple[int, ...], after: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"from .* to .*: give .*tear\(coarse=…\) your own factory"):
        coarse_from_shapes(before, after, 1)


def test_repeat_stacks_fresh_units() -> None:
    module = repeat(partial(nn.Linear, 4, 4))((4,), (4,), 3)
    assert len({unit.weight[0, 0].item() for unit in module}) == 3


def test_repeat_copies_a_module() -> None:
    unit = nn.Linear(4, 4)
    first, second = repeat(unit)((4,), (4,), 2)
    assert torch.equal(first.weight, unit.weight)
    assert len({id(module.weight) for module in (unit, first, second)}) == 3


def test_repeat_refuses_to_change_the_shape() -> None:
    with pytest.raises(ValueError, match=r"g\^\{j\+1\} leads from \(4,\) to \(5,\)"):
        repeat(partial(nn.Linear, 4, 4))((4,), (5,), 1)


def test_who_decides_what_f_is() -> None:
    def network(**options: object) -> FeedForward:
        return FeedForward(
            nn.Linear(3, 4), [nn.Linear(4, 4) for _ in range(2)], nn.Identity(), (3,), **options
        )

    own, asked = repeat(nn.Tanh), repeat(nn.Sigmoid)
    builds = [
        plan_tearing(network(), 2),
        plan_tearing(network(coarse=own), 2),
        plan_tearing(network(coarse=own), 2, coarse=asked),
    ]
    types = [type(tearing.build_coarse(1)[0]) for tearing in builds]
    assert types == [DenseUnit, nn.Tanh, nn.Sigmoid]


@pytest.mark.parametrize("shape", [(4, 8, 8), (9,), (5, 7)])
def test_a_shortcut_that_keeps_the_shape_is_the_identity(shape: tuple[int, ...]) -> None:
    x = torch.randn(2, *shape)
    assert torch.equal(shortcut(shape, shape, 3)(x), x)


@pytest.mark.parametrize(
    ("before", "after"), [((4, 8, 8), (8, 4, 4)), ((4, 8, 8), (6,)), ((7,), (3,)), ((5, 7), (5, 2))]
)
def test_a_shortcut_is_affine(before: tuple[int, ...], after: tuple[int, ...]) -> None:
    module = shortcut(before, after, 3)
    x, y = torch.randn(2, 2, *before)
    assert module(x).shape == (2, *after)
    # Affine, because a map of features may have a bias, which cancels here.
    torch.testing.assert_close(module(x + y) - module(y), module(x) - module(torch.zeros_like(x)))


def test_a_shortcut_asked_for_by_name_stands_in_for_the_networks_own_units() -> None:
    tearing = plan_tearing(resnet(29, width=4), 3, coarse="shortcut", n_coarse_units=0)
    assert [sum(p.numel() for p in tearing.build_coarse(j).parameters()) for j in (1, 2)] == [
        4 * 4 * 4 * 8,
        4 * 8 * 4 * 16,
    ]
