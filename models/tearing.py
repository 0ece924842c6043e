"""Where a network is cut and what stands at the cuts: builds any one component on its own.

    x ──▶ C^1 ─▶ g^1 ─▶ y_1            subnetworks j = 1 … N run in parallel
    x ──▶ C^2 ─▶ g^2 ─▶ y_2            r_j = y_j − C^{j+1}(x)
    x ──▶ C^3 ─▶ g^3 ─▶ y_3 ─▶ + ─▶ h  F^1, F^2 carry the r_j to the end

Indices j are 1-based, as in the paper.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import TypeVar

from torch import Tensor, nn

from models.coarse import COARSE_NETWORKS
from models.compute import Compute
from models.cost_profile import CostProfile
from models.feedforward import CoarseFactory, FeedForward, PreprocessFactory, Shape
from models.initialisation import ModuleFactory, as_factory, build_seeded
from models.own_parts import OwnCoarse, OwnPreprocess
from models.partition import COST_PARTITIONS, PARTITIONS
from models.preprocess import PREPROCESSES
from models.probe import Probe, samples_of
from models.sizes import check

Entry = TypeVar("Entry")


def paper_n_coarse_units(n_subnetworks: int) -> int:
    """N_c = ⌈12 / N⌉ units in each F^j (paper, section 5)."""
    return ceil(12 / n_subnetworks)


@dataclass(frozen=True)
class Tearing:
    """A network torn into N subnetworks, not yet allocated; made by :func:`plan_tearing`.

    Each ``build_…`` method returns one component with the same initial weights wherever and in
    whatever order it is called: unit i's depend on (seed, i) alone, those of C^j and F^j on the
    seed and on where g^j and g^{j+1} begin.

    Attributes:
        network: what is torn.
        sizes: units per subnetwork.
        n_coarse_units: N_c, units in each F^j.
        preprocess: factory of C^j, j > 1.
        coarse: factory of F^j.
        seed: seed of the initial weights.
    """

    network: FeedForward
    sizes: tuple[int, ...]
    n_coarse_units: int
    preprocess: PreprocessFactory
    coarse: CoarseFactory
    seed: int

    @property
    def n_subnetworks(self) -> int:
        """N."""
        return len(self.sizes)

    @cached_property
    def preprocess_parameters(self) -> tuple[int, ...]:
        """Number of parameters of C^1 … C^N."""
        return tuple(_count(self.build_preprocess(j)) for j in range(1, self.n_subnetworks + 1))

    @cached_property
    def subnetwork_parameters(self) -> tuple[int, ...]:
        """Number of parameters of g^1 … g^N."""
        counts = self.network.trace.unit_parameters
        return tuple(sum(counts[i] for i in self.units(j)) for j in range(1, self.n_subnetworks + 1))

    @cached_property
    def coarse_parameters(self) -> tuple[int, ...]:
        """Number of parameters of F^1 … F^{N−1}."""
        return tuple(_count(self.build_coarse(j)) for j in range(1, self.n_subnetworks))

    @property
    def n_parameters(self) -> int:
        """Number of parameters of the whole parareal network."""
        return (
            sum(self.preprocess_parameters)
            + sum(self.subnetwork_parameters)
            + sum(self.coarse_parameters)
            + self.network.trace.postprocess_parameters
        )

    def units(self, j: int) -> range:
        """The 0-based indices of the units of g^j."""
        start = sum(self.sizes[: j - 1])
        return range(start, start + self.sizes[j - 1])

    def shape(self, j: int) -> Shape:
        """Shape of one sample that g^j reads; j = N + 1 gives what the postprocess reads."""
        return self.network.trace.shapes[sum(self.sizes[: j - 1])]

    def preprocess_factory(self, j: int) -> ModuleFactory:
        """The factory of C^j; C^1 is the network's own C."""
        if j == 1:
            return as_factory(self.network.preprocess)
        return lambda: self.preprocess(self.network.input_shape, self.shape(j))

    def coarse_factory(self, j: int) -> ModuleFactory:
        """The factory of F^j, j = 1 … N − 1: from g^{j+1}'s input shape to its output shape."""
        return lambda: self.coarse(self.shape(j + 1), self.shape(j + 2), self.n_coarse_units)

    def build_preprocess(self, j: int) -> nn.Module:
        """C^j; it reads a copy of the images where it, or g^j, would spoil them for the others."""
        module = build_seeded(self.preprocess_factory(j), self.seed, "preprocess", self.units(j).start)
        if self.n_subnetworks > 1:
            probe = Probe(lambda: module, f"C^{j}")
            if probe.overwrites(self.network.samples()):
                module.register_forward_pre_hook(_copy_input)
        return module

    def trained_in_preprocess(self, j: int) -> list[str]:
        """The names of C^j's parameters that get a gradient on samples, or may as it draws numbers."""
        return Probe(self.preprocess_factory(j), f"C^{j}").trained(self.network.samples())

    def build_subnetwork(self, j: int) -> nn.Sequential:
        """g^j."""
        return nn.Sequential(
            *(build_seeded(as_factory(self.network.units[i]), self.seed, "unit", i) for i in self.units(j))
        )

    def build_coarse(self, j: int) -> nn.Module:
        """F^j, j = 1 … N − 1."""
        return build_seeded(self.coarse_factory(j), self.seed, "coarse", self.units(j + 1).start)

    def build_postprocess(self) -> nn.Module:
        """h."""
        return build_seeded(as_factory(self.network.postprocess), self.seed, "postprocess")

    def check(self, *, torn: bool = True, n_iterations: int = 1) -> None:
        """See that every C^j and F^j does what it is there for, and that there is something to train.

        Args:
            torn: whether they are used at all: a pipeline has nothing at the cuts.
            n_iterations: K; with several, a step's gradient of F^j comes in parts.

        Raises:
            ValueError: one does not; the message names it.
        """
        trains = self.network.trace.trains
        n = self.n_subnetworks if torn else 1
        for j in range(2, n + 1):
            images = self.network.samples()
            factory = self.preprocess_factory(j)
            probe = self._checked(Probe(factory, f"C^{j}", reads_gradient=False), images, self.shape(j))
            probe.check_anew()
            probe.check_state(replicated=True)
            i = self.units(j).start
            unit = Probe(self.network.units[i], f"unit {i}")
            unit.run(samples_of(self.shape(j)), training=True)  # which lie in memory as what has travelled
            unit.check_leaves(probe, images)
            if not probe.adds_up(images):
                raise ValueError(
                    f"{probe.what} has a backward pass that is not linear, such as one that clips: it gets "
                    "its gradient in two parts, from both sides of the cut, so leave that out"
                )
            trains |= bool(probe.trainable)
        for j in range(1, n):
            residuals = samples_of(self.shape(j + 1))
            factory = self.coarse_factory(j)
            probe = self._checked(Probe(factory, f"F^{j}"), residuals, self.shape(j + 2))
            probe.check_anew()
            probe.check_state()
            probe.check_passes_back(residuals)
            if n_iterations > 1:
                probe.check_hooks(residuals)
            trains |= bool(probe.trainable)
        if n > 1:
            postprocess = Probe(self.network.postprocess, "the postprocess")
            postprocess.run(samples_of(self.shape(n + 1)), training=True)
        if not trains:
            raise ValueError(
                f"{self.network.name} has no parameter to train: each is frozen by requires_grad_(False), or "
                "there is none"
            )

    def check_batch(self, size: int, *, torn: bool = True) -> None:
        """See that the network can be trained on batches of ``size`` samples; ``torn`` as in :meth:`check`.

        Raises:
            ValueError: it cannot; the message names the component.
        """
        self.network.check_batch(size)
        n = self.n_subnetworks if torn else 1
        for j in range(2, n + 1):
            images = self.network.samples(size)
            Probe(self.preprocess_factory(j), f"C^{j}").run(images, training=True)
        for j in range(1, n):
            residuals = samples_of(self.shape(j + 1), size)
            Probe(self.coarse_factory(j), f"F^{j}").run(residuals, training=True)

    def check_compute(self, compute: Compute, *, torn: bool = True) -> None:
        """See that what reads or stands at the cuts can be trained in the types and layout asked for.

        Args:
            compute: how.
            torn: as in :meth:`check`.

        Raises:
            ValueError: one cannot; the message names it. Of all else the network knows itself.
        """
        network, n = self.network, self.n_subnetworks

        def passed(shape: Shape) -> Tensor:
            return compute.travels(samples_of(shape))

        for j in range(2, n + 1):
            i = self.units(j).start
            Probe(network.units[i], f"unit {i}").computed(passed(self.shape(j)), compute)
            if torn:
                Probe(self.preprocess_factory(j), f"C^{j}").computed(
                    compute.reads(network.samples()), compute
                )
                coarse = Probe(self.coarse_factory(j - 1), f"F^{j - 1}")
                coarse.computed(passed(self.shape(j)), compute)
        if torn and n > 1:
            Probe(network.postprocess, "the postprocess").computed(passed(self.shape(n + 1)), compute)

    def _checked(self, probe: Probe, batch: Tensor, shape: Shape) -> Probe:
        returned = tuple(probe.try_out(batch).shape[1:])
        if returned != shape:
            raise ValueError(
                f"{probe.what} returns shape {returned} for {tuple(batch.shape[1:])}, but {shape} is needed "
                "there: make it from the two shapes that its factory is given"
            )
        return probe


def _copy_input(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(tensor.clone() for tensor in inputs)


def plan_tearing(
    network: FeedForward,
    n_subnetworks: int = 1,
    *,
    partition: str | Sequence[int] = "uniform",
    n_coarse_units: int | None = None,
    n_iterations: int = 1,
    preprocess: str | PreprocessFactory = "auto",
    coarse: str | CoarseFactory = "units",
    costs: CostProfile | None = None,
    seed: int = 0,
) -> Tearing:
    """Decide where to cut ``network`` and what to put at the cuts; nothing is allocated yet.

    Args:
        network: what to tear.
        n_subnetworks: N; 1 gives the network itself.
        partition: name in :data:`models.partition.PARTITIONS` or, where ``costs`` are given, in
            :data:`models.partition.COST_PARTITIONS`; or the sizes themselves.
        n_coarse_units: N_c, units in each F^j; the paper's ⌈12 / N⌉ if None.
        n_iterations: K, for which a partition by cost is made.
        preprocess: name in :data:`models.preprocess.PREPROCESSES`, or a factory of C^j, j > 1. For
            ``"auto"``, the default, a network's own ``interface_preprocess`` stands in, and a fresh copy of
            its own C where shapes say none.
        coarse: name in :data:`models.coarse.COARSE_NETWORKS`, or a factory of F^j. For ``"units"``, the
            default, a network's own ``coarse`` stands in, and its own units where shapes say none.
        costs: what the network's components cost, from :func:`models.cost_profile.measure_profile`.
        seed: seed of the initial weights.

    Raises:
        ValueError: an empty subnetwork, a partition by cost without costs, an unknown name, N_c < 1, or
            shapes that no component joins.
    """
    preprocess, coarse_factory = interface_factories(network, preprocess=preprocess, coarse=coarse)
    if n_coarse_units is None:
        n_coarse_units = paper_n_coarse_units(n_subnetworks)
    if n_coarse_units < 1 and coarse != "shortcut":
        raise ValueError(
            f"n_coarse_units = {n_coarse_units}: each F^j needs at least 1 unit, "
            "or none with the coarse network 'shortcut'"
        )
    sizes: Sequence[int]
    if not isinstance(partition, str):
        sizes = partition
    elif partition in COST_PARTITIONS:
        if costs is None:
            raise ValueError(f"partition {partition!r} goes by what units cost: give costs=…")
        sizes = COST_PARTITIONS[partition](costs, n_subnetworks, n_coarse_units, n_iterations)
    else:
        sizes = _look_up("partition", partition, PARTITIONS, *COST_PARTITIONS)(network.n_units, n_subnetworks)
    sizes = check(sizes, network.n_units)
    if len(sizes) != n_subnetworks:
        raise ValueError(f"partition {sizes} is for {len(sizes)} subnetworks, not {n_subnetworks}")
    return Tearing(network, sizes, n_coarse_units, preprocess, coarse_factory, seed)


def interface_factories(
    network: FeedForward,
    *,
    preprocess: str | PreprocessFactory = "auto",
    coarse: str | CoarseFactory = "units",
) -> tuple[PreprocessFactory, CoarseFactory]:
    """The factories of C^j, j > 1, and of F^j that :func:`plan_tearing` takes for these arguments.

    Raises:
        ValueError: an unknown name.
    """
    if preprocess == "auto":
        preprocess = network.interface_preprocess or OwnPreprocess(network)
    elif isinstance(preprocess, str):
        preprocess = _look_up("preprocess", preprocess, PREPROCESSES)
    if coarse == "units":
        coarse = network.coarse or OwnCoarse(network)
    elif isinstance(coarse, str):
        coarse = _look_up("coarse network", coarse, COARSE_NETWORKS)
    return preprocess, coarse


def _count(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def _look_up(kind: str, name: str, registry: dict[str, Entry], *others: str) -> Entry:
    """The registry's entry, or an error that lists the names there are, ``others`` included."""
    if name not in registry:
        raise ValueError(f"unknown {kind} {name!r}: choose one of {', '.join([*registry, *others])}")
    return registry[name]
