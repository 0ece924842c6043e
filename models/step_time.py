"""How long one training step takes, from what its components cost.

     subnetwork j                        driver
     C^j, g^j, C^{j+1}    ── r_j ──▶     F^j as the r_j arrive, h and loss
                                         backward: h, then F^{N−1} … F^1
     C^{j+1}, g^j, C^j    ◀─ ∂L/∂r_j ─   each sent at once, last subnetwork first

With K iterations, subnetwork j takes part in some of them (:func:`models.iterations.windows`), with g^j alone
but in the first, and what the driver has found of one, r̃_{j−1}, is what it waits for in the next.

Three answers: :func:`paper_sum` is the paper's, :func:`critical_path` what an ideal cluster takes, and
:func:`simulate` adds transfers, a limited number of cores, and steps that overlap.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from models.iterations import iterations_of, windows


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

    @property
    def windows(self) -> list[range]:
        """The subnetworks j of each iteration."""
        return windows(self.n_subnetworks, self.n_iterations)

    def forward(self, j: int, k: int = 1) -> float:
        """Seconds of subnetwork j (1-based) in iteration k until it can send what the driver waits for.

        In the first iteration, C^j, g^j and its replica of C^{j+1}, which it needs for r_j; then g^j alone.
        """
        return self.subnetworks[j - 1].forward + sum(c.forward for c in self._beside(j, k))

    def backward(self, j: int, k: int = 1) -> float:
        """Seconds of subnetwork j after ∂L/∂r_j of iteration k has come.

        With its optimizer step, where no earlier iteration is left to go back through.
        """
        seconds = self.subnetworks[j - 1].backward + sum(c.backward for c in self._beside(j, k))
        last = k == iterations_of(j, self.n_subnetworks, self.n_iterations)[0]
        return seconds + (self.optimizers[j - 1] if self.optimizers and last else 0.0)

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

    Of one iteration, with A_j = :meth:`StepCosts.forward` and B_j = :meth:`StepCosts.backward`, r̃_j is
    there after a_j:

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
    return max(*done.values(), driver + costs.driver_optimizer)


DRIVER = 0
"""The driver's number among the actors; the subnetworks are 1 … N."""


class Span(NamedTuple):
    """One computation of one actor.

    Attributes:
        actor: j of the subnetwork, or :data:`DRIVER`.
        activity: ``"subnetwork.forward"``, ``"coarse_network.backward"``, …
        step: 0-based.
        start: when it began, seconds since the beginning of the first step.
        end: when it was done.
    """

    actor: int
    activity: str
    step: int
    start: float
    end: float


def simulate(
    costs: StepCosts,
    *,
    n_cores: int | None = None,
    bandwidth: float = math.inf,
    latency: float = 0.0,
    n_steps: int = 1,
) -> list[Span]:
    """Play training steps through, event by event.

    N + 1 actors do what those of a trial do, in the same order. As there, none waits for the end of a
    step: a subnetwork that is done with one starts the next, while others are still at work. Where more
    actors compute than there are cores, they share them equally, as Linux has processes do that are
    not pinned. Transfers do not slow each other down; those of replicas are taken to be in time.

    Args:
        costs: of the components.
        n_cores: cores of the machine; None gives every actor a device of its own.
        bandwidth: bytes per second of a transfer.
        latency: seconds that every transfer takes on top.
        n_steps: training steps, one after the other.

    Returns:
        All computations in the order in which they end: the last one's ``end`` is the duration. That is
        :func:`critical_path` for one step without transfers and a device for every actor.
    """
    cores = math.inf if n_cores is None else n_cores
    return _Simulation(costs, cores, bandwidth, latency, n_steps).run()


class _Message(NamedTuple):
    """What an actor sends and another waits for in an iteration: r_j, its correction of what g^j reads
    ("correction"), and their gradients."""

    name: str
    j: int
    k: int
    step: int


@dataclass
class _Work:
    """A computation under way; ``left`` are the seconds it still needs on a core of its own."""

    activity: str
    step: int
    left: float
    start: float


_Program = Iterator[_Work | _Message]
"""What an actor does: it yields what it computes, and the messages without which it cannot go on."""


@dataclass
class _Simulation:
    costs: StepCosts
    n_cores: float
    bandwidth: float
    latency: float
    n_steps: int

    def __post_init__(self) -> None:
        self.now = 0.0
        self.arrivals: dict[_Message, float] = {}

    def run(self) -> list[Span]:
        programs = [self.driver(), *map(self.subnetwork, range(1, self.costs.n_subnetworks + 1))]
        doing = {actor: next(program) for actor, program in enumerate(programs)}
        spans: list[Span] = []
        while doing:
            computing = [work for work in doing.values() if isinstance(work, _Work)]
            share = min(1.0, self.n_cores / max(1, len(computing)))
            due = {actor: self.when(activity, share) for actor, activity in doing.items()}
            before, self.now = self.now, min(due.values())
            for work in computing:
                work.left -= (self.now - before) * share
            for actor in [actor for actor, time in due.items() if time == self.now]:
                done = doing.pop(actor)
                if isinstance(done, _Work):
                    spans.append(Span(actor, done.activity, done.step, done.start, self.now))
                following = next(programs[actor], None)
                if following is not None:
                    doing[actor] = following
        return spans

    def when(self, activity: _Work | _Message, share: float) -> float:
        """When the actor can go on, if nothing else happens before."""
        if isinstance(activity, _Work):
            return self.now + max(0.0, activity.left) / share
        return max(self.now, self.arrivals.get(activity, math.inf))

    def subnetwork(self, j: int) -> _Program:
        ks = iterations_of(j, self.costs.n_subnetworks, self.costs.n_iterations)
        for step in range(self.n_steps):
            for k in ks:
                if k > 1:
                    yield _Message("correction", j, k, step)
                yield self.work("subnetwork.forward", step, self.costs.forward(j, k))
                self.send(_Message("residual", j, k, step))
            for k in reversed(ks):
                yield _Message("gradient", j, k, step)
                yield self.work("subnetwork.backward", step, self.costs.backward(j, k))
                if k > 1:
                    self.send(_Message("correction gradient", j, k, step))

    def driver(self) -> _Program:
        iterations = [*enumerate(self.costs.windows, start=1)]
        last = self.costs.n_iterations
        for step in range(self.n_steps):
            for k, window in iterations:
                for j in window:
                    yield _Message("residual", j, k, step)
                    if k < last:
                        self.send(_Message("correction", j + 1, k + 1, step))
                    if j != window[-1]:
                        coarse = self.costs.coarse_network[j - 1]
                        yield self.work("coarse_network.forward", step, coarse.forward)
            yield self.work("postprocess.forward", step, self.costs.postprocess.forward)
            yield self.work("postprocess.backward", step, self.costs.postprocess.backward)
            for k, window in reversed(iterations):
                for j in reversed(window):
                    if j != window[-1]:
                        coarse = self.costs.coarse_network[j - 1]
                        yield self.work("coarse_network.backward", step, coarse.backward)
                    if k < last:
                        yield _Message("correction gradient", j + 1, k + 1, step)
                    self.send(_Message("gradient", j, k, step))
            yield self.work("driver.optimizer", step, self.costs.driver_optimizer)

    def work(self, activity: str, step: int, seconds: float) -> _Work:
        return _Work(activity, step, seconds, self.now)

    def send(self, message: _Message) -> None:
        interface = message.j - message.name.startswith("correction")
        size = self.costs.interface_bytes[interface - 1] if self.costs.interface_bytes else 0
        self.arrivals[message] = self.now + self.latency + size / self.bandwidth
