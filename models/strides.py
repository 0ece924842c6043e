"""From one image size to another."""

from models.feedforward import Shape


def stride_between(input_shape: Shape, output_shape: Shape) -> int | None:
    """The smallest stride between two images (channels, height, width); None if there is none.

    Height and width are divided by it and rounded up, as padded convolutions do.
    """
    sizes = list(zip(input_shape[1:], output_shape[1:], strict=True))
    stride = max(-(-before // after) for before, after in sizes)
    return stride if all(-(-before // stride) == after for before, after in sizes) else None
