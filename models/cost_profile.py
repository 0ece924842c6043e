"""What the components of a network cost, measured once: the step time of every partition follows.

Components are built, timed and dropped one after the other, round by round, so that only one needs to
fit in memory and a passing load on the machine falls on all of them alike. Needs torch only.
"""

from collections import Counter
from collections.abc import Collection, Hashable, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from itertools import accumulate, combinations, pairwise
from math import inf, prod
from statistics import median
from typing import Any

from torch import nn

from models.compute import Compute
from models.feedforward import CoarseFactory, FeedForward, PreprocessFactory, Shape
from models.initialisation import ModuleFactory, as_factory, seeded
from models.partition import check
from models.recorder import WARMUP
from models.step_time import Cost, StepCosts
from models.timing import CPU, Component


@dataclass(frozen=True)
class CostProfile:
    """Measured costs of a network's components, by unit and by shape.

    Attributes:
        shapes: ``shapes[i]`` is what unit i reads (0-based), ``shapes[-1]`` what the postprocess reads.
        units: of each unit.
        preprocess: of C^1.
        interface_preprocess: of C^j, j > 1, by the shape that g^j reads; infinite where there is none.
        coarse: of F^j, by the shapes that g^{j+1} reads and returns and by N_c; infinite where there is
            none.
        postprocess: of h with the loss.
        batch_size: samples in a batch.
        element_bytes: size of one number of an activation.
    """

    shapes: tuple[Shape, ...]
    units: tuple[Cost, ...]
    preprocess: Cost
    interface_preprocess: dict[Shape, Cost]
    coarse: dict[tuple[Shape, Shape, int], Cost]
    postprocess: Cost
    batch_size: int
    element_bytes: int

    @property
    def n_units(self) -> int:
        """Number of units of g."""
        return len(self.units)

    def preprocess_at(self, start: int) -> Cost:
        """C^j of the subnetwork that begins with unit ``start``."""
        return self.interface_preprocess[self.shapes[start]] if start else self.preprocess

    def coarse_at(self, start: int, stop: int, n_coarse_units: int) -> Cost:
        """F^j where g^{j+1} is the units ``start`` … ``stop − 1``.

        Raises:
            ValueError: this N_c was not measured.
        """
        key = (self.shapes[start], self.shapes[stop], n_coarse_units)
        if key not in self.coarse:
            measured = ", ".join(map(str, sorted({n for _, _, n in self.coarse}))) or "none"
            raise ValueError(
                f"coarse networks of {n_coarse_units} units were not measured, only of {measured}: "
                f"measure the profile with n_coarse_units=({n_coarse_units},)"
            )
        return self.coarse[key]

    def step_costs(self, sizes: Sequence[int], n_coarse_units: int) -> StepCosts:
        """What the components cost with these units per subnetwork.

        Raises:
            ValueError: the sizes do not hold every unit once, or this N_c was not measured.
        """
        cuts = [0, *accumulate(check(sizes, self.n_units))]
        subnetworks = list(pairwise(cuts))
        return StepCosts(
            preprocess=tuple(self.preprocess_at(start) for start, _ in subnetworks),
            subnetworks=tuple(sum(self.units[start:stop], Cost(0.0, 0.0)) for start, stop in subnetworks),
            coarse_network=tuple(
                self.coarse_at(start, stop, n_coarse_units) for start, stop in subnetworks[1:]
            ),
            postprocess=self.postprocess,
            interface_bytes=tuple(
                prod(self.shapes[stop]) * self.batch_size * self.element_bytes for _, stop in subnetworks
            ),
        )

    def to_dict(self) -> dict[str, Any]:
        """Lists, numbers and strings, for :func:`json.dumps`; :meth:`from_dict` takes it back."""
        return {
            "shapes": self.shapes,
            "units": [astuple(unit) for unit in self.units],
            "preprocess": astuple(self.preprocess),
            "interface_preprocess": [
                {"reads": shape, "cost": astuple(cost)} for shape, cost in self.interface_preprocess.items()
            ],
            "coarse": [
                {"reads": reads, "returns": returns, "n_units": n, "cost": astuple(cost)}
                for (reads, returns, n), cost in self.coarse.items()
            ],
            "postprocess": astuple(self.postprocess),
            "batch_size": self.batch_size,
            "element_bytes": self.element_bytes,
        }

    @classmethod
    def from_dict(cls, profile: dict[str, Any]) -> "CostProfile":
        """What :meth:`to_dict` returned, also after a way through JSON."""
        return cls(
            shapes=tuple(map(tuple, profile["shapes"])),
            units=tuple(Cost(*unit) for unit in profile["units"]),
            preprocess=Cost(*profile["preprocess"]),
            interface_preprocess={
                tuple(entry["reads"]): Cost(*entry["cost"]) for entry in profile["interface_preprocess"]
            },
            coarse={
                (tuple(entry["reads"]), tuple(entry["returns"]), entry["n_units"]): Cost(*entry["cost"])
                for entry in profile["coarse"]
            },
            postprocess=Cost(*profile["postprocess"]),
            batch_size=profile["batch_size"],
            element_bytes=profile["element_bytes"],
        )


IMPOSSIBLE = Cost(inf, inf)
"""Of a C^j or F^j that cannot be built for these shapes: no partition with it has a finite step time."""

RUN = 4
"""Equal units timed in one go. A single one seems dearer than it is in a chain, by a third for the largest
images on a CPU: what happens only at a chain's ends, and allocating memory, weigh more."""


@seeded(0, "cost profile")
def measure_profile(
    network: FeedForward,
    *,
    preprocess: PreprocessFactory,
    coarse: CoarseFactory,
    n_coarse_units: Collection[int],
    batch_size: int,
    compute: Compute = CPU,
    repeats: int = 5,
) -> CostProfile:
    """Time the units, C, h with the loss, and C^j and F^j for all shapes that they may meet; random input.

    Units that print alike, read and return the same shapes and have as many parameters are of one kind:
    they cost the same, and one stands for all.

    Args:
        network: what is to be torn.
        preprocess: factory of C^j, j > 1.
        coarse: factory of F^j.
        n_coarse_units: every N_c to measure.
        batch_size: samples per batch.
        compute: where and how to run.
        repeats: rounds, the median of which counts. In each round every component passes twice, and the
            second time is measured; more often where graphs have to be recorded before.
    """
    image, shapes = network.input_shape, network.trace.shapes
    interfaces = dict.fromkeys(shapes[1:-1])
    jumps = [(*pair, n) for pair in dict.fromkeys(combinations(shapes[1:], 2)) for n in n_coarse_units]
    kinds = [_kind(network, i) for i in range(network.n_units)]

    components: dict[Hashable, Component] = {
        "C": Component(as_factory(network.preprocess), image, is_preprocess=True),
        "h": Component(as_factory(network.postprocess), shapes[-1], with_loss=True),
    }
    lengths: dict[Hashable, int] = {}
    for kind, count in Counter(kinds).items():
        i = kinds.index(kind)
        lengths[kind] = min(count, RUN) if shapes[i] == shapes[i + 1] else 1
        row = partial(_row, as_factory(network.units[i]), lengths[kind])
        components[kind] = Component(row, shapes[i])
    for shape in interfaces:
        components["C", shape] = Component(partial(preprocess, image, shape), image, is_preprocess=True)
    for jump in jumps:
        components["F", *jump] = Component(partial(coarse, *jump), jump[0], corrects=jump[1])

    possible = {name: component for name, component in components.items() if _can_be_built(component)}
    rounds = [
        {name: _time(component, batch_size, compute) for name, component in possible.items()}
        for _ in range(repeats)
    ]
    costs = dict.fromkeys(components, IMPOSSIBLE)
    for name in possible:
        forward = median(one[name].forward for one in rounds)
        backward = median(one[name].backward for one in rounds)
        length = lengths.get(name, 1)
        costs[name] = Cost(forward / length, backward / length)
    return CostProfile(
        shapes,
        tuple(costs[kind] for kind in kinds),
        costs["C"],
        {shape: costs["C", shape] for shape in interfaces},
        {jump: costs["F", *jump] for jump in jumps},
        costs["h"],
        batch_size,
        compute.activation_dtype.itemsize,
    )


def _can_be_built(component: Component) -> bool:
    """Whether the factory knows a way between the shapes."""
    try:
        component.build()
    except ValueError:
        return False
    return True


def _time(component: Component, batch_size: int, compute: Compute) -> Cost:
    """The first typical pass through a new copy."""
    passes = component.passes(batch_size, compute)
    for _ in range(1 + (WARMUP + 1) * compute.graphs):
        passes()
    return passes()


def _row(build: ModuleFactory, length: int) -> nn.Module:
    """``length`` modules in a row."""
    return nn.Sequential(*(build() for _ in range(length)))


def _kind(network: FeedForward, i: int) -> Hashable:
    """What unit i has in common with those that cost the same."""
    trace = network.trace
    module = as_factory(network.units[i])()
    return repr(module), trace.shapes[i], trace.shapes[i + 1], trace.unit_parameters[i]
