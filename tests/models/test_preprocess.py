"""C^j reaches the shape that g^j reads: strided sees one pixel of s², patch sees them all."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from models.preprocess import PREPROCESSES, patch, strided


@given(
    channels=st.integers(1, 3),
    out_channels=st.integers(1, 4),
    out_size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.integers(1, 4),
)
@pytest.mark.parametrize("factory", [strided, patch])
def test_the_output_shape_is_the_one_asked_for(
    factory: object, channels: int, out_channels: int, out_size: tuple[int, int], stride: int
) -> None:
    height, width = (stride * size for size in out_size)
    module = factory((channels, height, width), (out_channels, *out_size))
    assert module(torch.zeros(2, channels, height, width)).shape == (2, out_channels, *out_size)
    assert sum(p.numel() for p in module.parameters()) == module.weight.numel()


@given(size=st.integers(1, 40), halvings=st.integers(0, 4))
def test_strided_follows_images_whose_size_is_odd(size: int, halvings: int) -> None:
    image = torch.zeros(1, 1, size, size)
    halved = image
    for _ in range(halvings):
        halved = nn.functional.conv2d(halved, torch.ones(1, 1, 3, 3), stride=2, padding=1)
    module = strided((1, size, size), tuple(halved.shape[1:]))
    assert module(image).shape == halved.shape


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


def test_at_full_resolution_both_are_a_1x1_convolution() -> None:
    for factory in PREPROCESSES.values():
        module = factory((3, 8, 8), (16, 8, 8))
        assert (module.kernel_size, module.stride, module.bias) == ((1, 1), (1, 1), None)


@pytest.mark.parametrize("factory", [strided, patch])
@pytest.mark.parametrize(
    ("input_shape", "output_shape"),
    [((3, 8, 8), (16, 5, 5)), ((3, 8, 8), (16, 16, 16)), ((3, 8, 8), (16, 4, 2))],
)
def test_shapes_that_no_stride_joins_are_refused(
    factory: object, input_shape: tuple[int, ...], output_shape: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"no stride leads from .*tear\(preprocess=…\)"):
        factory(input_shape, output_shape)


def test_patches_that_do_not_tile_the_image_are_refused() -> None:
    with pytest.raises(ValueError, match=r"patches of 2×2 do not tile an image of 7×7: .*strided"):
        patch((1, 7, 7), (4, 4, 4))
    assert strided((1, 7, 7), (4, 4, 4))(torch.zeros(1, 1, 7, 7)).shape == (1, 4, 4, 4)
