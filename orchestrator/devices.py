"""Which devices there are, what a gang of actors needs of them, and how an actor takes its own."""

import fcntl
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

import torch

from orchestrator.config import PIPELINES, Devices, Strategy

HEAD_RESOURCE = "node:__internal_head__"
"""Ray's own resource of the head node; the trial's coordinator, which writes the store, runs there."""


@dataclass(frozen=True)
class Available:
    """What a machine or cluster has: processor cores and GPUs."""

    cpus: float
    gpus: float


def local_devices() -> Available:
    """What this machine has."""
    return Available(len(os.sched_getaffinity(0)), torch.cuda.device_count())


@dataclass(frozen=True)
class GangResources:
    """What one trial reserves: the same for each of its actors.

    Attributes:
        n_actors: such as N subnetworks and one driver, see :func:`n_actors`.
        device: ``"cuda"`` or ``"cpu"``.
        cpus: processor cores of each actor; a fraction where they share.
        gpus: GPUs of each actor, 1 or 0.
    """

    n_actors: int
    device: str
    cpus: float
    gpus: float

    @property
    def threads(self) -> int:
        """Compute threads of each actor."""
        return max(1, int(self.cpus))

    @property
    def bundles(self) -> list[dict[str, float]]:
        """Placement group: the coordinator on the head, then its actors in order, the driver first."""
        actor = {"CPU": self.cpus} | ({"GPU": self.gpus} if self.gpus else {})
        return [{HEAD_RESOURCE: 0.001}, *([actor] * self.n_actors)]


def settle_devices(devices: Devices, *, n_actors: int, available: Available) -> Literal["cpu", "cuda"]:
    """What ``auto`` means for a sweep whose largest gang has ``n_actors`` actors.

    GPUs if there is one for each of them, else processor cores: the same for all trials of the sweep,
    so that they can be compared.
    """
    if devices == "auto":
        return "cuda" if available.gpus >= n_actors else "cpu"
    return devices


def n_actors(n_subnetworks: int, strategy: Strategy) -> int:
    """Size of a gang: the subnetworks and their driver, the workers or stages, or one serial actor."""
    return {"serial": 1, "parareal": n_subnetworks + 1}.get(strategy, n_subnetworks)


def gang_resources(
    n_subnetworks: int,
    *,
    devices: Literal["cpu", "cuda"],
    cpus_per_actor: float | None,
    available: Available,
    strategy: Strategy = "parareal",
) -> GangResources:
    """Decide what a trial reserves.

    Raises:
        ValueError: more than there is; the message says how many there are and what to do.
    """
    size = n_actors(n_subnetworks, strategy)
    gang = _gang(n_subnetworks, strategy)
    use_gpus = devices == "cuda"
    if use_gpus and available.gpus < size:
        remedies = ["pass --devices cpu"]
        if available.gpus >= 1:  # enough for one actor, so this is a gang
            remedies.append("--strategy serial")
        if available.gpus >= 2:
            fits = n_subnetworks - (size - int(available.gpus))
            remedies.insert(0, f"lower --n-subnetworks to {fits}")
        raise ValueError(f"{gang} {size} GPUs, there are {available.gpus:g}: {' or '.join(remedies)}")
    cpus = cpus_per_actor
    if cpus is None:
        # Actors of a gang that does not fit one core each share the cores there are.
        cpus = 1.0 if available.cpus >= size else int(1000 * available.cpus / size) / 1000
    if cpus * size > available.cpus:
        raise ValueError(
            f"{gang} {size} × {cpus:g} = {cpus * size:g} cores, there are "
            f"{available.cpus:g}: lower --cpus-per-actor"
        )
    return GangResources(size, devices, cpus, float(use_gpus))


def _gang(n: int, strategy: Strategy) -> str:
    """Who needs devices, and its verb."""
    several = "s" if n > 1 else ""
    if strategy == "serial":
        return "a serial network needs"
    if strategy == "data_parallel":
        return f"{n} worker{several} need"
    if strategy in PIPELINES:
        return f"{n} stage{several} need"
    return f"{n} subnetwork{several} and the driver need"


def take_device(resources: GangResources) -> tuple[torch.device, list[TextIO]]:
    """Settle this actor on its device: its GPU, or its own cores where it reserved whole ones.

    Returns:
        The device, and the locks that mark the cores as taken; keep them as long as the actor lives.
    """
    torch.set_num_threads(resources.threads)
    if resources.device == "cuda":
        torch.cuda.set_device(0)  # Ray shows an actor its own GPU only
        return torch.device("cuda", 0), []
    if resources.cpus < 1:
        return torch.device("cpu"), []  # more actors than cores: the kernel shares them out better
    return torch.device("cpu"), _pin(resources.threads)


def _pin(n_cores: int, *, patience: float = 5.0) -> list[TextIO]:
    """Pin this process to cores that no other actor of this machine holds; returns their locks.

    A lock is the kernel's, on a file per core: it goes with the process, however that ends.
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
            except BlockingIOError:
                file.close()
        if len(locks) < n_cores:
            time.sleep(0.05)
    if len(locks) == n_cores:
        os.sched_setaffinity(0, locks)
    return list(locks.values())
