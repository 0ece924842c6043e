"""How and where a sweep runs."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from orchestrator.config.option import at_least

Devices = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """How and where to run; none of it changes a result."""

    store: str | None = None
    """Folder for results, made when it is not there. Default: results/PRESET."""
    mirror: str | None = None
    """Where to keep a copy of the store, always up to date: s3://bucket/folder, gs://bucket/folder or
    file:///folder. An empty store is filled from it first."""
    keep: Literal["last", "best"] = "last"
    """Checkpoints to keep: those of the last two epochs; best: and that of the best epoch so far."""
    data_dir: str = "data"
    """Folder for data sets that are downloaded."""
    skip_broken: bool = False
    """Whether to leave out images of your own that cannot be read, instead of naming them all."""
    accept_changed_code: bool = False
    """Whether to go on where the code of your own network is not what trials in the store were trained
    with: say so only if the change makes no difference to what the network computes."""
    devices: Devices = "auto"
    """cuda: one GPU for each subnetwork (worker, stage) and one for the driver; cpu: processor cores;
    auto: GPUs if there are enough for every trial of the sweep, else cores."""
    cpus_per_actor: float | None = None
    """Processor cores reserved for each actor. Default: 1, less where a gang would not fit."""
    driver_shares_gpu: bool = False
    """Whether the driver and the smallest subnetwork share a GPU, so that N subnetworks need N GPUs
    instead of N + 1; between the two, tensors then travel through the host's memory."""
    gpus_per_actor: float | None = None
    """GPUs reserved for each actor, such as 0.2: so many actors share one. Default: 1."""
    cuda_ipc: bool = False
    """Whether actors on GPUs of one host write into each other's GPU memory directly (CUDA IPC) instead of
    by NCCL, or through the host's memory where they share a GPU."""
    address: str | None = None
    """Address of a running Ray cluster ("auto" on its head). Default: start one on this machine."""
    max_failures: int = 3
    """How often a trial may lose an actor in a row without finishing an epoch."""
    timeout: float = 300.0
    """Seconds that an actor waits for another before it counts as dead."""
    timing_repeats: int = 5
    """Measurements of each component's gradient time after training; 0: none."""
    dry_run: bool = False
    """Print what would run (trials, partitions, parameters, devices), measure what the components cost,
    predict the time of a step, say what 1 to 64 devices would buy in every way to use them and what cannot
    work at the cuts, and stop."""
    forecast: str | None = None
    """Folder for --dry-run's figure of what so many devices buy, and all its numbers as CSV."""
    link_bandwidth: float = 10.0
    """GB/s that a device sends, and that it receives, for --dry-run's predictions."""
    link_latency: float = 50.0
    """Microseconds that any transfer takes, for --dry-run's predictions."""
    mlflow: str | None = None
    """Tracking server or database of MLflow that every epoch is sent to as well, such as
    http://localhost:5000 or sqlite:///mlflow.db."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.timeout <= 0:
            raise ValueError(f"--timeout {self.timeout}: give a positive number of seconds")
        if self.link_bandwidth <= 0:
            raise ValueError(f"--link-bandwidth {self.link_bandwidth}: give a positive number of GB/s")
        at_least(0, self, "max_failures", "timing_repeats", "link_latency")
        if self.cpus_per_actor is not None and self.cpus_per_actor <= 0:
            raise ValueError(f"--cpus-per-actor {self.cpus_per_actor}: give a positive number")
        # Ray counts to four digits.
        if self.gpus_per_actor is not None and not 0.0001 <= self.gpus_per_actor <= 1:
            raise ValueError(f"--gpus-per-actor {self.gpus_per_actor}: give 0.0001 to 1, such as 0.25")
        if self.gpus_per_actor is not None and self.driver_shares_gpu:
            raise ValueError(
                f"--gpus-per-actor {self.gpus_per_actor} with --driver-shares-gpu: either says who shares a "
                "GPU: leave out one of them"
            )
        if self.mlflow is not None and find_spec("mlflow") is None:
            raise ValueError(
                f"--mlflow {self.mlflow} needs a package that is not installed: "
                "pip install mlflow, or leave --mlflow out"
            )
