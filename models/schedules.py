"""What actors do in training steps: the programs of every way to use devices, for :mod:`models.simulation`.

A torn gang's actors do what those of a trial do, in the same order. As there, none waits for the end of a
step: a subnetwork that is done with one starts the next, while others are still at work.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from models.iterations import iterations_of
from models.simulation import IDEAL, Machine, Program, Reduce, Send, Wait, Work, play
from models.step_time import Cost, StepCosts

Pipeline = Literal["gpipe", "1f1b", "interleaved"]

DRIVER = 0
"""The driver's number in its gang; the subnetworks are 1 … N."""


class Bucket(NamedTuple):
    """Gradients that are summed over a group together.

    Attributes:
        seconds: of the backward pass, from where the bucket before was full.
        n_bytes: of the gradients.
    """

    seconds: float
    n_bytes: int


BUCKET_BYTES = 25 * 2**20
"""What torch's DistributedDataParallel sums together."""


def buckets(parts: Sequence[tuple[float, int]]) -> list[Bucket]:
    """Share out a backward pass.

    Args:
        parts: seconds and bytes of gradients, in the order of the backward pass.
    """
    filled, seconds, n_bytes = [], 0.0, 0
    for part_seconds, part_bytes in parts:
        seconds, n_bytes = seconds + part_seconds, n_bytes + part_bytes
        if n_bytes >= BUCKET_BYTES:
            filled.append(Bucket(seconds, n_bytes))
            seconds, n_bytes = 0.0, 0
    return [*filled, Bucket(seconds, n_bytes)] if seconds or n_bytes else filled


# Parareal


class Replicas(NamedTuple):
    """Gangs that train one network on shares of every batch.

    Attributes:
        n_all: how many.
        n_played: of these; where all take the same time, one is enough.
        gradient_bytes: of subnetworks 1 … N, and of the driver.
    """

    n_all: int
    n_played: int
    gradient_bytes: tuple[int, ...]


def gangs(costs: StepCosts, n_steps: int, replicas: Replicas | None = None) -> list[Program]:
    """A driver and N subnetworks, or as many gangs of them as there are replicas, one after the other."""
    return [
        program
        for gang in range(replicas.n_played if replicas else 1)
        for program in _Gang(costs, n_steps, gang, replicas).programs()
    ]


def gang_seconds(costs: StepCosts, machine: Machine = IDEAL, *, n_steps: int = 4) -> float:
    """Seconds a step of one gang, where one follows the other without a pause between them."""
    return play(gangs(costs, n_steps), machine)[-1].end / n_steps


class _Gang(NamedTuple):
    costs: StepCosts
    n_steps: int
    gang: int
    replicas: Replicas | None

    def programs(self) -> list[Program]:
        return [self.driver(), *map(self.subnetwork, range(1, self.costs.n_subnetworks + 1))]

    def subnetwork(self, j: int) -> Program:
        ks = iterations_of(j, self.costs.n_subnetworks, self.costs.n_iterations)
        for step in range(self.n_steps):
            for k in ks:
                if k > 1:
                    yield Wait(self.named("correction", j, k, step))
                yield Work("subnetwork.forward", step, self.costs.forward(j, k))
                yield self.send("residual", j, k, step, to=DRIVER)
            for k in reversed(ks):
                yield Wait(self.named("gradient", j, k, step))
                yield Work("subnetwork.backward", step, self.costs.backward(j, k))
                if k > 1:
                    yield self.send("correction gradient", j, k, step, to=DRIVER)
            yield from self.averaged(j, step)
            yield Work("subnetwork.optimizer", step, self.costs.optimizer(j))

    def driver(self) -> Program:
        iterations = [*enumerate(self.costs.windows, start=1)]
        last = self.costs.n_iterations
        for step in range(self.n_steps):
            for k, window in iterations:
                for j in window:
                    yield Wait(self.named("residual", j, k, step))
                    if k < last:
                        yield self.send("correction", j + 1, k + 1, step, to=j + 1)
                    if j != window[-1]:
                        coarse = self.costs.coarse_network[j - 1]
                        yield Work("coarse_network.forward", step, coarse.forward)
            yield Work("postprocess.forward", step, self.costs.postprocess.forward)
            yield Work("postprocess.backward", step, self.costs.postprocess.backward)
            for k, window in reversed(iterations):
                for j in reversed(window):
                    if j != window[-1]:
                        coarse = self.costs.coarse_network[j - 1]
                        yield Work("coarse_network.backward", step, coarse.backward)
                    if k < last:
                        yield Wait(self.named("correction gradient", j + 1, k + 1, step))
                    yield self.send("gradient", j, k, step, to=j)
            yield from self.averaged(DRIVER, step)
            yield Work("driver.optimizer", step, self.costs.driver_optimizer)

    def named(self, name: str, j: int, k: int, step: int) -> tuple[object, ...]:
        return name, self.gang, j, k, step

    def send(self, name: str, j: int, k: int, step: int, *, to: int) -> Send:
        """r_j, the correction of what g^j reads, or their gradients."""
        interface = j - name.startswith("correction")
        n_bytes = self.costs.interface_bytes[interface - 1] if self.costs.interface_bytes else 0
        return Send(self.named(name, j, k, step), to + self.gang * (self.costs.n_subnetworks + 1), n_bytes)

    def averaged(self, j: int, step: int) -> Program:
        """The gradients' way over the gangs."""
        if self.replicas:
            n_bytes = self.replicas.gradient_bytes[j - 1]  # the driver's are the last
            name = "gradients", j, step
            yield Reduce(name, ("holders", j), self.replicas.n_played, self.replicas.n_all, n_bytes)
            yield Wait(name)


# Data parallel


def workers(
    forward: float, backward: Sequence[Bucket], n_all: int, n_played: int, n_steps: int
) -> list[Program]:
    """Workers that compute on shares of every batch; gradients travel while others are still computed."""
    return [_worker(forward, backward, n_all, n_played, n_steps) for _ in range(n_played)]


def _worker(forward: float, backward: Sequence[Bucket], n_all: int, n_played: int, n_steps: int) -> Program:
    for step in range(n_steps):
        yield Work("worker.forward", step, forward)
        for i, bucket in enumerate(backward):
            yield Work("worker.backward", step, bucket.seconds)
            yield Reduce(("gradients", i, step), "workers", n_played, n_all, bucket.n_bytes)
        for i in range(len(backward)):
            yield Wait(("gradients", i, step))
        yield Work("worker.optimizer", step, 0.0)


# Pipelines


def pipeline(
    costs: Sequence[Cost],
    n_microbatches: int,
    schedule: Pipeline,
    sent_bytes: Sequence[int],
    n_steps: int,
    *,
    n_stages: int | None = None,
) -> list[Program]:
    """Stages through which every batch goes in micro-batches.

    Args:
        costs: of each piece of the network with one micro-batch.
        n_microbatches: M.
        schedule: GPipe: every micro-batch forth, then every one back; 1F1B: back as soon as forth;
            interleaved: the same, where a stage has several pieces, which are dealt out in turns
            (Narayanan et al., 2021).
        sent_bytes: of each piece's activation and of its gradient, of one micro-batch; the last are not sent.
        n_steps: training steps; all stages begin one together.
        n_stages: that many actors; None: one for each piece.
    """
    n = n_stages or len(costs)
    return [
        _stage(stage, costs, _order(stage, n, len(costs), n_microbatches, schedule), sent_bytes, n, n_steps)
        for stage in range(n)
    ]


def _stage(
    stage: int,
    costs: Sequence[Cost],
    order: Sequence[tuple[str, int, int]],
    sent_bytes: Sequence[int],
    n_stages: int,
    n_steps: int,
) -> Program:
    last = len(costs) - 1
    for step in range(n_steps):
        for way, piece, m in order:
            before, after = (piece - 1, piece + 1) if way == "forward" else (piece + 1, piece - 1)
            if 0 <= before <= last:
                yield Wait((way, piece, m, step))
            yield Work(f"stage.{way}", step, getattr(costs[piece], way))
            if 0 <= after <= last:
                n_bytes = sent_bytes[min(piece, after)]
                yield Send((way, after, m, step), after % n_stages, n_bytes)
        yield Reduce(("loss", step), "stages", n_stages, n_stages, 0)
        yield Wait(("loss", step))


def _order(
    stage: int, n_stages: int, n_pieces: int, n_microbatches: int, schedule: Pipeline
) -> list[tuple[str, int, int]]:
    """What a stage does: which way, piece and micro-batch."""
    n_own = n_pieces // n_stages
    if schedule == "gpipe":
        ahead = n_microbatches
    elif schedule == "1f1b":
        ahead = n_stages - stage
    else:
        ahead = 2 * (n_stages - stage - 1) + (n_own - 1) * n_stages + 1
    n_all = n_microbatches * n_own
    ahead = min(ahead, n_all)

    def taken(i: int, way: str) -> tuple[str, int, int]:
        """A stage's i-th: groups of as many micro-batches as stages, each through all its pieces."""
        round_, rest = divmod(i, n_stages * n_own)
        own, m = divmod(rest, n_stages)
        own = own if way == "forward" else n_own - 1 - own
        return way, own * n_stages + stage, round_ * n_stages + m

    forward = [taken(i, "forward") for i in range(n_all)]
    backward = [taken(i, "backward") for i in range(n_all)]
    if n_own == 1:
        forward = [("forward", stage, m) for m in range(n_microbatches)]
        backward = [("backward", stage, m) for m in range(n_microbatches)]
    turns = [one for pair in zip(backward, forward[ahead:], strict=False) for one in pair]
    return [*forward[:ahead], *turns, *backward[len(forward[ahead:]) :]]


def most_at_once(stage: int, n_stages: int, n_pieces: int, n_microbatches: int, schedule: Pipeline) -> int:
    """How many activations of its pieces a stage keeps at most for their backward passes."""
    kept = most = 0
    for way, _, _ in _order(stage, n_stages, n_pieces, n_microbatches, schedule):
        kept += 1 if way == "forward" else -1
        most = max(most, kept)
    return most
