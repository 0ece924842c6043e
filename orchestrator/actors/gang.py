"""The gang of one trial: the actors that live and die together.

A driver and N subnetworks ("parareal"), of each replica where there are several, N workers ("data_parallel"),
N stages ("gpipe", "1f1b"), or one actor with the whole network ("serial").
"""

from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from torch import Tensor

from models.tearing import Tearing
from orchestrator import ray_watch
from orchestrator.actors.actor import Actor, EpochReport
from orchestrator.actors.data_parallel import DataParallelActor
from orchestrator.actors.driver import DriverActor
from orchestrator.actors.liveness import SLOW_START, Watch
from orchestrator.actors.pipeline import PipelineActor
from orchestrator.actors.serial import SerialActor
from orchestrator.actors.subnetwork import SubnetworkActor
from orchestrator.actors.transport import TransportError
from orchestrator.cgroup import MemoryKills
from orchestrator.config import PIPELINES, TrialConfig
from orchestrator.devices import GangResources
from orchestrator.reason import reason


class GangError(RuntimeError):
    """An actor died or fell silent: the gang is of no use any more, a new one can go on."""


_OF_REPLICA = " of replica "


def part_of(name: str) -> str:
    """What of the network an actor has: ``"subnetwork-2"`` that of ``"subnetwork-2 of replica 3"``."""
    return name.partition(_OF_REPLICA)[0]


class Gang:
    """Starts the actors of a trial in a placement group and speaks to all of them at once.

    Bundle 0 of the group is the coordinator's own, the others hold the actors' devices in order (see
    :attr:`GangResources.bundles`): the driver's first, then those of subnetworks 1 to N, so that
    neighbours are on one host where they can be. Where the driver shares its GPU, the smallest subnetwork
    is its guest. Use as a context manager: the actors end with the block.

    Attributes:
        parts: the actors' names, see :func:`part_of`.
        actors: their handles, in the same order.
        backends: what the driver's tensors travel by, subnetwork 1's first, once connected.

    Any kind of actor has ``run_epoch``, ``restore`` and ``state``; of several, all have ``connect``.
    Every call ends: an actor that dies, or gives no sign of life for too long, ends the gang.

    Args:
        config: the trial.
        tearing: the torn network.
        data: the trial's :class:`~orchestrator.data.data.Data` in Ray's object store, which each
            host fetches once and its actors read without a copy.
        resources: what each actor reserves.
        group: the placement group.

    Raises:
        GangError: the group has lost a host, and no other takes its place.
    """

    def __init__(
        self,
        config: TrialConfig,
        tearing: Tearing,
        data: ray.ObjectRef[Any],
        resources: GangResources,
        group: PlacementGroup,
    ) -> None:
        self._memory_kills = MemoryKills()
        if not group.wait(SLOW_START):
            raise GangError(f"the devices of a lost host were not replaced within {SLOW_START:g} s")
        self._sizes = tearing.sizes
        n_places = resources.n_places_of_replica
        self._tearing = ray.put(tearing)  # once, with the modules that a user's network may hold

        def start(actor: type[Actor], device: int, *args: Any, guest_of: Any = None, **options: Any) -> Any:
            shares = resources.driver_shares and device % n_places == 0
            # The other has reserved the GPU: two halves of one might turn out as halves of two.
            reserved = resources if guest_of is None else guest_of.share_gpu.remote(resources)
            return (
                ray.remote(actor)
                .options(
                    num_cpus=resources.cpus / 2 if shares else resources.cpus,
                    num_gpus=resources.gpus if guest_of is None else 0,
                    scheduling_strategy=PlacementGroupSchedulingStrategy(
                        group, placement_group_bundle_index=resources.bundle(device)
                    ),
                )
                .remote(config, self._tearing, *args, data, reserved, **options)
            )

        js = range(1, config.n_subnetworks + 1)
        if config.strategy == "serial":
            self.parts = ["network"]
            self.actors = [start(SerialActor, 0)]
        elif config.strategy == "data_parallel":
            self.parts = [f"worker-{j}" for j in js]
            self.actors = [start(DataParallelActor, j - 1, j) for j in js]
        elif config.strategy in PIPELINES:
            self.parts = [f"stage-{j}" for j in js]
            self.actors = [start(PipelineActor, j - 1, j) for j in js]
        else:
            guest = 1 + tearing.sizes.index(min(tearing.sizes)) if resources.driver_shares else None
            devices = {guest: 0} | {j: k for k, j in enumerate((j for j in js if j != guest), start=1)}
            self.parts, self.actors = [], []
            for replica in range(1, config.n_replicas + 1):
                first = (replica - 1) * n_places
                driver = start(DriverActor, first, replica=replica)
                self.actors.append(driver)
                for j in js:
                    host = driver if j == guest else None
                    at = first + devices[j]
                    self.actors.append(start(SubnetworkActor, at, j, guest_of=host, replica=replica))
                which = f"{_OF_REPLICA}{replica}" * (replica > 1)
                self.parts += [f"{part}{which}" for part in ("driver", *(f"subnetwork-{j}" for j in js))]

    def __enter__(self) -> "Gang":
        """The gang itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End all actors at once."""
        for actor in self.actors:
            ray.kill(actor)

    def connect(self, timeout: float) -> None:
        """Link the actors; ``timeout`` seconds is how long each is waited for from now on.

        Raises:
            GangError: an actor is gone or silent.
        """
        self._watch = Watch(timeout=timeout)
        for part in self.parts:
            self._watch.expect(part)
        rendezvous = self._watch.rendezvous
        # All are there before the first waits for a peer: starting may take longer than the timeout.
        self._gather(
            [
                actor.show_life.remote(rendezvous, part)
                for part, actor in zip(self.parts, self.actors, strict=True)
            ]
        )
        if len(self.actors) > 1:
            self.backends = self._gather([actor.connect.remote(rendezvous) for actor in self.actors])[0] or []

    def restore(self, states: dict[str, bytes]) -> None:
        """Give every actor its state from a checkpoint, by part; the first's to workers without their own.

        Raises:
            GangError: an actor is gone or silent.
        """
        shared = states[self.parts[0]]
        self._gather(
            [
                actor.restore.remote(states.get(part_of(part), shared))
                for part, actor in zip(self.parts, self.actors, strict=True)
            ]
        )

    def begin_with(self, weights: dict[str, Tensor]) -> None:
        """Give every actor what is its own of a whole network's weights.

        Raises:
            GangError: an actor is gone or silent.
        """
        shared = ray.put(weights)
        self._gather([actor.begin_with.remote(shared, self._sizes) for actor in self.actors])

    def run_epoch(self, epoch: int) -> dict[str, EpochReport]:
        """Train and validate one epoch (1-based): one call an actor. Reports by part.

        Raises:
            GangError: an actor died or fell silent.
            RayTaskError: an actor raised an error of its own, such as running out of memory.
        """
        reports = self._gather([actor.run_epoch.remote(epoch) for actor in self.actors])
        return dict(zip(self.parts, reports, strict=True))

    def test(self, epoch: int) -> float:
        """The task's figure on the test images with the weights after an epoch (1-based).

        Raises:
            GangError: an actor is gone or silent.
            RayTaskError: an actor raised an error of its own, such as running out of memory.
        """
        errors = self._gather([actor.test.remote(epoch) for actor in self.actors])
        return float(next(error for error in errors if error is not None))

    def _gather(self, calls: Sequence[ray.ObjectRef[Any]]) -> list[Any]:
        """Wait for all calls, but not longer than until the first one fails.

        Where one actor fails, its peers only see a broken link; so if what came first is a broken
        link, the others are given a moment to say what really happened.
        """
        pending = list(calls)
        results: dict[ray.ObjectRef[Any], Any] = {}
        broken: RayTaskError | None = None
        while pending:
            done, pending = ray.wait(pending, timeout=_GRACE)
            ray_watch.check()
            if not done and broken is not None:
                break
            if silent := self._watch.silent():
                seconds = max(silent.values())
                raise GangError(f"no sign of life from {', '.join(silent)} for {seconds:.0f} s")
            try:
                results |= {call: ray.get(call) for call in done}
            except RayTaskError as error:
                if not isinstance(error.cause, TransportError):
                    raise
                broken = error
            except RayError as error:  # the process, its memory or its node is gone
                raise GangError(self._memory_kills.explain(f"an actor died: {reason(error)}")) from error
        if broken is not None:
            raise GangError(self._memory_kills.explain(f"an actor lost a peer: {broken.cause}")) from broken
        return [results[call] for call in calls]


_GRACE = 1.0  # seconds between a broken link and the news of the actor whose death broke it
