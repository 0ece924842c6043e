"""Options: how the network is torn, and what its parts run on."""

from dataclasses import dataclass
from typing import Literal

from orchestrator.config.option import at_least, later

BatchNorm = Literal["share", "synchronised"]
Strategy = Literal["parareal", "serial", "data_parallel", "gpipe", "1f1b"]

TORN: tuple[Strategy, ...] = ("parareal", "serial")
"""Strategies that train the torn network f̃; the others train the original f, on several devices too."""
PIPELINES: tuple[Strategy, ...] = ("gpipe", "1f1b")
SHARING: tuple[Strategy, ...] = ("data_parallel", *PIPELINES)
"""Strategies under which no device ever has a whole batch at once."""


@dataclass(frozen=True, kw_only=True)
class TearingOptions:
    """How the network is torn, and what its parts run on."""

    n_subnetworks: int = 1
    """Numbers of parallel subnetworks N to compare; 1 is the serial network itself."""
    partition: str = "uniform"
    """How units are shared out: uniform (the paper's: ⌈units / N⌉ each, the last takes the rest),
    balanced (by measured cost, the dearest subnetwork as cheap as can be) or staggered (the shortest
    critical path: later subnetworks are larger, the coarse network's time hides behind theirs)."""
    preprocess: str = "auto"
    """C^j for j > 1: auto (the network's own if it has one, else a stem), strided (the paper's 1×1
    convolution, which reads one pixel of s²), patch (s×s, reads every pixel) or stem (a 3×3 convolution,
    BN and ReLU before the patch)."""
    coarse: str = "units"
    """F^j: units (the paper's: N_c residual units) or shortcut (the identity, or a strided 1×1
    convolution where the shape changes: no units, next to no time)."""
    n_coarse_units: int | None = None
    """Units N_c in each part F^j of the coarse network. None: the paper's ⌈12 / N⌉."""
    strategy: Strategy = "parareal"
    """parareal: an actor and a device for each subnetwork and the driver; serial: the whole network,
    torn or not, in one actor on one device (the same result, to study accuracy on few devices).
    What else N devices can do, with the network as it is: data_parallel: N workers, each with a share
    of every batch; gpipe, 1f1b: N stages, through which every batch goes in micro-batches. N = 1 is the
    serial network, whatever this says."""
    n_iterations: int = later(1, before=1)
    """Iterations K of the parareal algorithm: 1 (the paper's network) is the fastest, N is the original
    network itself, which more would not change: of a K above N, N are done."""
    n_replicas: int = later(1, before=1)
    """Replicas D of a parareal network, N + 1 actors each: every one trains on its share of every batch, and
    all take the same step, by the gradients of the whole batch."""

    batch_norm: BatchNorm = later("share", before="share")
    """What BatchNorm normalises by where replicas, or the workers of data_parallel, have a share of every
    batch each: share: the statistics of its own; synchronised: the whole batch's, as in one process."""

    def check(self) -> None:
        """See that values are in range.

        Raises:
            ValueError: one is not.
        """
        at_least(1, self, "n_subnetworks", "n_iterations", "n_replicas")
        if self.n_replicas > 1 and self.strategy != "parareal":
            raise ValueError(
                f"--n-replicas {self.n_replicas} with --strategy {self.strategy}: only a parareal network is "
                "trained in replicas: leave out one of them"
            )
        most = self.n_subnetworks if self.strategy in TORN else 1
        if self.n_iterations > most:
            raise ValueError(
                f"--n-iterations {self.n_iterations} with --n-subnetworks {self.n_subnetworks} "
                f"--strategy {self.strategy}: give at most {most}, which is exact"
            )
