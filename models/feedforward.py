"""What can be torn: a feed-forward network f = h ∘ g ∘ C, described unit by unit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import nn

from models.initialisation import ModuleFactory, as_factory, build_seeded

Shape = tuple[int, ...]
"""Shape of one sample, without the batch dimension: (channels, height, width), (features,), …"""

PreprocessFactory = Callable[[Shape, Shape], nn.Module]
"""(shape of the network's input, shape that g^j reads) -> C^j."""

CoarseFactory = Callable[[Shape, Shape, int], nn.Module]
"""(shape that g^{j+1} reads, shape that it returns, N_c) -> F^j."""


@dataclass(frozen=True)
class Trace:
    """Shapes and sizes of a network, found one component at a time.

    Attributes:
        shapes: ``shapes[i]`` is what unit i reads (0-based), ``shapes[-1]`` what the postprocess reads.
        unit_parameters: number of parameters of each unit.
        preprocess_parameters: number of parameters of C.
        postprocess_parameters: number of parameters of h.
    """

    shapes: tuple[Shape, ...]
    unit_parameters: tuple[int, ...]
    preprocess_parameters: int
    postprocess_parameters: int


@dataclass(frozen=True)
class FeedForward:
    """A feed-forward network f = h ∘ g ∘ C (paper, section 3), not yet allocated.

    Every component is a factory (a callable without arguments that returns a module), so that a
    machine which runs one subnetwork never holds the weights of another. A module may be given
    instead; each use then gets a copy of it, weights included.

    Args:
        preprocess: C, reads the network's input.
        units: the repeated units whose composition is g, first one first; cuts go between them.
        postprocess: h, returns the network's output.
        input_shape: shape of one input sample, without the batch dimension.
        name: how tables and figures call the network.
        coarse: builds F^j for this architecture; needed to tear it into more than one subnetwork
            unless one is given to :func:`models.tear`.
    """

    preprocess: nn.Module | ModuleFactory
    units: Sequence[nn.Module | ModuleFactory]
    postprocess: nn.Module | ModuleFactory
    input_shape: Shape
    name: str = field(kw_only=True, default="network")
    coarse: CoarseFactory | None = field(kw_only=True, default=None)

    def __post_init__(self) -> None:
        """Refuse a network without units."""
        if not self.units:
            raise ValueError(f"{self.name} has no units: nothing can be torn, give at least one")

    @property
    def n_units(self) -> int:
        """Number of units of g."""
        return len(self.units)

    @cached_property
    def trace(self) -> Trace:
        """Run one sample through the network: shapes and parameter counts.

        Units are built, run and dropped one after the other, so that only one is ever held. (The
        meta device would hold none, but running a convolution there imports sympy and dynamo: 6 s.)

        Raises:
            ValueError: a component cannot be built or run; the message names it.
        """
        sample = torch.zeros(1, *self.input_shape)
        sample, n_preprocess = _run_once(self.preprocess, "the preprocess", sample)
        shapes, n_units = [tuple(sample.shape[1:])], []
        for index, unit in enumerate(self.units):
            sample, n_parameters = _run_once(unit, f"unit {index}", sample)
            shapes.append(tuple(sample.shape[1:]))
            n_units.append(n_parameters)
        _, n_postprocess = _run_once(self.postprocess, "the postprocess", sample)
        return Trace(tuple(shapes), tuple(n_units), n_preprocess, n_postprocess)


@torch.no_grad()
def _run_once(source: nn.Module | ModuleFactory, what: str, sample: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Build a component, run it on the sample and count its parameters."""
    try:
        module = build_seeded(as_factory(source), 0).eval()
        output = module(sample)
    except (RuntimeError, TypeError, ValueError) as error:
        shape = tuple(sample.shape[1:])
        raise ValueError(f"{what} cannot read a sample of shape {shape}: {error}") from error
    if not isinstance(output, torch.Tensor):
        returned = type(output).__name__
        raise ValueError(f"{what} returns {returned}: a unit maps one tensor to one tensor")
    return output, sum(parameter.numel() for parameter in module.parameters())
