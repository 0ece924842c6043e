"""What each unit, C^j, F^j and h of a network cost, measured once: the step time of any partition follows."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import prod

from models.feedforward import Shape
from models.partition import check
from models.step_time import Cost, StepCosts


@dataclass(frozen=True)
class CostProfile:
    """Measured costs of a network's components, by unit and by shape.

    Attributes:
        shapes: ``shapes[i]`` is what unit i reads (0-based), ``shapes[-1]`` what the postprocess reads.
        units: of each unit.
        preprocess: of C^1.
        interface_preprocess: of C^j, j > 1, by the shape that g^j reads.
        coarse: of F^j, by the shapes that g^{j+1} reads and returns, and N_c.
        postprocess: of h with the loss.
        batch_size: samples a batch.
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
