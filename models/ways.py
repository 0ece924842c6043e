"""Every way to use D devices for one network and batch: a step's time, what it needs, what it changes.

    serial, data parallel, GPipe, 1F1B, interleaved 1F1B, parareal, replicas × parareal

All from one set of costs and one machine, by the same simulation (:mod:`models.simulation`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, pairwise, product
from math import ceil, inf, prod
from typing import NamedTuple

from torch import nn

from models.cost_profile import CostProfile, Shares
from models.footprint import Footprint, Need, together
from models.initialisation import as_factory
from models.partition import COST_PARTITIONS, PARTITIONS, balanced
from models.profiling import kind_of
from models.schedules import Pipeline, Replicas, buckets, gangs, most_at_once, pipeline, workers
from models.simulation import IDEAL, Machine, Program, play
from models.sizes import Sizes
from models.step_time import Cost, critical_path

N_STEPS = 4
"""Steps that are played, where one begins before the other has ended."""

PIPELINES: dict[str, Pipeline] = {"GPipe": "gpipe", "1F1B": "1f1b", "interleaved 1F1B": "interleaved"}
PIECES = 2
"""Of the network, that a stage has if they are interleaved."""

REPLICAS = (2, 4, 8, 16)

SAME = "the network itself"
_SHARE = "a share of the batch"


class Way(NamedTuple):
    """One way to use so many devices.

    Attributes:
        name: such as ``"data parallel"``.
        n_devices: D.
        how: numbers of subnetworks, replicas, micro-batches.
        seconds: a step.
        memory_bytes: of the device that needs most: parameters, gradients, the optimizer's state, and what is
            kept for the backward pass; not what computing takes for a moment.
        sent_bytes: in a step, by the device that sends most.
        result: what it changes in what is trained.
    """

    name: str
    n_devices: int
    how: str
    seconds: float
    memory_bytes: float
    sent_bytes: float
    result: str


@dataclass(frozen=True)
class Interfaces:
    """A kind of C^j and F^j.

    Attributes:
        name: such as ``"shortcut"``.
        shares: what the components cost with it.
        footprint: what they need.
        n_coarse_units: N_c, by N.
    """

    name: str
    shares: Shares
    footprint: Footprint
    n_coarse_units: Callable[[int], int]


@dataclass(frozen=True)
class Ways:
    """The ways to use devices for one network, batch and machine.

    Args:
        batch_size: samples of a step.
        interfaces: with which it may be torn; costs of all else are the first one's.
        machine: what it runs on.
        weight_bytes: of one parameter.
        states: numbers that the optimizer keeps for each parameter.
        n_iterations: numbers of iterations K.
    """

    batch_size: int
    interfaces: tuple[Interfaces, ...]
    machine: Machine = IDEAL
    weight_bytes: int = 4
    states: int = 1
    n_iterations: tuple[int, ...] = (1,)
    _sizes: dict[tuple[str, str, int, int], Sizes | None] = field(default_factory=dict, repr=False)

    def on(self, n_devices: int) -> Iterator[Way]:
        """All ways to use so many devices; of pipelines and replicas those whose numbers suit them best."""
        ways: list[Way | None] = [self.serial] if n_devices == 1 else []
        if n_devices > 1:
            ways += [self.data_parallel(n_devices), *(self.pipeline(name, n_devices) for name in PIPELINES)]
        for kind in self.interfaces:
            for partition, k in product(("uniform", "staggered"), self.n_iterations):
                ways.append(self.parareal(kind, partition, n_devices - 1, k))
            numbers = [d for d in REPLICAS if d <= min(n_devices // 3, self.batch_size)]
            ways.append(_shortest(self.replicas(kind, d, n_devices // d - 1) for d in numbers))
        for way in ways:
            if way:
                yield way._replace(n_devices=n_devices)

    @cached_property
    def serial(self) -> Way:
        """One device."""
        network = self._profile.step_costs((self._profile.n_units,), 1)
        memory = self._memory(self._whole, self.batch_size)
        return Way("serial", 1, "", critical_path(network), memory, 0, SAME)

    def data_parallel(self, n_devices: int) -> Way | None:
        """The network on shares of the batch; gradients travel while others are still computed."""
        share = ceil(self.batch_size / n_devices)
        if n_devices > self.batch_size or not self._is_measured(share):
            return None
        profile = self._first.shares.at(share)
        forward = sum(c.forward for c in (profile.preprocess, *profile.units, profile.postprocess))
        parts = [
            (cost.backward, self.weight_bytes * need.parameters)
            for cost, need in (
                (profile.postprocess, self._first.footprint.postprocess),
                *reversed([*zip(profile.units, self._first.footprint.each_unit, strict=True)]),
                (profile.preprocess, self._first.footprint.preprocess_at(0)),
            )
        ]
        played = n_devices if self._differ else 1
        programs = workers(forward, buckets(parts), n_devices, played, N_STEPS)
        n_bytes = self.weight_bytes * self._whole.parameters
        return Way(
            "data parallel",
            n_devices,
            f"{share} each",
            self._seconds(programs, N_STEPS),
            self._memory(self._whole, share) + n_bytes,  # what is being summed
            _ring(n_bytes, n_devices),
            self._same_but(_SHARE),
        )

    def pipeline(self, name: str, n_stages: int, n_microbatches: int | None = None) -> Way | None:
        """The network in stages of equal cost; the best number of micro-batches, unless one is given."""
        schedule = PIPELINES[name]
        n_pieces = PIECES * n_stages if schedule == "interleaved" else n_stages
        if n_pieces > self._profile.n_units:
            return None
        if n_microbatches is None:
            least = 2 if schedule == "gpipe" else n_stages
            most = min(4 * n_stages, self.batch_size)
            numbers = [m for m in range(least, most + 1) if not self.batch_size % m]
            if schedule == "interleaved":
                numbers = [m for m in numbers if not m % n_stages]
            measured = [m for m in numbers if self._is_measured(self.batch_size // m)]
            return _shortest(self.pipeline(name, n_stages, m) for m in measured)
        size = self.batch_size // n_microbatches
        profile = self._first.shares.at(size)
        cuts = [0, *accumulate(balanced([unit.total for unit in self._profile.units], n_pieces))]
        pieces = [*pairwise(cuts)]
        costs = [sum(profile.units[start:stop], Cost(0.0, 0.0)) for start, stop in pieces]
        costs[0] += profile.preprocess
        costs[-1] += profile.postprocess
        needs = [self._first.footprint.units(start, stop) for start, stop in pieces]
        needs[0] = together(needs[0], self._first.footprint.preprocess_at(0))
        needs[-1] = together(needs[-1], self._first.footprint.postprocess)
        sent = [self._activation_bytes(stop, size) for _, stop in pieces]
        programs = pipeline(costs, n_microbatches, schedule, sent, 1, n_stages=n_stages)
        memory, sends = [], []
        for stage in range(n_stages):
            own = needs[stage::n_stages]
            at_once = most_at_once(stage, n_stages, n_pieces, n_microbatches, schedule) / len(own)
            memory.append(self._memory(together(*own), size * at_once))
            # Of each piece but the first a gradient, of each but the last an activation.
            around = [sent[p] for p in range(stage, n_pieces, n_stages) if p < n_pieces - 1]
            around += [sent[p - 1] for p in range(stage, n_pieces, n_stages) if p > 0]
            sends.append(n_microbatches * sum(around))
        return Way(
            name,
            n_stages,
            f"M = {n_microbatches}",
            self._seconds(programs, 1),
            max(memory),
            max(sends),
            self._same_but("a micro-batch"),
        )

    def parareal(self, kind: Interfaces, partition: str, n: int, n_iterations: int = 1) -> Way | None:
        """The network torn into N subnetworks, which a driver joins."""
        way = self._torn(kind, partition, n, n_iterations, 1)
        iterated = f", K = {n_iterations}" * (n_iterations > 1)
        return way and way._replace(name=f"parareal, {partition}, {kind.name}{iterated}", how=f"N = {n}")

    def replicas(self, kind: Interfaces, n_replicas: int, n: int) -> Way | None:
        """Gangs of N + 1 that share every batch; each subnetwork's gradients are averaged over them."""
        way = self._torn(kind, "staggered", n, 1, n_replicas)
        return way and way._replace(
            name=f"replicas × parareal, {kind.name}",
            how=f"{n_replicas} × (N = {n})",
            result=way.result + f", BatchNorm sees {_SHARE}" * self._has_norms,
        )

    def _torn(
        self, kind: Interfaces, partition: str, n: int, n_iterations: int, n_replicas: int
    ) -> Way | None:
        share = ceil(self.batch_size / n_replicas)
        sizes = self._partition(kind, partition, n, n_iterations) if n >= max(2, n_iterations) else None
        if sizes is None or not self._is_measured(share):
            return None
        n_coarse_units = kind.n_coarse_units(n)
        costs = kind.shares.at(share).step_costs(sizes, n_coarse_units, n_iterations)
        if critical_path(costs) == inf:  # a C^j or an F^j that cannot be
            return None
        cuts = [*pairwise([0, *accumulate(sizes)])]
        before = [kind.footprint.preprocess_at(start) for start, _ in cuts]
        units = [kind.footprint.units(start, stop) for start, stop in cuts]
        coarse = [kind.footprint.coarse_at(start, stop, n_coarse_units) for start, stop in cuts[1:]]
        driver = together(*coarse, kind.footprint.postprocess)
        held = [together(g, *before[j : j + 2]) for j, g in enumerate(units)]  # C^{j+1} too, to form r_j
        trained = [*map(together, units, before), driver]
        gradients = tuple(self.weight_bytes * need.parameters for need in trained)
        played = n_replicas if self._differ else 1
        replicas = Replicas(n_replicas, played, gradients) if n_replicas > 1 else None
        passes = 2 * n_iterations - 1  # ∂L/∂r_j; for each further iteration two more
        return Way(
            "parareal",
            n_replicas * (n + 1),
            "",
            self._seconds(gangs(costs, N_STEPS, replicas), N_STEPS),
            max(self._memory(need, share * n_iterations) for need in (*held, driver)),
            passes * sum(costs.interface_bytes) + _ring(gradients[-1], n_replicas),
            "another network",
        )

    def _partition(self, kind: Interfaces, partition: str, n: int, n_iterations: int) -> Sizes | None:
        """By the costs of a whole batch; None where there is no such partition."""
        key = kind.name, partition, n, n_iterations
        if key not in self._sizes:
            profile = kind.shares.at(self.batch_size)
            try:
                self._sizes[key] = (
                    PARTITIONS[partition](profile.n_units, n)
                    if partition in PARTITIONS
                    else COST_PARTITIONS[partition](profile, n, kind.n_coarse_units(n), n_iterations)
                )
            except ValueError:  # such as a number of units that the paper's rule cannot share out
                self._sizes[key] = None
        return self._sizes[key]

    @property
    def _first(self) -> Interfaces:
        return self.interfaces[0]

    @cached_property
    def _profile(self) -> CostProfile:
        return self._first.shares.at(self.batch_size)

    @cached_property
    def _whole(self) -> Need:
        footprint = self._first.footprint
        return together(footprint.preprocess_at(0), *footprint.each_unit, footprint.postprocess)

    @cached_property
    def _has_norms(self) -> bool:
        network = self._first.footprint.network
        kinds = {kind_of(network, i): unit for i, unit in enumerate(network.units)}
        sources = (network.preprocess, *kinds.values(), network.postprocess)
        return any(
            isinstance(module, nn.modules.batchnorm._BatchNorm)
            for source in sources
            for module in as_factory(source)().modules()
        )

    @property
    def _differ(self) -> bool:
        """Whether workers that do the same may take different times, or take them from each other."""
        return self.machine.spread > 0 or self.machine.n_cores is not None

    def _same_but(self, seen: str) -> str:
        return f"the network itself, but BatchNorm sees {seen}" if self._has_norms else SAME

    def _is_measured(self, n_samples: int) -> bool:
        return n_samples >= min(self._first.shares.profiles)

    def _memory(self, need: Need, n_samples: float) -> float:
        return need.parameters * self.weight_bytes * (2 + self.states) + need.kept * n_samples

    def _activation_bytes(self, stop: int, n_samples: int) -> int:
        return prod(self._profile.shapes[stop]) * n_samples * self._profile.element_bytes

    def _seconds(self, programs: Sequence[Program], n_steps: int) -> float:
        return play(programs, self.machine)[-1].end / n_steps


def _ring(n_bytes: int, n_members: int) -> float:
    """What a member of a group sends for a sum of so many bytes."""
    return 2 * (n_members - 1) / n_members * n_bytes


def _shortest(ways: Iterable[Way | None]) -> Way | None:
    return min((way for way in ways if way), key=lambda way: way.seconds, default=None)
