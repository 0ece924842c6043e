"""Which devices there are, what a gang of actors needs of them, and how an actor takes its own."""

import fcntl
import math
import os
import tempfile
import time
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Literal, TextIO

import torch

from orchestrator.cgroup import cpu_quota
from orchestrator.config import PIPELINES, Devices, Options, Strategy, TrialConfig
from orchestrator.storage.files import NO_LOCKS

HEAD_RESOURCE = "node:__internal_head__"
"""Ray's own resource of the head node; the trial's coordinator, which writes the store, runs there."""


@dataclass(frozen=True)
class Available:
    """What a machine or a cluster has: processor cores and GPUs.

    Attributes:
        cpus: cores, of all hosts together.
        gpus: GPUs, of all hosts together.
        hosts: what each host of a cluster has; empty for a single machine.
    """

    cpus: float
    gpus: float
    hosts: tuple["Available", ...] = ()

    @classmethod
    def together(cls, hosts: Iterable["Available"]) -> "Available":
        """A cluster of these hosts."""
        hosts = tuple(hosts)
        return cls(sum(host.cpus for host in hosts), sum(host.gpus for host in hosts), hosts)


def local_devices() -> Available:
    """What this machine has for this process: the cores that it may run on, no more than its quota."""
    cores = len(os.sched_getaffinity(0))
    return Available(max(1, math.floor(min(cores, cpu_quota()))), torch.cuda.device_count())


@dataclass(frozen=True)
class GangResources:
    """What one trial reserves: a place for each of its actors, on as few hosts as hold them.

    A place is a GPU, or a share of one, with some processor cores; or processor cores alone.

    Attributes:
        n_actors: such as N subnetworks and one driver, see :func:`n_actors`.
        device: ``"cuda"`` or ``"cpu"``.
        cpus: processor cores of each place; a fraction where actors share cores.
        gpus: GPUs of each place: 1, 0, or a fraction where actors share GPUs.
        hosts: how many of the places are on each host, fullest first; empty: all on one.
        driver_shares: whether the driver and the smallest subnetwork share a place.
        shared_gpu: to the second actor in a place, the GPU that the first was given.
        cuda_ipc: whether actors on GPUs of one host write into each other's GPU memory.
        n_replicas: equal gangs that make up this one, one after the other.
    """

    n_actors: int
    device: str
    cpus: float
    gpus: float
    hosts: tuple[int, ...] = ()
    driver_shares: bool = False
    shared_gpu: str | None = None
    cuda_ipc: bool = False
    n_replicas: int = 1

    @property
    def n_places(self) -> int:
        """Places of the gang: one for each actor, or in each replica one less."""
        return self.n_actors - self.n_replicas * self.driver_shares

    @property
    def n_places_of_replica(self) -> int:
        """Places of one replica."""
        return self.n_places // self.n_replicas

    @property
    def n_devices(self) -> int:
        """GPUs that the gang uses; of cores, as many as places."""
        return sum(map(self._devices_of, self._on_each))

    @property
    def _on_each(self) -> tuple[int, ...]:
        """Places on each host."""
        return self.hosts or (self.n_places,)

    def _devices_of(self, n_places: int) -> int:
        """How many devices so many places of one host take."""
        return math.ceil(n_places / per_gpu(self.gpus)) if self.gpus else n_places

    @property
    def threads(self) -> int:
        """Compute threads of each actor."""
        return max(1, int(self.cpus))

    @property
    def bundles(self) -> list[dict[str, float]]:
        """Placement group: the coordinator on the head, then one bundle a host with its places.

        A bundle is never split. Were there one for each place, Ray would scatter them over what is
        free, and an autoscaler would rather start many small hosts than the large one that holds all.
        """
        return [
            {HEAD_RESOURCE: 0.001},
            *(
                {"CPU": round(n * self.cpus, 4)} | ({"GPU": self._gpus_of(n)} if self.gpus else {})
                for n in self._on_each
            ),
        ]

    def _gpus_of(self, n_places: int) -> float:
        """What so many places of one host reserve: a share of one GPU or, as Ray asks, whole ones."""
        n_gpus = self._devices_of(n_places)
        return round(n_places * self.gpus, 4) if n_gpus == 1 else float(n_gpus)

    def bundle(self, place: int) -> int:
        """Which of the bundles has the place; they are counted from 0, the first host's first."""
        return 1 + bisect_right(list(accumulate(self._on_each)), place)


def settle_devices(devices: Devices, *, n_devices: int, available: Available) -> Literal["cpu", "cuda"]:
    """What ``auto`` means for a sweep whose largest gang needs ``n_devices`` GPUs.

    GPUs if there are as many, else processor cores: the same for all trials of the sweep, so that they
    can be compared.
    """
    if devices == "auto":
        return "cuda" if available.gpus >= n_devices else "cpu"
    return devices


def n_actors(n_subnetworks: int, strategy: Strategy, n_replicas: int = 1) -> int:
    """Size of a gang: the subnetworks and their driver, the workers or stages, or one serial actor.

    In replicas, so many times that.
    """
    return n_replicas * {"serial": 1, "parareal": n_subnetworks + 1}.get(strategy, n_subnetworks)


def n_places(n_subnetworks: int, strategy: Strategy, n_replicas: int = 1, *, driver_shares_gpu: bool) -> int:
    """Places of a gang on GPUs: one for each actor, or in each replica one less."""
    shared = n_replicas * (driver_shares_gpu and strategy == "parareal")
    return n_actors(n_subnetworks, strategy, n_replicas) - shared


def n_gpus(
    n_subnetworks: int,
    strategy: Strategy,
    *,
    n_replicas: int = 1,
    driver_shares_gpu: bool = False,
    gpus_per_actor: float | None = None,
) -> int:
    """GPUs that a gang needs: one for each place, or for as many as share it."""
    places = n_places(n_subnetworks, strategy, n_replicas, driver_shares_gpu=driver_shares_gpu)
    return math.ceil(places / per_gpu(gpu_share(gpus_per_actor)))


def gpu_share(gpus_per_actor: float | None) -> float:
    """An actor's share of a GPU in the four digits that Ray counts, rounded down: together at most 1."""
    return 1.0 if gpus_per_actor is None else math.floor(1e4 * gpus_per_actor + 1e-6) / 1e4


def per_gpu(share: float) -> int:
    """How many actors with such a share one GPU has room for: a share never spans two."""
    return math.floor(1 / share + 1e-9)


def gang_resources(
    n_subnetworks: int,
    *,
    devices: Literal["cpu", "cuda"],
    cpus_per_actor: float | None,
    available: Available,
    strategy: Strategy = "parareal",
    n_replicas: int = 1,
    driver_shares_gpu: bool = False,
    gpus_per_actor: float | None = None,
    cuda_ipc: bool = False,
) -> GangResources:
    """Decide what a trial reserves, and on how many hosts: no replica on two where that can be.

    Raises:
        ValueError: more than there is; the message says how many there are and what to do.
    """
    size = n_actors(n_subnetworks, strategy, n_replicas)
    use_gpus = devices == "cuda"
    share = gpu_share(gpus_per_actor) if use_gpus else 0.0
    shares = driver_shares_gpu and use_gpus
    n = n_places(n_subnetworks, strategy, n_replicas, driver_shares_gpu=shares)
    gang = _gang(n_subnetworks, strategy, n_replicas)
    if use_gpus and available.gpus < (needed := math.ceil(n / per_gpu(share))):
        there = int(available.gpus)
        room = there * per_gpu(share) // n_replicas
        remedies = ["pass --devices cpu"]
        if room >= 2:
            remedies.insert(0, f"lower --n-subnetworks to {n_subnetworks - (n // n_replicas - room)}")
        if n_replicas > 1:
            remedies.insert(0, "lower --n-replicas")
        if there:  # enough for one actor, so this is a gang
            remedies.append("--strategy serial")
            if fits := math.floor(100 / math.ceil(size / there)) / 100:
                instead = " in place of --driver-shares-gpu" if driver_shares_gpu else ""
                remedies.append(f"--gpus-per-actor {fits:g}{instead}")
        raise ValueError(f"{gang} {needed} GPUs, there are {available.gpus:g}: {' or '.join(remedies)}")

    hosts = available.hosts or (available,)

    def rooms(cpus: float) -> list[int]:
        """How many places with so many cores each host holds, largest first."""
        return sorted((_room(host, cpus, share) for host in hosts), reverse=True)

    # Actors that do not find one core each share the cores of their host.
    fractions = {int(1000 * host.cpus / k) / 1000 for host in hosts for k in range(1, n + 1)}
    choices = [1.0, *sorted((cpus for cpus in fractions if 0 < cpus < 1), reverse=True)]
    if cpus_per_actor is not None:
        choices = [cpus_per_actor]
    cpus = next((cpus for cpus in choices if sum(rooms(cpus)) >= n), None)
    if cpus is None:
        where = f" on {len(hosts)} hosts, which hold {sum(rooms(choices[0]))}" if len(hosts) > 1 else ""
        raise ValueError(
            f"{gang} {n} × {choices[0]:g} = {choices[0] * n:g} cores, there are "
            f"{available.cpus:g}{where}: lower --cpus-per-actor"
        )
    of_one = n // n_replicas
    whole = [room // of_one * of_one for room in rooms(cpus)]
    on_each: list[int] = []
    for room in whole if sum(whole) >= n else rooms(cpus):
        on_each.append(min(room, n - sum(on_each)))
    used = tuple(filter(None, on_each))
    return GangResources(
        size,
        devices,
        cpus,
        share,
        hosts=used if len(used) > 1 else (),
        driver_shares=n < size,
        cuda_ipc=cuda_ipc and use_gpus,
        n_replicas=n_replicas,
    )


def _room(host: Available, cpus: float, share: float) -> int:
    """How many places with ``cpus`` cores and such a share of a GPU each the host has."""
    room = int(host.cpus / cpus + 1e-6)
    return min(room, int(host.gpus) * per_gpu(share)) if share else room


def _gang(n: int, strategy: Strategy, n_replicas: int) -> str:
    """Who needs devices, and its verb."""
    several = "s" if n > 1 else ""
    if strategy == "serial":
        return "a serial network needs"
    if strategy == "data_parallel":
        return f"{n} worker{several} need"
    if strategy in PIPELINES:
        return f"{n} stage{several} need"
    replicas = f"{n_replicas} replicas of " * (n_replicas > 1)
    return f"{replicas}{n} subnetwork{several} and the driver need"


@contextmanager
def one_thread() -> Iterator[None]:
    """Within, this process computes with one thread, which is enough to try a network on a few samples.

    Several wait for each other at every operation: on cores that have other work, for most of the time.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def take_device(resources: GangResources) -> tuple[torch.device, list[TextIO]]:
    """Settle this actor on its device: its GPU, or its own cores where it reserved whole ones.

    Returns:
        The device, and the locks that mark the cores as taken; keep them as long as the actor lives.
    """
    torch.set_num_threads(resources.threads)
    # Every actor of a host may compile at once: by default each would start up to 32 processes for it.
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", str(resources.threads))
    if resources.device == "cuda":
        if resources.shared_gpu is not None:  # reserved by the driver: Ray has shown this actor none
            os.environ["CUDA_VISIBLE_DEVICES"] = resources.shared_gpu
        torch.cuda.set_device(0)  # Ray shows an actor its own GPU only
        return torch.device("cuda", 0), []
    if resources.cpus < 1:
        return torch.device("cpu"), []  # more actors than cores: the kernel shares them out better
    return torch.device("cpu"), _pin(resources.threads)


def _pin(n_cores: int, *, patience: float = 5.0) -> list[TextIO]:
    """Pin this process to cores that no other actor of this machine holds; returns their locks.

    A lock is the kernel's, on a file per core: it goes with the process, however that ends. Where the folder
    for temporary files has no locks, nobody knows whose the cores are, and the kernel shares them out.
    """
    folder = Path(tempfile.gettempdir()) / f"parareal-cores-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    cores = sorted(os.sched_getaffinity(0))
    locks: dict[int, TextIO] = {}
    deadline = time.monotonic() + patience  # an actor that was just killed may still be going
    while len(locks) < n_cores and time.monotonic() < deadline:
        for core in cores:
            if core in locks or len(locks) == n_cores:
                continue
            file = (folder / f"core-{core}").open("w")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                locks[core] = file
            except OSError as error:
                file.close()
                if error.errno in NO_LOCKS:
                    return []
                if not isinstance(error, BlockingIOError):
                    raise
        if len(locks) < n_cores:
            time.sleep(0.05)
    if len(locks) == n_cores:
        os.sched_setaffinity(0, locks)
    return list(locks.values())


def refuse_what_needs_gpus(
    configs: Sequence[TrialConfig], options: Options, available: Available, largest: int
) -> None:
    """See that a sweep on processor cores asks for nothing that GPUs alone have.

    Raises:
        ValueError: it does; ``largest`` is how many its largest trial would need.
    """
    asked = {
        "--graphs True": any(config.graphs for config in configs),
        # On cores it would be float32 under another name.
        "--precision tf32": any(config.precision == "tf32" for config in configs),
        "--cuda-ipc": options.cuda_ipc,
    }
    for option in (option for option, is_asked in asked.items() if is_asked):
        if options.devices == "cpu":
            raise ValueError(f"{option} needs GPUs, not --devices cpu: leave out one of them")
        raise ValueError(
            f"{option} needs GPUs, {largest} for the largest trial, there are {available.gpus:g}: leave it "
            "out, or see what fits with --devices cuda"
        )
