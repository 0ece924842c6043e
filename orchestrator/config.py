"""What a sweep is asked to do: typed, validated, expanded into trials."""

import hashlib
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from importlib.util import find_spec
from typing import Literal, cast

import torch

from models.compute import Compute, Precision
from models.tearing import paper_n_coarse_units

Schedule = Literal["step", "cosine"]
Strategy = Literal["parareal", "serial", "data_parallel", "gpipe", "1f1b"]
Devices = Literal["auto", "cpu", "cuda"]

TORN: tuple[Strategy, ...] = ("parareal", "serial")
"""Strategies that train the torn network f̃; the others train the original f, on several devices too."""
PIPELINES: tuple[Strategy, ...] = ("gpipe", "1f1b")


@dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """One trial: one network, torn one way, trained once. Everything that decides its result.

    The fields are those of :class:`Sweep`, one value each.

    Raises:
        ValueError: a value out of its range; the message names the option.
    """

    dataset: str
    train_subset: int | None
    validation_subset: int | None
    augment: bool
    network: str
    depth: int | None
    width: int | None
    n_subnetworks: int
    partition: str
    preprocess: str
    coarse: str
    n_coarse_units: int
    strategy: Strategy
    seed: int
    epochs: int
    batch_size: int
    learning_rate: float
    schedule: Schedule
    milestones: tuple[int, ...]
    momentum: float
    weight_decay: float
    precision: Precision
    channels_last: bool
    compiled: bool
    # An option that came after the first stores has a default, what was done before it: see trial_id.
    graphs: bool = False

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("learning_rate", "momentum", "weight_decay"):
            # 0 and 0.0 are equal: they give the same trial_id.
            object.__setattr__(self, name, float(getattr(self, name)))
        for name in ("n_subnetworks", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{_option(name)} {getattr(self, name)}: give at least 1")
        for name in ("depth", "width", "train_subset", "validation_subset"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{_option(name)} {value}: give at least 1, or None")
        if self.learning_rate <= 0:
            raise ValueError(f"--learning-rate {self.learning_rate}: give a positive number")
        for name in ("epochs", "momentum", "weight_decay", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{_option(name)} {getattr(self, name)}: give 0 or more")
        if self.momentum >= 1:
            raise ValueError(f"--momentum {self.momentum}: give less than 1")
        if list(self.milestones) != sorted(set(self.milestones)) or any(m < 1 for m in self.milestones):
            raise ValueError(f"--milestones {self.milestones}: give increasing epochs, 1 or more")
        n = self.n_subnetworks
        if self.strategy == "data_parallel" and self.batch_size < n:
            raise ValueError(f"--batch-size {self.batch_size} is too small for {n} workers: give {n} or more")
        if self.strategy in PIPELINES and self.n_microbatches < n:
            raise ValueError(
                f"--batch-size {self.batch_size} cannot be cut into {n} to {4 * n} equal micro-batches for "
                f"{n} stages: give a multiple of {n}"
            )
        if self.graphs and self.strategy not in TORN:
            raise ValueError(
                f"--graphs True with --strategy {self.strategy}: only parareal and serial can be recorded: "
                "leave out --graphs or name these strategies alone"
            )
        if self.graphs and self.precision == "float64":
            raise ValueError(
                "--graphs True with --precision float64: the learning rate inside a graph is single "
                "precision: leave out one of them"
            )

    @property
    def n_microbatches(self) -> int:
        """Equal parts M in which a batch goes through a pipeline: as many as fit, 4 N at most.

        N stages idle for (N − 1) / (M + N − 1) of a step, which Huang et al. (GPipe, 2019) call
        negligible from M = 4 N on; smaller parts only compute less efficiently.
        """
        most = min(4 * self.n_subnetworks, self.batch_size)
        return next(m for m in range(most, 0, -1) if self.batch_size % m == 0)

    def compute(self, device: torch.device) -> Compute:
        """How the network computes on a device."""
        return Compute(device, self.precision, self.channels_last, self.compiled, self.graphs)

    @property
    def network_options(self) -> dict[str, int]:
        """The options that the network's factory is called with: those that were given."""
        options = {"depth": self.depth, "width": self.width}
        return {name: value for name, value in options.items() if value is not None}

    @property
    def trial_id(self) -> str:
        """A stable key: equal for equal configurations, on every machine, in every run."""
        # Options with a default came later: hashed only where they differ from what was done before them,
        # they leave the trials that a store holds under their old keys.
        hashed = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) != f.default}
        digest = hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()[:10]
        depth = "" if self.depth is None else f"-{self.depth}"
        strategy = "" if self.strategy in TORN else f"-{self.strategy}"
        words = f"{self.dataset}-{self.network}{depth}-n{self.n_subnetworks}{strategy}-s{self.seed}"
        # A data set may be a path and a network a module: keep what is safe in a file name, and
        # begin with no dot or underscore, which readers of Parquet folders pass over.
        readable = re.sub(r"[^A-Za-z0-9.-]", "_", words)[-80:].lstrip("-._")
        return f"{readable}-{digest}"


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What to sweep: every option takes one or more values, and each combination is one trial."""

    n_subnetworks: tuple[int, ...] = (1, 3, 6)
    """Numbers of parallel subnetworks N to compare; 1 is the serial network itself."""
    dataset: tuple[str, ...] = ("digits",)
    """digits, cifar10, cifar100, svhn, mnist, image_folder:DIR, parquet:DIR or synthetic[:CxHxWxK]."""
    seed: tuple[int, ...] = (0, 1)
    """Seeds of the initial weights, the order of the images and their augmentation."""

    network: tuple[str, ...] = ("resnet",)
    """Architecture: a name in models.registry, or your own as path.to.module:factory."""
    depth: tuple[int | None, ...] = (56,)
    """Depth of the network; a ResNet's is 9n + 2. None: the architecture's default."""
    width: tuple[int | None, ...] = (8,)
    """Width of the network; 16 is the ResNet's usual. None: the architecture's default."""
    partition: tuple[str, ...] = ("uniform",)
    """How units are shared out: uniform (the paper's: ⌈units / N⌉ each, the last takes the rest),
    balanced (by measured cost, the dearest subnetwork as cheap as can be) or staggered (the shortest
    critical path: later subnetworks are larger, the coarse network's time hides behind theirs)."""
    preprocess: tuple[str, ...] = ("auto",)
    """C^j for j > 1: auto (the network's own if it has one, else a stem), strided (the paper's 1×1
    convolution, which reads one pixel of s²), patch (s×s, reads every pixel) or stem (a 3×3 convolution,
    BN and ReLU before the patch)."""
    coarse: tuple[str, ...] = ("units",)
    """F^j: units (the paper's: N_c residual units) or shortcut (the identity, or a strided 1×1
    convolution where the shape changes: no units, next to no time)."""
    n_coarse_units: tuple[int | None, ...] = (None,)
    """Units N_c in each part F^j of the coarse network. None: the paper's ⌈12 / N⌉."""

    strategy: tuple[Strategy, ...] = ("parareal",)
    """parareal: an actor and a device for each subnetwork and the driver; serial: the whole network,
    torn or not, in one actor on one device (the same result, to study accuracy on few devices).
    What else N devices can do, with the network as it is: data_parallel: N workers, each with a share
    of every batch; gpipe, 1f1b: N stages, through which every batch goes in micro-batches. N = 1 is the
    serial network, whatever this says."""

    epochs: tuple[int, ...] = (8,)
    """Passes over the training images; 0: do not train, only time the components."""
    batch_size: tuple[int, ...] = (64,)
    """Images per optimizer step; the last, incomplete batch of an epoch is left out."""
    learning_rate: tuple[float, ...] = (0.1,)
    """Initial learning rate of SGD."""
    schedule: tuple[Schedule, ...] = ("step",)
    """step: divide the learning rate by 10 at each milestone; cosine: anneal it to 0 by the epoch."""
    milestones: tuple[int, ...] = (5, 7)
    """Epochs after which the step schedule divides the learning rate by 10 (one list for all)."""
    momentum: tuple[float, ...] = (0.9,)
    """Momentum of SGD."""
    weight_decay: tuple[float, ...] = (5e-4,)
    """Weight decay of SGD."""
    augment: tuple[bool, ...] = (True,)
    """Whether to use the data set's standard augmentation (CIFAR: pad, crop and flip)."""
    train_subset: tuple[int | None, ...] = (None,)
    """Train on a fixed subset of this many images, classes in proportion."""
    validation_subset: tuple[int | None, ...] = (None,)
    """Validate on a fixed subset of this many images, classes in proportion."""
    precision: tuple[Precision, ...] = ("float32",)
    """Floating-point type: float32 (IEEE arithmetic), tf32 (faster convolutions and matrix products on
    GPUs, inputs rounded to 10 bits), float64; bfloat16: of activations alone, by autocast, weights stay
    float32."""
    channels_last: tuple[bool, ...] = (False,)
    """Whether images keep their channels together in memory, which most devices compute fastest."""
    compiled: tuple[bool, ...] = (False,)
    """Whether units run through torch.compile: faster steps, after minutes of compiling."""
    graphs: tuple[bool, ...] = (False,)
    """Whether the parts of a step are recorded once as CUDA graphs and replayed: no time is lost to
    launching kernels. GPUs only; not with float64."""

    def trials(self) -> list[TrialConfig]:
        """Every combination once, N and seed varying fastest, without repetitions.

        Raises:
            ValueError: an option without values, or a value out of its range.
        """
        trials = (TrialConfig(**values) for values in self._combinations())  # type: ignore[arg-type]
        return list(dict.fromkeys(trials))

    def _combinations(self) -> Iterator[dict[str, object]]:
        # n_subnetworks, dataset and seed stand first in the class because a user asks for them first.
        names = [field.name for field in fields(self) if field.name != "milestones"]
        names = [*names[3:], "dataset", "seed", "n_subnetworks"]
        for name in names:
            if not getattr(self, name):
                raise ValueError(f"{_option(name)}: give at least one value")
        for values in itertools.product(*(getattr(self, name) for name in names)):
            combination = dict(zip(names, values, strict=True)) | {"milestones": tuple(self.milestones)}
            n = cast(int, combination["n_subnetworks"])
            if n == 1:
                combination["strategy"] = "serial"
            if n == 1 or combination["strategy"] not in TORN:
                # The network itself has no C^2 and no F^1: one trial, whatever these say.
                combination |= {"preprocess": "strided", "coarse": "units"}
                combination["n_coarse_units"] = paper_n_coarse_units(1)
                if combination["strategy"] not in PIPELINES:
                    combination["partition"] = "uniform"  # there are no cuts either
                elif combination["partition"] == "staggered":
                    combination["partition"] = "balanced"  # no coarse network to make room for
            elif combination["coarse"] == "shortcut":
                combination["n_coarse_units"] = 0
            elif combination["n_coarse_units"] is None and n > 1:
                combination["n_coarse_units"] = paper_n_coarse_units(n)
            yield combination


@dataclass(frozen=True, kw_only=True)
class Options:
    """How and where to run; none of it changes a result."""

    store: str | None = None
    """Folder for results, made when it is not there. Default: results/PRESET."""
    mirror: str | None = None
    """Where to keep a copy of the store, always up to date: s3://bucket/folder, gs://bucket/folder or
    file:///folder. An empty store is filled from it first."""
    data_dir: str = "data"
    """Folder for data sets that are downloaded."""
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
    predict the time of a step, recommend N and partition for other numbers of devices, and stop."""
    link_bandwidth: float = 10.0
    """GB/s between two devices, for --dry-run's predictions."""
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
        for name in ("max_failures", "timing_repeats", "link_latency"):
            if getattr(self, name) < 0:
                raise ValueError(f"{_option(name)} {getattr(self, name)}: give 0 or more")
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


def _option(name: str) -> str:
    """A field's name as the command line spells it."""
    return "--" + name.replace("_", "-")
