"""What can be torn: a feed-forward network f = h ∘ g ∘ C, described unit by unit."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import nn
from torch.nn.parameter import is_lazy

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
        interface_preprocess: the network's own C^j, j > 1, in place of the default made from the
            shapes (:func:`models.preprocess.auto`).
        coarse: the network's own F^j of N_c units, in place of the default made from the shapes
            (:func:`models.coarse.coarse_from_shapes`).
    """

    preprocess: nn.Module | ModuleFactory
    units: Sequence[nn.Module | ModuleFactory]
    postprocess: nn.Module | ModuleFactory
    input_shape: Shape
    name: str = field(kw_only=True, default="network")
    interface_preprocess: PreprocessFactory | None = field(kw_only=True, default=None)
    coarse: CoarseFactory | None = field(kw_only=True, default=None)

    def __post_init__(self) -> None:
        """Refuse a network without units."""
        if not self.units:
            raise ValueError(f"{self.name} has no units: nothing can be torn, give at least one")

    @classmethod
    def from_sequential(
        cls,
        sequential: nn.Sequential,
        *,
        input_shape: Shape,
        preprocess: int = 1,
        postprocess: int = 1,
        name: str = "network",
        interface_preprocess: PreprocessFactory | None = None,
        coarse: CoarseFactory | None = None,
    ) -> "FeedForward":
        """Describe a chain of modules on the CPU; its children between C and h are the units.

        The modules are copied with their weights wherever they are used, so a trained network can be
        torn. Each child reads the one tensor that the child before it returns: a skip connection
        belongs inside one child, across two of them a chain cannot have any. Children that are a
        Sequential themselves are one unit; unpack them (``*blocks``) to have cuts inside.

        Args:
            sequential: the whole network.
            input_shape: shape of one input sample, without the batch dimension.
            preprocess: how many leading children make up C; 0 for none.
            postprocess: how many trailing children make up h; 0 for none.
            name: how tables and figures call the network.
            interface_preprocess: the network's own C^j, j > 1.
            coarse: the network's own F^j.

        Raises:
            ValueError: no child is left to be a unit, the class has a forward of its own, or two
                components share parameters.
        """
        if type(sequential).forward is not nn.Sequential.forward:
            raise ValueError(
                f"{type(sequential).__name__} has a forward of its own, so its children need not be a "
                "chain: build an nn.Sequential of units, each with its skip connections inside"
            )
        end = len(sequential) - postprocess
        if min(preprocess, postprocess) < 0 or end <= preprocess:
            raise ValueError(
                f"{len(sequential)} children, {preprocess} of them for C and {postprocess} for h, leave "
                "no unit to tear: lower preprocess or postprocess"
            )
        components = [sequential[:preprocess], *sequential[preprocess:end], sequential[end:]]
        _refuse_shared_parameters(components)
        return cls(
            components[0],
            components[1:-1],
            components[-1],
            input_shape,
            name=name,
            interface_preprocess=interface_preprocess,
            coarse=coarse,
        )

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
        what += f" ({type(module).__name__})"
        inputs = _required_inputs(module)
        if len(inputs) > 1:
            raise ValueError(f"it needs {len(inputs)} inputs, {', '.join(inputs)}, and gets one tensor")
        if any(is_lazy(parameter) for parameter in module.parameters()):
            # Its shapes, and with them the weights, would be settled in each process by itself.
            raise ValueError("it holds a lazy module: give the number of its inputs")
        output = module(sample)
    except (AssertionError, AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        shape = tuple(sample.shape[1:])
        raise ValueError(f"{what} cannot read a sample of shape {shape}: {error}") from error
    if not isinstance(output, torch.Tensor):
        returned = type(output).__name__
        raise ValueError(
            f"{what} returns {returned}, where one tensor is needed: "
            "wrap it in a module that keeps the one that the next reads"
        )
    if output.shape[:1] != sample.shape[:1]:
        raise ValueError(f"{what} turns a batch of 1 into shape {tuple(output.shape)}: keep dimension 0")
    return output, sum(parameter.numel() for parameter in module.parameters())


def _required_inputs(module: nn.Module) -> list[str]:
    """Names of the arguments without which ``forward`` cannot be called."""
    return [
        name
        for name, parameter in inspect.signature(module.forward).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]


def _refuse_shared_parameters(components: Sequence[nn.Module]) -> None:
    """Raise if two components hold the same parameter: as copies they would drift apart."""
    names = ["C", *(f"unit {index}" for index in range(len(components) - 2)), "h"]
    owners: dict[nn.Parameter, str] = {}
    for name, component in zip(names, components, strict=True):
        for parameter in component.parameters():
            owner = owners.setdefault(parameter, name)
            if owner != name:
                raise ValueError(
                    f"{owner} and {name} share a parameter of shape {tuple(parameter.shape)}, which could "
                    "not stay shared between subnetworks: give each its own module"
                )
