"""What the components of a network cost: the step time of every partition follows."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from itertools import accumulate, pairwise
from math import inf, prod
from typing import Any

from models.feedforward import Shape
from models.sizes import check
from models.step_time import Cost, StepCosts


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

    def _units(self, start: int, stop: int) -> Cost:
        units = self.units[start:stop]
        return Cost(sum(unit.forward for unit in units), sum(unit.backward for unit in units))

    def step_costs(self, sizes: Sequence[int], n_coarse_units: int, n_iterations: int = 1) -> StepCosts:
        """What the components cost with these units per subnetwork.

        Raises:
            ValueError: the sizes do not hold every unit once, this N_c was not measured, or K is not among
                1 … N.
        """
        cuts = [0, *accumulate(check(sizes, self.n_units))]
        subnetworks = list(pairwise(cuts))
        return StepCosts(
            preprocess=tuple(self.preprocess_at(start) for start, _ in subnetworks),
            subnetworks=tuple(self._units(start, stop) for start, stop in subnetworks),
            coarse_network=tuple(
                self.coarse_at(start, stop, n_coarse_units) for start, stop in subnetworks[1:]
            ),
            postprocess=self.postprocess,
            interface_bytes=tuple(
                prod(self.shapes[stop]) * self.batch_size * self.element_bytes for _, stop in subnetworks
            ),
            n_iterations=n_iterations,
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


@dataclass(frozen=True)
class Shares:
    """What the components cost with batches of several sizes, such as the shares of a batch on D devices.

    Attributes:
        profiles: of the same components, by number of samples.
    """

    profiles: Mapping[int, CostProfile]

    def at(self, batch_size: int) -> CostProfile:
        """With so many samples; between two sizes that were measured, what the straight line says.

        Raises:
            ValueError: fewer samples than were ever measured, or more.
        """
        if batch_size in self.profiles:
            return self.profiles[batch_size]
        sizes = sorted(self.profiles)
        if not sizes[0] < batch_size < sizes[-1]:
            raise ValueError(
                f"costs of {batch_size} samples were not measured, only of {sizes[0]} to {sizes[-1]}"
            )
        low, high = next(pair for pair in pairwise(sizes) if pair[0] < batch_size < pair[1])
        return _between(
            self.profiles[low], self.profiles[high], (batch_size - low) / (high - low), batch_size
        )


def _between(low: CostProfile, high: CostProfile, part: float, batch_size: int) -> CostProfile:
    """Some part of the way from one profile to another."""

    def mix(a: Cost, b: Cost) -> Cost:
        return a.scaled(1 - part) + b.scaled(part)

    before, after = low.interface_preprocess, high.interface_preprocess
    return replace(
        low,
        units=tuple(map(mix, low.units, high.units)),
        preprocess=mix(low.preprocess, high.preprocess),
        interface_preprocess={shape: mix(before[shape], after[shape]) for shape in before},
        coarse={jump: mix(low.coarse[jump], high.coarse[jump]) for jump in low.coarse.keys() & high.coarse},
        postprocess=mix(low.postprocess, high.postprocess),
        batch_size=batch_size,
    )


def scaled(profile: CostProfile, factor: float, batch_size: int) -> CostProfile:
    """A profile with every cost so many times as long.

    For batches of another size with which only the whole network was measured.
    """
    return replace(
        profile,
        units=tuple(unit.scaled(factor) for unit in profile.units),
        preprocess=profile.preprocess.scaled(factor),
        interface_preprocess={
            shape: cost.scaled(factor) for shape, cost in profile.interface_preprocess.items()
        },
        coarse={jump: cost.scaled(factor) for jump, cost in profile.coarse.items()},
        postprocess=profile.postprocess.scaled(factor),
        batch_size=batch_size,
    )
