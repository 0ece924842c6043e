"""Plays what actors do through, event by event: they compute, send, wait, and add up over a group.

A program is what one actor does, in its order: an iterator of :class:`Work`, :class:`Send`, :class:`Wait` and
:class:`Reduce`. Those of each way to use devices are in :mod:`models.schedules`.
"""

import heapq
import math
import random
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Work(NamedTuple):
    """A computation of so many seconds on a device of its own.

    Attributes:
        activity: ``"subnetwork.forward"``, ``"stage.backward"``, …
        step: 0-based.
        seconds: see above.
    """

    activity: str
    step: int
    seconds: float


class Send(NamedTuple):
    """A message on its way to another actor; the sender goes on at once."""

    message: Hashable
    to: int
    n_bytes: int


class Wait(NamedTuple):
    """The actor does not go on before the message, or the sum of a :class:`Reduce`, is there."""

    message: Hashable


class Reduce(NamedTuple):
    """An actor's part of a sum over a group, whose members all get it; each goes on at once.

    Sums of one group are formed one after the other.

    Attributes:
        message: names the sum, to wait for it.
        group: names the group.
        n_members: of the group that are played; the sum begins with the last of them.
        n_all: of the group, also where they do all the same and one is played for all.
        n_bytes: what each member adds.
    """

    message: Hashable
    group: Hashable
    n_members: int
    n_all: int
    n_bytes: int


Program = Iterator[Work | Send | Wait | Reduce]


class Span(NamedTuple):
    """One computation of one actor.

    Attributes:
        actor: its number.
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


@dataclass(frozen=True)
class Machine:
    """What the actors run on.

    Attributes:
        n_cores: cores that they share equally, as Linux has processes do that are not pinned; None gives
            every actor a device of its own.
        crowding: by how much of its time a computation is longer where all cores compute, because they
            share caches and memory; with fewer, by their part.
        bandwidth: bytes per second that a device sends, and that it receives; transfers that meet at one
            take turns.
        latency: seconds that every transfer takes on top.
        spread: standard deviation of a computation's time, over its mean; the times are log-normal, and
            each is drawn anew.
        seed: of these draws.
    """

    n_cores: int | None = None
    crowding: float = 0.0
    bandwidth: float = math.inf
    latency: float = 0.0
    spread: float = 0.0
    seed: int = 0

    def rate(self, n_computing: int) -> float:
        """How fast each of so many computations goes on, 1 being on a device of its own."""
        if self.n_cores is None or not n_computing:
            return 1.0
        busy = min(n_computing, self.n_cores)
        crowd = self.crowding * (busy - 1) / max(1, self.n_cores - 1)
        return busy / n_computing / (1 + crowd)

    def all_reduce(self, n_bytes: int, n_members: int) -> float:
        """Seconds of a sum over a group, by the bytes of a ring and the rounds of a tree."""
        rounds = 2 * math.ceil(math.log2(n_members))
        return 2 * (n_members - 1) / n_members * n_bytes / self.bandwidth + rounds * self.latency


IDEAL = Machine()
"""A device for every actor, transfers for nothing."""


def play(programs: Sequence[Program], machine: Machine = IDEAL) -> list[Span]:
    """Play programs through; actors are numbered as they come.

    Returns:
        All computations in the order in which they end: the last one's ``end`` is the duration.

    Raises:
        ValueError: actors that wait for what never comes.
    """
    return _Play(machine, programs).run()


@dataclass
class _Play:
    machine: Machine
    programs: Sequence[Program]
    now: float = 0.0
    served: float = 0.0
    """Seconds of computation that whoever has computed all the time would have got so far."""
    computing: list[tuple[float, int, Work, float]] = field(default_factory=list)
    """By ``served`` at its end: actor, what, since when."""
    transfers: list[tuple[float, int, Hashable]] = field(default_factory=list)
    """By when they arrive; the number keeps their order."""

    def __post_init__(self) -> None:
        self.random = random.Random(self.machine.seed)
        self.arrived: set[Hashable] = set()
        self.waiting: dict[Hashable, list[int]] = defaultdict(list)
        self.members: dict[Hashable, int] = defaultdict(int)
        self.free: dict[Hashable, float] = defaultdict(float)  # from when on a way out, way in or group is
        self.spans: list[Span] = []

    def run(self) -> list[Span]:
        for actor in range(len(self.programs)):
            self.go_on(actor)
        while self.computing or self.transfers:
            rate = self.machine.rate(len(self.computing))
            end = self.now + (self.computing[0][0] - self.served) / rate if self.computing else math.inf
            if self.transfers and self.transfers[0][0] <= end:
                self.pass_time(self.transfers[0][0], rate)
                self.arrive(heapq.heappop(self.transfers)[2])
            else:
                self.pass_time(end, rate)
                self.served, actor, work, start = heapq.heappop(self.computing)
                self.spans.append(Span(actor, work.activity, work.step, start, self.now))
                self.go_on(actor)
        if self.waiting:
            raise ValueError(f"actors wait for what never comes: {', '.join(map(str, self.waiting))}")
        return self.spans

    def pass_time(self, until: float, rate: float) -> None:
        self.served += (until - self.now) * rate
        self.now = until

    def go_on(self, actor: int) -> None:
        """Let an actor do what takes it no time, up to where it computes, waits or ends."""
        for activity in self.programs[actor]:
            match activity:
                case Work():
                    ends = self.served + activity.seconds * self.factor()
                    heapq.heappush(self.computing, (ends, actor, activity, self.now))
                    return
                case Wait(message):
                    if message not in self.arrived:
                        self.waiting[message].append(actor)
                        return
                case Send():
                    self.transfer(activity, actor)
                case Reduce(message, group, n_members, n_all, n_bytes):
                    self.members[message] += 1
                    if self.members[message] == n_members:
                        self.occupy(message, self.machine.all_reduce(n_bytes, n_all), group)

    def transfer(self, message: Send, actor: int) -> None:
        """Begin a transfer as soon as sender and receiver are both free for it."""
        seconds = message.n_bytes / self.machine.bandwidth
        self.occupy(message.message, seconds, (actor, "out"), (message.to, "in"), late=self.machine.latency)

    def occupy(self, message: Hashable, seconds: float, *places: Hashable, late: float = 0.0) -> None:
        """Let something arrive that takes places so long, one after the other, and a little more."""
        end = max(self.now, *(self.free[place] for place in places)) + seconds
        self.free.update(dict.fromkeys(places, end))
        heapq.heappush(self.transfers, (end + late, len(self.arrived) + len(self.transfers), message))

    def arrive(self, message: Hashable) -> None:
        self.arrived.add(message)
        for actor in self.waiting.pop(message, ()):
            self.go_on(actor)

    def factor(self) -> float:
        """By how much this computation is longer than on average."""
        variance = math.log1p(self.machine.spread**2)
        return self.random.lognormvariate(-variance / 2, math.sqrt(variance)) if variance else 1.0
