"""F^j: a small stand-in for g^{j+1}, from the shape that g^{j+1} reads to the shape that it returns."""

from collections.abc import Callable
from functools import partial
from math import prod
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from models.feedforward import CoarseFactory, Shape
from models.initialisation import ModuleFactory, as_factory
from models.preprocess import strided
from models.residual_unit import ResidualUnit
from models.strides import stride_between


class DenseUnit(nn.Module):
    """x + W relu(x) + b over the last dimension of (batch, …, width); the identity at first, W = b = 0.

    Nothing normalises what dense units correct: N_c (N − 1) random ones in a row would amplify it.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, …, width) to the same shape."""
        return cast(Tensor, x + self.linear(F.relu(x)))


def coarse_from_shapes(input_shape: Shape, output_shape: Shape, n_units: int) -> nn.Module:
    """F^j for a network that names none of its own: ``n_units`` residual units that fit the shapes.

    Between images (channels, height, width), these are bottlenecks (:func:`residual_units`). Where
    features (features,) or tokens (tokens, width) come out, :class:`DenseUnit`, behind a linear map
    where the shape changes; tokens are treated one by one.

    Raises:
        ValueError: none of these leads from one shape to the other.
    """
    if len(input_shape) == len(output_shape) == 3:
        return residual_units(input_shape, output_shape, n_units)
    if input_shape == output_shape and len(output_shape) in (1, 2):
        return nn.Sequential(*(DenseUnit(output_shape[-1]) for _ in range(n_units)))
    layers: list[nn.Module]
    if len(output_shape) == 1:
        layers = [nn.Flatten(), nn.Linear(prod(input_shape), output_shape[0])]
    elif len(input_shape) == len(output_shape) == 2 and input_shape[0] == output_shape[0]:
        layers = [nn.Linear(input_shape[1], output_shape[1])]
    else:
        raise ValueError(
            f"no coarse network is known from shape {input_shape} to {output_shape}: "
            "give FeedForward(coarse=…) or tear(coarse=…) your own factory"
        )
    return nn.Sequential(*layers, *(DenseUnit(output_shape[-1]) for _ in range(n_units - 1)))


def residual_units(
    input_shape: Shape, output_shape: Shape, n_units: int, *, unit: Callable[..., nn.Module] = ResidualUnit
) -> nn.Sequential:
    """F^j between images: ``n_units`` residual units, g^{j+1}'s strides included (paper, section 4).

    Halvings of the image are spread over the units, the last one takes what is left.

    Args:
        input_shape: (channels, height, width) that g^{j+1} reads.
        output_shape: (channels, height, width) that it returns.
        n_units: N_c.
        unit: makes a unit from (in_channels, out_channels, stride=…).

    Raises:
        ValueError: no stride leads from one image size to the other.
    """
    in_channels, out_channels = input_shape[0], output_shape[0]
    left = stride_between(input_shape, output_shape)
    if left is None:
        raise ValueError(
            f"no stride leads from an image of shape {input_shape} to {output_shape}: "
            "give FeedForward(coarse=…) or tear(coarse=…) your own factory"
        )
    units = []
    for index in range(n_units):
        stride = left if index == n_units - 1 or left % 2 else min(left, 2)
        units.append(unit(in_channels if index == 0 else out_channels, out_channels, stride=stride))
        left //= stride
    return nn.Sequential(*units)


def repeat(unit: nn.Module | ModuleFactory) -> CoarseFactory:
    """F^j = N_c of the network's own units, for a network whose units all keep the shape.

    Args:
        unit: a factory of one unit, or a module to copy.
    """
    return partial(_repeat, unit)


def _repeat(
    unit: nn.Module | ModuleFactory, input_shape: Shape, output_shape: Shape, n_units: int
) -> nn.Module:
    """``n_units`` units, if the shape is to be kept."""
    if input_shape != output_shape:
        raise ValueError(
            f"repeated units keep the shape, but g^{{j+1}} leads from {input_shape} to {output_shape}: "
            "give FeedForward(coarse=…) or tear(coarse=…) your own factory"
        )
    build = as_factory(unit)
    return nn.Sequential(*(build() for _ in range(n_units)))


def shortcut(input_shape: Shape, output_shape: Shape, n_units: int) -> nn.Module:
    """F^j = what the shortcuts of g^{j+1} do on their own: affine, and free where the shape is kept.

    A residual unit is its shortcut plus a small change, and so is their composition; the identity
    is therefore a coarse propagator of its own right (the coarsest step that Euler's method can take).
    Where the shape changes, a strided 1×1 convolution or a linear map, as for C^j.

    Args:
        input_shape: shape that g^{j+1} reads.
        output_shape: shape that it returns.
        n_units: N_c; a shortcut has no units, whatever this says.

    Raises:
        ValueError: no stride or linear map leads from one shape to the other.
    """
    return nn.Identity() if input_shape == output_shape else strided(input_shape, output_shape)


COARSE_NETWORKS: dict[str, CoarseFactory] = {
    "units": coarse_from_shapes,
    "shortcut": shortcut,
}
"""By name; for ``"units"`` a network's own ``coarse`` stands in."""
