"""C^j for j > 1: from the network's input to what subnetwork j reads (paper, section 4)."""

from torch import nn

from models.feedforward import PreprocessFactory, Shape


def strided(input_shape: Shape, output_shape: Shape) -> nn.Module:
    """The paper's C^j: a 1×1 convolution with the stride and channels of g^j's input.

    With stride s it reads one pixel of s².

    Raises:
        ValueError: one of the shapes is no image, or no stride leads from one to the other.
    """
    stride = _stride(input_shape, output_shape)
    return nn.Conv2d(input_shape[0], output_shape[0], 1, stride=stride, bias=False)


def patch(input_shape: Shape, output_shape: Shape) -> nn.Module:
    """An s×s convolution of stride s: as cheap as :func:`strided`, but it reads every pixel.

    Raises:
        ValueError: as :func:`strided`, and where the stride does not divide the image.
    """
    stride = _stride(input_shape, output_shape)
    if any(size % stride for size in input_shape[1:]):
        raise ValueError(
            f"patches of {stride}×{stride} do not tile an image of {input_shape[1]}×{input_shape[2]}: "
            "pass --preprocess strided"
        )
    return nn.Conv2d(input_shape[0], output_shape[0], stride, stride=stride, bias=False)


def _stride(input_shape: Shape, output_shape: Shape) -> int:
    """The stride that takes an image of ``input_shape`` to ``output_shape``, height and width alike."""
    if len(input_shape) != 3 or len(output_shape) != 3:
        raise ValueError(
            f"no convolution leads from shape {input_shape} to {output_shape}: "
            "both must be (channels, height, width); give tear(preprocess=…) your own factory"
        )
    stride = -(-input_shape[1] // output_shape[1])
    if tuple(-(-size // stride) for size in input_shape[1:]) != output_shape[1:]:
        raise ValueError(
            f"no stride leads from an image of {input_shape[1:]} to {output_shape[1:]}: "
            "give tear(preprocess=…) your own factory"
        )
    return stride


PREPROCESSES: dict[str, PreprocessFactory] = {"strided": strided, "patch": patch}
