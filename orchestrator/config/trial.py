"""One trial: a value for every option that decides its result, and the key that follows from them."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

from models.tearing import paper_n_coarse_units
from orchestrator.config.compute import ComputeOptions
from orchestrator.config.data import DataOptions, one_name
from orchestrator.config.network import NetworkOptions
from orchestrator.config.option import BEFORE, as_before, spelt
from orchestrator.config.task import TaskOptions
from orchestrator.config.tearing import PIPELINES, SHARING, TORN, TearingOptions
from orchestrator.config.training import TrainingOptions

GROUPS = (NetworkOptions, TearingOptions, DataOptions, TaskOptions, TrainingOptions, ComputeOptions)
"""The groups of options, each a class that declares them."""


@dataclass(frozen=True, kw_only=True)
class TrialConfig(NetworkOptions, TearingOptions, DataOptions, TaskOptions, TrainingOptions, ComputeOptions):
    """One trial: one network, torn one way, trained once. Everything that decides its result.

    Raises:
        ValueError: a value of another type or out of its range, or values that do not go together; the
            message names the option.
    """

    if TYPE_CHECKING:
        n_coarse_units: int  # see __post_init__

    def __post_init__(self) -> None:
        """Check every value, and set what follows from others."""
        for name, kind in get_type_hints(type(self)).items():
            value = getattr(self, name)
            try:
                check_type(value, kind, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
            except TypeCheckError as error:
                raise ValueError(f"{spelt(name)} {value!r}: give {_in_words(kind)}") from error
            if kind in (float, float | None) and value is not None:
                # 0 and 0.0 are equal: they give the same trial_id.
                object.__setattr__(self, name, float(value))
        object.__setattr__(self, "dataset", one_name(self.dataset))
        for group in GROUPS:
            group.check(self)
        if self.n_coarse_units is None:
            object.__setattr__(self, "n_coarse_units", paper_n_coarse_units(self.n_subnetworks))
        self._check_batch()
        if self.graphs and self.strategy not in TORN:
            raise ValueError(
                f"--graphs True with --strategy {self.strategy}: only parareal and serial can be recorded: "
                "leave out --graphs or name these strategies alone"
            )
        if self.graphs and self.n_iterations > 1:
            raise ValueError(
                f"--graphs True with --n-iterations {self.n_iterations}: only steps of one iteration can be "
                "recorded: leave out one of them"
            )
        if self.graphs and self.n_replicas > 1:
            raise ValueError(
                f"--graphs True with --n-replicas {self.n_replicas}: gradients that are summed as they come "
                "cannot be recorded: leave out one of them"
            )
        if self.compiled and self.batch_norm == "synchronised":
            raise ValueError(
                "--compiled True with --batch-norm synchronised: sums over replicas cannot be compiled: "
                "leave out one of them"
            )

    def _check_batch(self) -> None:
        """See that a batch can be shared out as the strategy does.

        Raises:
            ValueError: it cannot.
        """
        n = self.n_subnetworks
        if self.strategy == "data_parallel" and self.batch_size < n:
            raise ValueError(f"--batch-size {self.batch_size} is too small for {n} workers: give {n} or more")
        if self.batch_size < self.n_replicas:
            raise ValueError(
                f"--batch-size {self.batch_size} is too small for {self.n_replicas} replicas: give "
                f"{self.n_replicas} or more"
            )
        if self.strategy in PIPELINES and self.n_microbatches < n:
            raise ValueError(
                f"--batch-size {self.batch_size} cannot be cut into {n} to {4 * n} equal micro-batches for "
                f"{n} stages: give a multiple of {n}"
            )

    @property
    def n_microbatches(self) -> int:
        """Equal parts M in which a batch goes through a pipeline: as many as fit, 4 N at most.

        N stages idle for (N − 1) / (M + N − 1) of a step, which Huang et al. (GPipe, 2019) call
        negligible from M = 4 N on; smaller parts only compute less efficiently.
        """
        most = min(4 * self.n_subnetworks, self.batch_size)
        return next(m for m in range(most, 0, -1) if self.batch_size % m == 0)

    @property
    def splits_batches(self) -> bool:
        """Whether no device ever has a whole batch at once."""
        return self.strategy in SHARING or self.n_replicas > 1

    def share(self, replica: int) -> slice:
        """Rows of a batch that replica 1 … D trains on: the first shares may have one more than others."""
        size, n_larger = divmod(self.batch_size, self.n_replicas)
        start = (replica - 1) * size + min(replica - 1, n_larger)
        return slice(start, start + size + (replica <= n_larger))

    @property
    def largest_share(self) -> int:
        """Samples of a batch that go through a subnetwork at once."""
        return -(-self.batch_size // self.n_replicas)

    @property
    def trial_id(self) -> str:
        """A stable key: equal for equal configurations, on every machine, in every run."""
        values = {f.name: value for f in fields(self) if not as_before(f, value := getattr(self, f.name))}
        digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:10]
        depth = "" if self.depth is None else f"-{self.depth}"
        strategy = "" if self.strategy in TORN else f"-{self.strategy}"
        replicas = "" if self.n_replicas == 1 else f"-d{self.n_replicas}"
        words = f"{self.dataset}-{self.network}{depth}-n{self.n_subnetworks}{replicas}{strategy}-s{self.seed}"
        # A data set may be a path and a network a module: keep what is safe in a file name, and
        # begin with no dot or underscore, which readers of Parquet folders pass over.
        readable = re.sub(r"[^A-Za-z0-9.-]", "_", words)[-80:].lstrip("-._")
        return f"{readable}-{digest}"


def config_columns(config: TrialConfig) -> dict[str, Any]:
    """Columns of ``trials`` that say what was asked."""
    return asdict(config) | {"milestones": " ".join(map(str, config.milestones))}


def config_of(row: Mapping[str, Any]) -> TrialConfig:
    """The trial that a row of ``trials`` is of; an option younger than the row has what was done before.

    Raises:
        ValueError: a value that is none any more.
    """
    given: dict[str, Any] = {
        option.name: option.metadata.get(BEFORE) if row.get(option.name) is None else row[option.name]
        for option in fields(TrialConfig)
    }
    return TrialConfig(**given | {"milestones": tuple(map(int, given["milestones"].split()))})


def _in_words(kind: Any) -> str:
    """A type for a reader: "step or cosine", "int | None"."""
    if get_origin(kind) is Literal:
        *others, last = get_args(kind)
        return f"{', '.join(others)} or {last}"
    return kind.__name__ if isinstance(kind, type) else str(kind)
