"""What the driver and the subnetworks have in common: device, batches, optimizer, state."""

import io
import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import ray
import torch
from torch import Tensor, nn
from torch import distributed as dist

from models.initialisation import derive_seed, reseed
from models.recorder import Recorder
from models.tearing import Tearing
from orchestrator.actors.clock import Clock
from orchestrator.actors.learning_rate import learning_rate
from orchestrator.actors.liveness import show_life
from orchestrator.actors.metrics import Totals
from orchestrator.actors.optimizer import Optimizer, make_optimizer
from orchestrator.actors.replicas import GradientSums, Replicas
from orchestrator.actors.synchronised import Holders, synchronise
from orchestrator.actors.transport import DONE, Link, Rendezvous, Transfer
from orchestrator.config import TrialConfig
from orchestrator.data.batches import Batches, HeldOut
from orchestrator.data.data import Data
from orchestrator.devices import GangResources, take_device
from orchestrator.one_process import in_one_process


@dataclass(frozen=True)
class EpochReport:
    """What one actor has to say after an epoch.

    Attributes:
        completed: False where the driver stopped the epoch because the loss was not finite.
        seconds: training time of the epoch.
        step_seconds: duration of each training step, on the actor's device.
        activities: mean seconds a training step, by "component.activity" such as "subnetwork.wait".
        processor_activities: of these, processor time of the thread that trains; empty on a GPU.
        processor_seconds: mean processor time of a training step, of all the process's threads.
        bytes_sent: what the actor sent to others in a training step, on average.
        peak_memory_bytes: most memory that training has taken: allocated on the GPU in this epoch, or
            how much the process's own memory has grown since before its network was built.
        state: the actor's checkpoint, see :meth:`Actor.state`.
        metrics: losses and errors, from the actor that computes the loss; empty from a subnetwork.
    """

    completed: bool
    seconds: float
    step_seconds: list[float]
    activities: dict[str, float]
    processor_activities: dict[str, float]
    processor_seconds: float
    bytes_sent: float
    peak_memory_bytes: int
    state: bytes
    metrics: dict[str, float] = field(default_factory=dict)


class Actor(ABC):
    """Base of the actors of a gang.

    Args:
        config: the trial.
        tearing: the torn network, of which this actor has a part.
        data: the trial's images; every actor derives the same batches from them.
        resources: what the actor has reserved.
        part: what of the network the actor has, such as ``"subnetwork-2"``.
        replica: of which of the gang's replicas it is, 1 … D.

    Attributes:
        share: the rows of every training batch that its replica trains on.
        n_samples: their number.
    """

    module: nn.Module
    optimizer: Optimizer
    recorder: Recorder
    clock: Clock

    def __init__(
        self,
        config: TrialConfig,
        tearing: Tearing,
        data: Data,
        resources: GangResources,
        *,
        part: str,
        replica: int = 1,
    ) -> None:
        self.config = config
        self.part = part
        self.replica = replica
        self.share = config.share(replica)
        self.n_samples = self.share.stop - self.share.start
        self._replicas: Replicas | None = None
        self._gradient_sums: GradientSums | None = None
        self.device, self._core_locks = take_device(resources)
        self.host = ray.util.get_node_ip_address()
        self.compute = config.compute(self.device)
        self.compute.settle()
        self.task = tearing.network.task
        self.cuda_ipc = resources.cuda_ipc
        self.batches = Batches(
            data,
            batch_size=config.batch_size,
            seed=config.seed,
            device=self.device,
            dtype=self.compute.weight_dtype,
            augmentation=data.augmentation(
                augment=config.augment, crop=config.random_crop, flip=config.random_flip
            ),
        )
        self._rate = math.nan
        self._memory_before = private_memory()

    def share_gpu(self, resources: GangResources) -> GangResources:
        """What another actor needs to use this one's GPU as well."""
        return replace(resources, shared_gpu=os.environ["CUDA_VISIBLE_DEVICES"])

    def show_life(self, rendezvous: Rendezvous, name: str) -> None:
        """Tell the gang, from now on, that this process is not frozen; ``name`` is the gang's for it."""
        show_life(rendezvous, name)

    def join(self, rendezvous: Rendezvous) -> dist.Store:
        """Where this actor meets those of its own replica."""
        return dist.PrefixStore(f"replica {self.replica}", rendezvous.join())

    def join_replicas(
        self,
        rendezvous: Rendezvous,
        *,
        completed_later: Collection[nn.Parameter] = (),
        copied: nn.Module | None = None,
    ) -> None:
        """Meet the holders of the same part in the other replicas, and sum gradients with them from now on.

        Args:
            rendezvous: where.
            completed_later: parameters to whose gradients :meth:`complete_gradients` adds.
            copied: what is not the actor's own but runs here as well, on its share.
        """
        if self.config.n_replicas == 1:
            return
        name = f"replicas of {self.part}"
        self._replicas = Replicas(
            dist.PrefixStore(name, rendezvous.join()),
            name=name,
            replica=self.replica,
            size=self.config.n_replicas,
            host=self.host,
            device=self.device,
            timeout=rendezvous.timeout,
        )
        parameters = list(self.module.parameters())
        self._gradient_sums = GradientSums(self._replicas, parameters, completed_later)
        if self.config.batch_norm == "synchronised":
            holders = Holders(
                self.replica - 1, self.config.n_replicas, lambda tensor: self.sum_over_replicas(tensor).wait()
            )
            for module in filter(None, (self.module, copied)):
                synchronise(module, holders)

    def sum_over_replicas(self, tensor: Tensor) -> Transfer:
        """Start adding a tensor up over all replicas, in place."""
        return DONE if self._replicas is None else self._replicas.sum(tensor)

    def share_buffers(self) -> None:
        """Take over the first replica's running statistics: one network is kept and validated."""
        if self._replicas is not None:
            self._replicas.share_buffers(self.module)

    def held_out_steps(self, images: HeldOut) -> range:
        """Which batches of images that are held out this replica looks at: every D-th."""
        return range(self.replica - 1, images.n_steps, self.config.n_replicas)

    def own(self, module: nn.Module) -> None:
        """Take ``module`` to the device, to be trained by this actor's optimizer."""
        self.module = self.compute.place(module)
        self.optimizer = make_optimizer(self.module, self.config)
        self.recorder = Recorder(self.compute, self.module)

    def restore(self, state: bytes) -> None:
        """Load what :meth:`state` returned."""
        loaded = torch.load(io.BytesIO(state), map_location=self.device, weights_only=True)
        self.module.load_state_dict(loaded["module"])
        for name, value in loaded.get("other_buffers", {}).items():
            self.module.get_buffer(name).copy_(value)
        self.optimizer.load_state_dict(loaded["optimizer"])

    def begin_with(self, weights: dict[str, Tensor], sizes: tuple[int, ...]) -> None:
        """Take over what is this actor's of a whole network.

        Args:
            weights: by the names of the network in one process.
            sizes: units of each subnetwork or stage.
        """
        names = self.module.state_dict()
        self.module.load_state_dict({name: weights[in_one_process(self.part, name, sizes)] for name in names})

    def state(self) -> bytes:
        """Weights, buffers and optimizer state as torch saves them; loads with weights_only=True.

        Nothing from the second replica on: the first one's is everyone's.
        No random generator is in it: everything random is derived from (seed, epoch, step).
        """
        if self.replica > 1:
            return b""
        buffer = io.BytesIO()
        module = self.module.state_dict()
        # Not persistent, their author says: but here training is to go on as if nothing had happened.
        other_buffers = {name: value for name, value in self.module.named_buffers() if name not in module}
        state = {"module": module, "optimizer": self.optimizer.state_dict(), "other_buffers": other_buffers}
        torch.save(state, buffer)
        return buffer.getvalue()

    def gradients(self) -> dict[str, Tensor]:
        """Gradient of every parameter at the last training step, on the CPU, by parameter name."""
        return {
            name: parameter.grad.cpu()
            for name, parameter in self.module.named_parameters()
            if parameter.grad is not None
        }

    def start_epoch(self, epoch: int) -> None:
        """Start the clock and make random draws the epoch's own."""
        self._epoch = epoch
        self.clock, self._steps = Clock(self.device), Clock(self.device)
        self._processor_seconds = 0.0
        self._bytes_sent = 0
        torch.manual_seed(derive_seed(self.config.seed, self.part, epoch))
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()

    def take_step(self, step: int, *, component: str) -> None:
        """Update what this actor trains: by the learning rate of the epoch's step, with gradients clipped.

        Args:
            step: of the epoch.
            component: what the clock calls the actor.
        """
        rate = learning_rate(self.config, self._epoch, step, self.batches.n_train_steps)
        if rate != self._rate:
            self.optimizer.set_learning_rate(rate)
            self._rate = rate
        name = f"{component}.optimizer"
        if self._gradient_sums is not None:
            self.complete_gradients()
            with self.clock(f"{component}.wait"):
                self._gradient_sums.finish()
        if self.config.clip_norm is None:
            with self.clock(name):
                self.recorder("optimizer", self._complete_and_step)
            return
        with self.clock(name):
            square_norm = float(self.recorder("norm", self._complete_and_square))
        with self.clock(f"{component}.wait"):
            whole = self.whole_square_norm(square_norm)
        with self.clock(name):
            self.optimizer.clip(whole)
            self.recorder("optimizer", self.optimizer.step)

    def _complete_and_step(self) -> None:
        if self._gradient_sums is None:
            self.complete_gradients()
        self.optimizer.step()

    def _complete_and_square(self) -> Tensor:
        if self._gradient_sums is None:
            self.complete_gradients()
        return self.optimizer.square_norm()

    def complete_gradients(self) -> None:  # noqa: B027 - for most there is nothing to add
        """Add what other actors contribute to the gradients of what this one trains."""

    def whole_square_norm(self, square_norm: float) -> float:
        """The sum of the squares of all gradients of the network, of which this actor has a part."""
        return square_norm

    @abstractmethod
    def validate(self, images: HeldOut) -> Totals | None:
        """Loss and error over images that are held out, in step with the other actors.

        The module is in evaluation mode. None, or nothing added up, from an actor that computes no loss.
        """

    def test(self, epoch: int) -> float | None:
        """The task's figure on the test images after an epoch (1-based), in step with the other actors.

        None from an actor that computes no loss.
        """
        self.start_epoch(epoch)
        self.module.eval()
        total = self.validate(self.batches.test)
        return total.metric if total is not None and total.n_samples else None

    def draw(self, phase: str, step: int, component: str, j: int) -> None:
        """Have a component draw the random numbers that it draws at this step wherever it runs.

        No part of a recorded step: what is recorded reads the generators anew each time. Replicas train on
        other samples, and draw other numbers for them.

        Args:
            phase: ``"train"`` or ``"validation"``.
            step: of the epoch.
            component: ``"subnetwork"`` for C^j with g^j, ``"coarse"`` or ``"postprocess"``.
            j: its index.
        """
        replica = [self.replica] if phase == "train" and self.replica > 1 else []
        reseed(self.device, self.config.seed, self._epoch, phase, step, *replica, component, j)

    def links(self) -> list[Link]:
        """The actor's connections to others."""
        return []

    def bytes_sent(self) -> int:
        """How much the actor has sent to others so far."""
        in_sums = 0 if self._replicas is None else self._replicas.bytes_sent
        return in_sums + sum(link.bytes_sent for link in self.links())

    @contextmanager
    def training_step(self) -> Iterator[None]:
        """Measure the block as one training step: how long it takes and how much it sends."""
        sent = self.bytes_sent()
        used = time.process_time()
        with self._steps("step"):
            yield
        self._processor_seconds += time.process_time() - used
        self._bytes_sent += self.bytes_sent() - sent

    def seconds_since(self, start: float) -> float:
        """Seconds from ``time.perf_counter()``'s ``start`` until the device has done all it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    def _peak_memory_bytes(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated()
        inboxes = sum(link.inbox.nbytes for link in self.links() if link.inbox is not None)
        return private_memory(peak=True) - self._memory_before + inboxes

    def report(
        self,
        completed: bool,
        seconds: float,
        training: Totals | None = None,
        validation: Totals | None = None,
    ) -> EpochReport:
        """The epoch's report; with metrics from the actor that computes the loss."""
        step_seconds = self._steps.each("step")
        n = len(step_seconds) or self.batches.n_train_steps
        metrics: dict[str, float] = {}
        if training is not None:
            metrics = {
                "learning_rate": self._rate,
                "train_loss": training.loss,
                "train_error": training.metric,
            }
        if validation is not None:
            metrics |= {"validation_loss": validation.loss, "validation_error": validation.metric}
        return EpochReport(
            completed,
            seconds,
            step_seconds or [seconds / n],
            {name: total / n for name, total in self.clock.seconds().items()},
            {name: total / n for name, total in self.clock.processor_seconds().items()},
            self._processor_seconds / n,
            self._bytes_sent / n,
            self._peak_memory_bytes(),
            self.state(),
            metrics,
        )


def private_memory(*, peak: bool = False) -> int:
    """Bytes of this process's own memory: now, or the most so far.

    Own is what is resident and stands for no file and no shared memory: the processes of a host have in
    common the libraries, more of which are loaded as training calls them, and the images in Ray's object
    store. Of the peak, as many pages are taken to be shared as are now.
    """
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    resident, *shared = (
        int(status[entry].split()[0]) * 1024
        for entry in ("VmHWM" if peak else "VmRSS", "RssFile", "RssShmem")
    )
    return resident - sum(shared)
