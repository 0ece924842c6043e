"""ProcessGroupActor: one of N equal actors that talk by torch's own collective operations."""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from torch import distributed as dist

from models.tearing import Tearing
from orchestrator.actors.actor import EpochReport
from orchestrator.actors.lockstep import LockstepActor
from orchestrator.actors.transport import Rendezvous, TransportError
from orchestrator.config import TrialConfig
from orchestrator.data.data import Data
from orchestrator.devices import GangResources
from orchestrator.reason import reason


class ProcessGroupActor(LockstepActor):
    """Base of the data-parallel workers and of the pipeline's stages.

    Torch's DistributedDataParallel and pipeline stages use the process's default group, so all N actors
    are in one: NCCL between GPUs, Gloo elsewhere. Should one die or freeze, every other learns of it,
    and the gang ends.

    Args:
        config: the trial.
        tearing: the network.
        j: which of the actors, 1-based.
        data: the trial's images.
        resources: what the actor has reserved.
        name: what the actors are called; with j it is this one's part.
    """

    def __init__(
        self,
        config: TrialConfig,
        tearing: Tearing,
        j: int,
        data: Data,
        resources: GangResources,
        *,
        name: str,
    ) -> None:
        super().__init__(config, tearing, data, resources, part=f"{name}-{j}")
        self.rank, self.size = j - 1, config.n_subnetworks

    def connect(self, rendezvous: Rendezvous) -> None:
        """Join the group.

        Raises:
            TransportError: a peer does not appear in time.
        """
        host = self.host

        def gloo(store: dist.Store, rank: int, size: int, timeout: timedelta) -> dist.ProcessGroupGloo:
            options = dist.ProcessGroupGloo._Options()
            options._timeout = timeout
            # Torch's own choice goes by the host's name, which need not be what its peers reach it by.
            options._devices = [dist.ProcessGroupGloo.create_device(hostname=host)]
            return dist.ProcessGroupGloo(store, rank, size, options)

        backend, device_id = "gloo_by_address", None
        if self.device.type == "cuda":
            # Lazy: traffic to different peers may overlap, as a pipeline's should. Where torch has no
            # backend of that name, the usual one is lazy unless it is told the device.
            lazy = dist.is_backend_available("nccl-lazy")
            backend, device_id = ("nccl-lazy", self.device) if lazy else ("nccl", None)
        with self.lost_peers():
            dist.Backend.register_backend("gloo_by_address", gloo, devices="cpu")
            dist.init_process_group(
                backend,
                store=rendezvous.join(),
                rank=self.rank,
                world_size=self.size,
                timeout=timedelta(seconds=rendezvous.timeout),
                device_id=device_id,
            )
            self.build()

    @abstractmethod
    def build(self) -> None:
        """Make what needs both the module and the group."""

    def run_epoch(self, epoch: int) -> EpochReport:
        """Train one epoch (1-based) and validate, in step with the others.

        Raises:
            TransportError: a peer is gone or silent.
        """
        with self.lost_peers():
            return super().run_epoch(epoch)

    def test(self, epoch: int) -> float | None:
        """The task's figure on the test images, in step with the others.

        Raises:
            TransportError: a peer is gone or silent.
        """
        with self.lost_peers():
            return super().test(epoch)

    @contextmanager
    def lost_peers(self) -> Iterator[None]:
        """Tell a peer's end from errors of this actor's own."""
        try:
            yield
        except RuntimeError as error:
            # Gloo has no class of errors to itself, but names its source file.
            if isinstance(error, dist.DistError) or "gloo" in str(error):
                raise TransportError(f"{self.part}: {reason(error)}") from error
            raise
