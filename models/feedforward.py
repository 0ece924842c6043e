"""What can be torn: a feed-forward network f = h ∘ g ∘ C, described unit by unit."""

import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from models.compute import Compute
from models.initialisation import ModuleFactory, make_picklable
from models.probe import Probe, samples_of
from models.task import Classification, Task

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
        output_shape: what the postprocess returns.
        trains: whether any parameter is to be trained.
    """

    shapes: tuple[Shape, ...]
    unit_parameters: tuple[int, ...]
    preprocess_parameters: int
    postprocess_parameters: int
    output_shape: Shape
    trains: bool


@dataclass(frozen=True)
class FeedForward:
    """A feed-forward network f = h ∘ g ∘ C (paper, section 3), not yet allocated.

    Every component is a factory (a callable without arguments that returns a module), so that a
    machine which runs one subnetwork never holds the weights of another. A module may be given
    instead, once; whoever uses it gets a copy of it, weights included.

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
        task: what it is trained for.
        vocabulary: K where the network's input is whole numbers 0 … K − 1, such as tokens; None where it is
            floating-point numbers. A sweep takes it from the data.
    """

    preprocess: nn.Module | ModuleFactory
    units: Sequence[nn.Module | ModuleFactory]
    postprocess: nn.Module | ModuleFactory
    input_shape: Shape
    name: str = field(kw_only=True, default="network")
    interface_preprocess: PreprocessFactory | None = field(kw_only=True, default=None)
    coarse: CoarseFactory | None = field(kw_only=True, default=None)
    task: Task = field(kw_only=True, default_factory=Classification)
    vocabulary: int | None = field(kw_only=True, default=None)

    def __post_init__(self) -> None:
        """Refuse a network without units, and modules of which no copy would be the same."""
        if not self.units:
            raise ValueError(f"{self.name} has no units: nothing can be torn, give at least one")
        modules = [(what, source) for what, source in self.components() if isinstance(source, nn.Module)]
        _refuse_shared_tensors(modules)
        for what, module in modules:
            _refuse_hooks_of_parameters(what, module)
            make_picklable(module)

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
        vocabulary: int | None = None,
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
            vocabulary: K where the input is whole numbers 0 … K − 1.

        Raises:
            ValueError: no child is left to be a unit, the class has a forward of its own, or two
                components share parameters.
        """
        if type(sequential).forward is not nn.Sequential.forward:
            raise ValueError(
                f"{type(sequential).__name__} has a forward of its own, so its children need not be a "
                "chain: build an nn.Sequential of units, each with its skip connections inside"
            )
        hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        if any(getattr(sequential, name) for name in hooks):
            raise ValueError(
                f"{name} has a hook on the whole nn.Sequential, which none of its parts would call: put it "
                "on a child"
            )
        end = len(sequential) - postprocess
        if min(preprocess, postprocess) < 0 or end <= preprocess:
            raise ValueError(
                f"{len(sequential)} children, {preprocess} of them for C and {postprocess} for h, leave "
                "no unit to tear: lower preprocess or postprocess"
            )
        children = list(sequential._modules.items())  # a slice of a subclass would call its __init__
        components = [
            nn.Sequential(OrderedDict(children[:preprocess])),
            *(module for _, module in children[preprocess:end]),
            nn.Sequential(OrderedDict(children[end:])),
        ]
        return cls(
            components[0],
            components[1:-1],
            components[-1],
            input_shape,
            name=name,
            interface_preprocess=interface_preprocess,
            coarse=coarse,
            vocabulary=vocabulary,
        )

    @property
    def n_units(self) -> int:
        """Number of units of g."""
        return len(self.units)

    def samples(self, n: int = 2) -> Tensor:
        """A batch of what the network reads, to try components with."""
        return samples_of(self.input_shape, n, vocabulary=self.vocabulary)

    def components(self) -> Iterator[tuple[str, nn.Module | ModuleFactory]]:
        """C, the units and h as they were given, with what messages call them."""
        yield "the preprocess", self.preprocess
        yield from ((f"unit {index}", unit) for index, unit in enumerate(self.units))
        yield "the postprocess", self.postprocess

    @cached_property
    def trace(self) -> Trace:
        """Run samples through the network: shapes and parameter counts.

        Units are built, run and dropped one after the other, so that only one is ever held. (The
        meta device would hold none, but running a convolution there imports sympy and dynamo: 6 s.)

        Raises:
            ValueError: a component cannot be built or run, or is no part of a chain; the message names it.
        """
        batch = self.samples()
        shapes: list[Shape] = []
        sizes: list[int] = []
        trains = False
        seen = []
        before: tuple[partial[Probe], Tensor] | None = None
        reads_gradient = False  # nothing is trained before the first
        components = iter(self.components())
        for probe in self._probes():  # not by zip, which would keep one until the next is built
            what, source = next(components)
            probe.check_state()
            probe.reads_gradient = reads_gradient
            read, batch = batch, probe.try_out(batch)
            seen.append((reads_gradient, probe.seen))
            if before is not None and probe.overwrites_input:
                build, what_it_read = before
                probe.check_leaves(build(), what_it_read)
            before = partial(Probe, source, what, reads_gradient=reads_gradient), read
            reads_gradient = probe.returns_gradient
            shapes.append(tuple(batch.shape[1:]))
            sizes.append(probe.n_parameters)
            trains |= bool(probe.trainable)
            if len(sizes) == self.n_units + 2:
                probe.check_passes_back(read)
            del probe  # before the next is built
        # Once more, now that all have run: what one has left behind for another shows.
        batch = self.samples()
        for probe in self._probes():
            probe.reads_gradient, of_it = seen.pop(0)
            batch = probe.check_again(batch, of_it)
            del probe
        *shapes, output_shape = shapes
        return Trace(tuple(shapes), tuple(sizes[1:-1]), sizes[0], sizes[-1], output_shape, trains)

    def check_batch(self, n: int) -> None:
        """See that the network can be trained on batches of ``n`` samples.

        Raises:
            ValueError: it cannot; the message names the component.
        """
        for _ in self._passes(n):
            pass

    def check_compute(self, compute: Compute) -> Tensor:
        """See that the network can be trained in the types and layout that are asked for.

        Returns:
            What it makes of a few samples.

        Raises:
            ValueError: it cannot; the message names the component.
        """
        batch = compute.reads(self.samples())
        for probe in self._probes():
            batch = probe.computed(batch, compute)
            del probe
        return batch

    def check_gradient(self, *, after: int) -> None:
        """See that a gradient comes through all units from number ``after`` on, and that it may in parts.

        Raises:
            ValueError: one lets none through, or a hook goes by the parts; the message names it.
        """
        for index, (probe, read) in enumerate(self._passes(), start=-1):
            probe.check_hooks(read)
            if index >= after:
                probe.check_passes_back(read)

    @cached_property
    def uses_all(self) -> bool:
        """Whether every parameter that is to be trained gets a gradient in every step."""
        return all(
            probe.passes_back(read) and probe.trained(read, always=True) == probe.trainable
            for probe, read in self._passes()
        )

    def _passes(self, n: int = 2) -> Iterator[tuple[Probe, Tensor]]:
        """Every component, and what it reads of a batch while it trains."""
        batch = self.samples(n)
        for probe in self._probes():
            read, batch = batch, probe.run(batch, training=True)
            yield probe, read
            del probe

    def _probes(self) -> Iterator[Probe]:
        """Every component, built one after the other."""
        seen: dict[int, tuple[str, weakref.ref[Tensor]]] = {}
        for what, source in self.components():
            probe = Probe(source, what)
            for parameter in probe.module.parameters():
                owner, known = seen.get(id(parameter), (what, None))
                if known is not None and known() is parameter and owner != what:
                    raise _shared(owner, what, parameter)
                seen[id(parameter)] = what, weakref.ref(parameter)
            yield probe
            del probe


def _refuse_shared_tensors(components: Iterable[tuple[str, nn.Module]]) -> None:
    """Raise if two components hold the same parameter or buffer: as copies they would drift apart."""
    taken: dict[int, list[tuple[range, str]]] = {}  # of each storage, by whom
    for name, component in components:
        for tensor in (*component.parameters(), *component.buffers()):
            if is_lazy(tensor) or tensor.layout != torch.strided or not tensor.numel() or tensor.is_meta:
                continue
            steps = zip(tensor.shape, tensor.stride(), strict=True)
            last = tensor.storage_offset() + sum((size - 1) * step for size, step in steps)
            place = range(tensor.storage_offset(), last + 1)
            others = taken.setdefault(tensor.untyped_storage().data_ptr(), [])
            for other, owner in others:
                if owner != name and place.start < other.stop and other.start < place.stop:
                    raise _shared(owner, name, tensor)
            others.append((place, name))


def _shared(owner: str, name: str, tensor: Tensor) -> ValueError:
    kind = "parameter" if isinstance(tensor, nn.Parameter) else "buffer"
    return ValueError(
        f"{owner} and {name} share a {kind} of shape {tuple(tensor.shape)}, which could not stay shared "
        "between subnetworks: give each its own module"
    )


def _refuse_hooks_of_parameters(what: str, module: nn.Module) -> None:
    """Raise if a parameter has a hook of its own: torch copies and sends parameters without."""
    for name, parameter in module.named_parameters():
        if parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None):
            raise ValueError(
                f"{what} has a hook on its parameter {name}, which no copy would have: give a factory that "
                "builds the module and registers the hook"
            )
