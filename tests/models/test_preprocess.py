"""C^j reaches the shape that g^j reads: strided sees one pixel of s², the others see them all."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from models.feedforward import FeedForward, PreprocessFactory
from models.preprocess import PREPROCESSES, PatchEmbedding, auto, patch, stem, strided
from models.tearing import plan_tearing


@given(
    channels=st.integers(1, 3),
    out_channels=st.integers(1, 4),
    out_size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.integers(1, 4),
)
@pytest.mark.parametrize("factory", PREPROCESSES.values())
def test_the_output_shape_is_the_one_asked_for(
    factory: object, channels: int, out_channels: int, out_size: tuple[int, int], stride: int
) -> None:
    height, width = (stride * size for size in out_size)
    module = factory((channels, height, width), (out_channels, *out_size))
    assert module(torch.zeros(2, channels, height, width)).shape == (2, out_channels, *out_size)


@pytest.mark.parametrize(("stride", "out_channels"), [(1, 64), (2, 128), (4, 256)])
def test_parameters_of_each_kind(stride: int, out_channels: int) -> None:
    # By hand for a ResNet of width 16 on colour images; the stem has 3·16·9 weights and 2·16 of its BN.
    expected = {"strided": 3, "patch": 3 * stride**2, "stem": 16 * stride**2, "auto": 16 * stride**2}
    for name, factory in PREPROCESSES.items():
        module = factory((3, 32, 32), (out_channels, 32 // stride, 32 // stride))
        extra = 3 * 16 * 9 + 2 * 16 if name in ("stem", "auto") else 0
        assert sum(p.numel() for p in module.parameters()) == expected[name] * out_channels + extra


@given(height=st.integers(1, 40), width=st.integers(1, 40), halvings=st.integers(0, 4))
@pytest.mark.parametrize("factory", [auto, strided])
def test_images_whose_size_is_odd_are_followed(
    factory: PreprocessFactory, height: int, width: int, halvings: int
) -> None:
    image = torch.zeros(1, 1, height, width)
    halved = image
    for _ in range(halvings):
        halved = nn.functional.conv2d(halved, torch.ones(1, 1, 3, 3), stride=2, padding=1)
    module = factory((1, height, width), tuple(halved.shape[1:]))
    assert module.eval()(image).shape == halved.shape


def pixels_read(module: nn.Module, size: int) -> torch.Tensor:
    image = torch.zeros(1, 1, size, size, requires_grad=True)
    module(image).sum().backward()
    assert image.grad is not None
    return image.grad[0, 0] != 0


def test_strided_reads_one_pixel_of_s_squared_and_patch_reads_all() -> None:
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[::4, ::4] = True
    assert torch.equal(pixels_read(strided((1, 8, 8), (16, 2, 2)), 8), expected)
    assert pixels_read(patch((1, 8, 8), (16, 2, 2)), 8).all()


@pytest.mark.parametrize("size", [7, 8, 30])
def test_the_default_reads_every_pixel_of_images_of_any_size(size: int) -> None:
    image = torch.zeros(1, 1, size, size, requires_grad=True)
    module = auto((1, size, size), (16, -(-size // 4), -(-size // 4))).eval()
    for convolution in (child for child in module.modules() if isinstance(child, nn.Conv2d)):
        nn.init.constant_(convolution.weight, 1.0)
    module(image + 1.0).sum().backward()
    assert image.grad is not None
    assert image.grad.all()


@pytest.mark.parametrize(
    ("output_shape", "expected"),
    [((16, 4, 4), stem), ((16, 8, 8), stem), ((7,), strided), ((16, 7), strided)],
)
def test_the_default_is_a_stem_of_images_and_linear_elsewhere(
    output_shape: tuple[int, ...], expected: PreprocessFactory
) -> None:
    assert repr(auto((3, 8, 8), output_shape)) == repr(expected((3, 8, 8), output_shape))


def test_a_stem_sees_across_the_borders_of_patches() -> None:
    image = torch.zeros(1, 1, 8, 8, requires_grad=True)
    module = stem((1, 8, 8), (64, 2, 2))
    nn.init.constant_(module[0].weight, 1.0)
    nn.init.constant_(module[3].weight, 1.0)
    module.eval()(image.add(1.0))[0, :, 0, 0].sum().backward()
    assert image.grad is not None
    assert image.grad[0, 0, :5, :5].all()
    assert not image.grad[0, 0, 5:].any()


def test_at_full_resolution_strided_and_patch_are_a_1x1_convolution() -> None:
    for factory in (strided, patch):
        module = factory((3, 8, 8), (16, 8, 8))
        assert (module.kernel_size, module.stride, module.bias) == ((1, 1), (1, 1), None)


@pytest.mark.parametrize("factory", PREPROCESSES.values())
@pytest.mark.parametrize(
    ("input_shape", "output_shape"),
    [
        ((3, 8, 8), (16, 5, 5)),
        ((3, 8, 8), (16, 16, 16)),
        ((3, 8, 8), (16, 4, 2)),
        ((9,), (4, 3, 3)),
        ((5, 8), (6, 8)),
    ],
)
def test_shapes_that_no_stride_joins_are_refused(
    factory: object, input_shape: tuple[int, ...], output_shape: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"no stride .* leads from .*tear\(preprocess=…\)"):
        factory(input_shape, output_shape)


def test_patches_that_do_not_tile_the_image_are_refused() -> None:
    with pytest.raises(ValueError, match=r"patches of 2×2 do not tile an image of 7×7: .*auto"):
        patch((1, 7, 7), (4, 4, 4))
    assert strided((1, 7, 7), (4, 4, 4))(torch.zeros(1, 1, 7, 7)).shape == (1, 4, 4, 4)


@pytest.mark.parametrize("factory", PREPROCESSES.values())
@pytest.mark.parametrize(
    ("input_shape", "output_shape"),
    [
        ((3, 8, 8), (7,)),
        ((5,), (7,)),
        ((4, 5), (7,)),
        ((4, 5), (4, 7)),
        ((3, 8, 8), (16, 7)),
        ((3, 8, 4), (2, 7)),
        ((3, 8, 8), (64, 7)),
    ],
)
def test_features_and_tokens_are_reached_by_a_linear_map_of_every_input(
    factory: object, input_shape: tuple[int, ...], output_shape: tuple[int, ...]
) -> None:
    module = factory(input_shape, output_shape)
    x = torch.randn(2, *input_shape, requires_grad=True)
    output = module(x)
    assert output.shape == (2, *output_shape)
    output.sum().backward()
    assert (x.grad != 0).all()
    zero = module(torch.zeros_like(x))
    torch.testing.assert_close(module(2 * x) - zero, 2 * (output - zero))


def test_patches_are_embedded_row_by_row() -> None:
    module = PatchEmbedding((3, 8, 12), (6, 5))
    x = torch.randn(2, 3, 8, 12)
    patches = nn.functional.unfold(x, 4, stride=4).mT  # (batch, patch, pixels)
    projection = module.projection
    expected = nn.functional.linear(patches, projection.weight.flatten(1), projection.bias) + module.positions
    torch.testing.assert_close(module(x), expected)


@pytest.mark.parametrize("n_tokens", [3, 17, 65, 100])
def test_images_that_no_square_patches_cut_are_refused(n_tokens: int) -> None:
    with pytest.raises(ValueError, match=rf"8×8 into {n_tokens} tokens: .*tear\(preprocess=…\)"):
        strided((3, 8, 8), (n_tokens, 7))


def test_who_decides_what_c_j_is() -> None:
    def own(before: tuple[int, ...], after: tuple[int, ...]) -> nn.Module:
        return nn.ConstantPad2d(1, 0.0)

    def asked(before: tuple[int, ...], after: tuple[int, ...]) -> nn.Module:
        return nn.Identity()

    def network(**options: object) -> FeedForward:
        units = [nn.Conv2d(4, 4, 1) for _ in range(2)]
        return FeedForward(nn.Conv2d(3, 4, 2, 2), units, nn.Flatten(), (3, 8, 8), **options)

    tearings = [
        plan_tearing(network(), 2),
        plan_tearing(network(), 2, preprocess="patch"),
        plan_tearing(network(interface_preprocess=own), 2),
        plan_tearing(network(interface_preprocess=own), 2, preprocess="patch"),
        plan_tearing(network(interface_preprocess=own), 2, preprocess="strided"),
        plan_tearing(network(interface_preprocess=own), 2, preprocess=asked),
    ]
    modules = [tearing.build_preprocess(2) for tearing in tearings]
    assert [type(module).__name__ for module in modules] == [
        "Sequential",
        "Conv2d",
        "ConstantPad2d",
        "Conv2d",
        "Conv2d",
        "Identity",
    ]
    assert [modules[i].kernel_size for i in (1, 3, 4)] == [(2, 2), (2, 2), (1, 1)]
