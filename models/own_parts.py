"""C^j and F^j where shapes alone say none: the network's own C and units, with other weights."""

from dataclasses import dataclass

from torch import nn

from models.coarse import coarse_from_shapes
from models.feedforward import FeedForward, Shape
from models.initialisation import ModuleFactory, as_factory
from models.preprocess import auto


@dataclass(frozen=True)
class OwnPreprocess:
    """The default factory of C^j: :func:`models.preprocess.auto`, else a fresh copy of the network's own C.

    A copy is what the paper says that C^j should be like; it serves wherever the units keep the shape that C
    returns: tokens from whole numbers, an image's patches with a class token.
    """

    network: FeedForward

    def __call__(self, input_shape: Shape, output_shape: Shape) -> nn.Module:
        """C^j, from the network's input to what g^j reads.

        Raises:
            ValueError: no shapes' rule leads from one to the other, nor does C.
        """
        kept = self.network.trace.shapes[0] == output_shape
        if self.network.vocabulary is not None:  # of which nothing but the network's C knows what to make
            if kept:
                return fresh(self.network.preprocess)
            raise ValueError(
                f"no C^j is known from whole numbers {input_shape} to {output_shape}, which is not what C "
                "returns: give FeedForward(interface_preprocess=…) or tear(preprocess=…) your own factory"
            )
        try:
            return auto(input_shape, output_shape)
        except ValueError:
            if kept:
                return fresh(self.network.preprocess)
            raise


@dataclass(frozen=True)
class OwnCoarse:
    """The default factory of F^j: :func:`models.coarse.coarse_from_shapes`, else the network's own units."""

    network: FeedForward

    def __call__(self, input_shape: Shape, output_shape: Shape, n_units: int) -> nn.Module:
        """F^j of ``n_units`` units: fresh copies of the first that reads and returns this shape.

        Raises:
            ValueError: no shapes' rule leads from one shape to the other, nor do such units.
        """
        try:
            return coarse_from_shapes(input_shape, output_shape, n_units)
        except ValueError:
            shapes = self.network.trace.shapes
            for i, unit in enumerate(self.network.units):
                if shapes[i] == shapes[i + 1] == input_shape == output_shape:
                    return nn.Sequential(*(fresh(unit) for _ in range(n_units)))
            raise


def fresh(source: nn.Module | ModuleFactory) -> nn.Module:
    """What a factory builds, or a copy of a module with its weights drawn anew.

    Each child that knows how (``reset_parameters``, as torch's own layers do) draws its parameters as when it
    was built; others, and those that are not to be trained, stay as they were given.
    """
    module = as_factory(source)()
    if isinstance(source, nn.Module):
        for child in reversed(list(module.modules())):  # a parent's own way after its children's
            reset = getattr(child, "reset_parameters", None) or getattr(child, "_reset_parameters", None)
            if callable(reset) and all(p.requires_grad for p in child.parameters()):
                reset()
    return module
