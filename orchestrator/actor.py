"""What the driver and the subnetworks have in common: device, batches, optimizer, state."""

import io
import resource
from dataclasses import dataclass, field

import ray
import torch
from torch import Tensor, nn

from models.initialisation import derive_seed
from orchestrator.batches import Batches
from orchestrator.clock import Clock
from orchestrator.config import TrialConfig
from orchestrator.datasets import ImageData
from orchestrator.devices import GangResources, take_device
from orchestrator.metrics import Totals
from orchestrator.schedule import learning_rate
from orchestrator.sgd import SGD


@dataclass(frozen=True)
class EpochReport:
    """What one actor has to say after an epoch.

    Attributes:
        completed: False where the driver stopped the epoch because the loss was not finite.
        seconds: training time of the epoch.
        activities: mean seconds a training step, by "component.activity" such as "subnetwork.wait".
        peak_memory_bytes: largest memory of the process (CPU) or allocated on the device (GPU).
        state: the actor's checkpoint, see :meth:`Actor.state`.
        metrics: losses and errors, from the actor that computes the loss; empty from a subnetwork.
    """

    completed: bool
    seconds: float
    activities: dict[str, float]
    peak_memory_bytes: int
    state: bytes
    metrics: dict[str, float] = field(default_factory=dict)


class Actor:
    """Base of the actors of a gang.

    Args:
        config: the trial.
        data: the trial's images; every actor derives the same batches from them.
        resources: what the actor has reserved.
        part: the actor's name within the gang, such as ``"subnetwork-2"``.
    """

    module: nn.Module
    optimizer: SGD
    clock: Clock

    def __init__(self, config: TrialConfig, data: ImageData, resources: GangResources, *, part: str) -> None:
        self.config = config
        self.part = part
        self.device, self._core_locks = take_device(resources)
        self.host = ray.util.get_node_ip_address()
        self.dtype = getattr(torch, config.precision)
        self.batches = Batches(
            data,
            batch_size=config.batch_size,
            seed=config.seed,
            device=self.device,
            dtype=self.dtype,
            augment=config.augment,
        )

    def own(self, module: nn.Module) -> None:
        """Take ``module`` to the device, to be trained by this actor's optimizer."""
        self.module = module.to(self.device, self.dtype)
        self.optimizer = SGD(
            self.module, momentum=self.config.momentum, weight_decay=self.config.weight_decay
        )

    def restore(self, state: bytes) -> None:
        """Load what :meth:`state` returned."""
        loaded = torch.load(io.BytesIO(state), map_location=self.device, weights_only=True)
        self.module.load_state_dict(loaded["module"])
        self.optimizer.load_state_dict(loaded["optimizer"])

    def state(self) -> bytes:
        """Weights, buffers and optimizer state as torch saves them; loads with weights_only=True.

        No random generator is in it: everything random is derived from (seed, epoch, step).
        """
        buffer = io.BytesIO()
        torch.save({"module": self.module.state_dict(), "optimizer": self.optimizer.state_dict()}, buffer)
        return buffer.getvalue()

    def gradients(self) -> dict[str, Tensor]:
        """Gradient of every parameter at the last training step, on the CPU, by parameter name."""
        return {
            name: parameter.grad.cpu()
            for name, parameter in self.module.named_parameters()
            if parameter.grad is not None
        }

    def start_epoch(self, epoch: int) -> float:
        """Start the clock, and make random draws the epoch's own; returns the learning rate."""
        self.clock = Clock()
        torch.manual_seed(derive_seed(self.config.seed, self.part, epoch))
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        return learning_rate(self.config, epoch)

    def _peak_memory_bytes(self) -> int:
        """Most memory used so far by the process, or on the GPU by this epoch's tensors."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def report(
        self,
        completed: bool,
        seconds: float,
        rate: float | None = None,
        training: Totals | None = None,
        validation: Totals | None = None,
    ) -> EpochReport:
        """The epoch's report; with metrics from the actor that computes the loss."""
        n = self.batches.n_train_steps
        metrics: dict[str, float] = {}
        if rate is not None and training is not None:
            metrics = {"learning_rate": rate, "samples_per_second": n * self.config.batch_size / seconds}
            metrics |= {"train_loss": training.loss, "train_error": training.error}
        if validation is not None:
            metrics |= {"validation_loss": validation.loss, "validation_error": validation.error}
        activities = {name: total / n for name, total in self.clock.seconds.items()}
        return EpochReport(completed, seconds, activities, self._peak_memory_bytes(), self.state(), metrics)
