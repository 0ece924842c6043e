"""How long one training step takes, from what its components cost.

     subnetwork j                        driver
     C^j, g^j, C^{j+1}    ── r_j ──▶     F^j as the r_j arrive, h and loss
                                         backward: h, then F^{N−1} … F^1
     C^{j+1}, g^j, C^j    ◀─ ∂L/∂r_j ─   each sent at once, last subnetwork first

With K iterations, subnetwork j takes part in some of them (:func:`models.iterations.windows`), with g^j alone
but in the first, and what the driver has found of one, r̃_{j−1}, is what it waits for in the next.

Two answers: :func:`paper_sum` is the paper's, and :func:`critical_path` what an ideal cluster takes.
:func:`models.schedules.gangs` adds transfers, a limited number of cores, and steps that overlap.
"""

from dataclasses import dataclass
from functools import cached_property

from models.iterations import windows


@dataclass(frozen=True)
class Cost:
    """Seconds of one pass through a component, each way; the costs of a chain add up."""

    forward: float
    backward: float

    @property
    def total(self) -> float:
        """Seconds of both ways."""
        return self.forward + self.backward

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.forward + other.forward, self.backward + other.backward)

    def scaled(self, factor: float) -> "Cost":
        """So many times as long."""
        return Cost(factor * self.forward, factor * self.backward)


@dataclass(frozen=True)
class StepCosts:
    """What the components of a parareal network cost in one training step.

    Attributes:
        preprocess: C^1 … C^N.
        subnetworks: g^1 … g^N.
        coarse_network: F^1 … F^{N−1}.
        postprocess: h with the loss.
        interface_bytes: size of r_1 … r_{N−1}, y_N and of their gradients; empty if transfers are free.
        optimizers: seconds of the optimizer steps of subnetworks 1 … N and of the driver; empty if free.
        n_iterations: K.

    Raises:
        ValueError: the numbers of entries do not fit together, or K is not among 1 … N.
    """

    preprocess: tuple[Cost, ...]
    subnetworks: tuple[Cost, ...]
    coarse_network: tuple[Cost, ...]
    postprocess: Cost
    interface_bytes: tuple[int, ...] = ()
    optimizers: tuple[float, ...] = ()
    n_iterations: int = 1

    def __post_init__(self) -> None:
        n = self.n_subnetworks
        _ = self.windows  # refuses a K that cannot be
        for name, needed, may_be_empty in (
            ("preprocess", n, False),
            ("coarse_network", n - 1, False),
            ("interface_bytes", n, True),
            ("optimizers", n + 1, True),
        ):
            entries = getattr(self, name)
            if len(entries) != needed and (entries or not may_be_empty):
                raise ValueError(f"{n} subnetworks take {needed} costs of {name}, not {len(entries)}")

    @property
    def n_subnetworks(self) -> int:
        """N."""
        return len(self.subnetworks)

    @cached_property
    def windows(self) -> list[range]:
        """The subnetworks j of each iteration."""
        return windows(self.n_subnetworks, self.n_iterations)

    def forward(self, j: int, k: int = 1) -> float:
        """Seconds of subnetwork j (1-based) in iteration k until it can send what the driver waits for.

        In the first iteration, C^j, g^j and its replica of C^{j+1}, which it needs for r_j; then g^j alone.
        """
        return self.subnetworks[j - 1].forward + sum(c.forward for c in self._beside(j, k))

    def backward(self, j: int, k: int = 1) -> float:
        """Seconds of subnetwork j after ∂L/∂r_j of iteration k has come."""
        return self.subnetworks[j - 1].backward + sum(c.backward for c in self._beside(j, k))

    def optimizer(self, j: int) -> float:
        """Seconds of subnetwork j's optimizer step."""
        return self.optimizers[j - 1] if self.optimizers else 0.0

    def _beside(self, j: int, k: int) -> tuple[Cost, ...]:
        """C^j and C^{j+1}, if iteration k computes them."""
        return self.preprocess[j - 1 : min(j + 1, self.windows[0].stop - 1)] if k == 1 else ()

    @property
    def driver_optimizer(self) -> float:
        """Seconds of the driver's optimizer step."""
        return self.optimizers[-1] if self.optimizers else 0.0


def paper_sum(costs: StepCosts) -> float:
    """The paper's virtual wall-clock (Table 2), seconds: what runs in parallel counts as its maximum.

    max_j C^j + max_j g^j + Σ_j F^j + h, each forward and backward; without replicas and optimizers. Of
    several iterations, each has its max_j g^j and its Σ_j F^j.
    """
    seconds = max(c.total for c in costs.preprocess) + costs.postprocess.total
    for window in costs.windows:
        seconds += max(costs.subnetworks[j - 1].total for j in window)
        seconds += sum(costs.coarse_network[j - 1].total for j in window[:-1])
    return seconds


def critical_path(costs: StepCosts) -> float:
    """Seconds of the longest chain through one step: a device for every actor, communication for free.

    Of one iteration, with A_j = :meth:`StepCosts.forward` and B_j = :meth:`StepCosts.backward` with the
    optimizer, r̃_j is there after a_j:

        a_1 = A_1,  a_{j+1} = max(a_j + F^j forward, A_{j+1})

    and once ∂L/∂r̃_j is there, the driver and subnetworks 1 … j still take b_j:

        b_1 = max(B_1, the driver's optimizer),  b_{j+1} = max(b_j + F^j backward, B_{j+1})

    Of several, subnetwork j begins iteration k when it is done with k − 1 and r̃_{j−1} of that is there; on
    the way back, ∂L/∂r̃_{j−1} of k − 1 takes what comes of j in k.
    """
    done = dict.fromkeys(range(1, costs.n_subnetworks + 1), 0.0)  # when subnetwork j is, so far
    driver, known, returned = 0.0, dict[tuple[int, int], float](), dict[tuple[int, int], float]()
    for k, window in enumerate(costs.windows, start=1):
        for j in window:
            done[j] = max(done[j], known.get((j - 1, k - 1), 0.0)) + costs.forward(j, k)
            known[j, k] = driver = max(driver, done[j])
            driver += costs.coarse_network[j - 1].forward if j != window[-1] else 0.0
    driver += costs.postprocess.total
    for k, window in reversed([*enumerate(costs.windows, start=1)]):
        for j in reversed(window):
            driver += costs.coarse_network[j - 1].backward if j != window[-1] else 0.0
            driver = max(driver, returned.get((j + 1, k + 1), 0.0))
            returned[j, k] = done[j] = max(done[j], driver) + costs.backward(j, k)
    ends = [end + costs.optimizer(j) for j, end in done.items()]
    return max(*ends, driver + costs.driver_optimizer)
