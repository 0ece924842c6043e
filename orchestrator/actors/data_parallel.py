"""DataParallelActor: the whole untorn network, trained on a share of every batch."""

from inspect import signature
from typing import Any

import torch
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from models.parareal import PararealNetwork
from models.tearing import Tearing
from orchestrator.actors.metrics import Totals
from orchestrator.actors.process_group import ProcessGroupActor
from orchestrator.actors.synchronised import Holders, synchronise
from orchestrator.config import TrialConfig
from orchestrator.data.batches import HeldOut
from orchestrator.data.data import Data
from orchestrator.devices import GangResources

# Torch has two names for the switch, and warns of the older one where it has the newer.
_SYNC_BUFFERS = (
    "forward_sync_buffers"
    if "forward_sync_buffers" in signature(DistributedDataParallel).parameters
    else "broadcast_buffers"
)


class DataParallelActor(ProcessGroupActor):
    """Worker j of N: torch's DistributedDataParallel on the j-th part of the batch of all strategies.

    Parts differ by one image at most, and each counts by its size: gradients are those of the mean over
    the whole batch, so that a network without BatchNorm is trained as in one process. Unless it is
    synchronised, BatchNorm sees a worker's own part alone; running statistics are those of the first worker.

    Args:
        config: the trial.
        tearing: the untorn network (N = 1).
        j: which worker, 1-based.
        data: the trial's images.
        resources: what the actor has reserved.
    """

    def __init__(
        self, config: TrialConfig, tearing: Tearing, j: int, data: Data, resources: GangResources
    ) -> None:
        import torch._dynamo  # noqa: F401 - what DistributedDataParallel imports is not the network's memory

        super().__init__(config, tearing, j, data, resources, name="worker")
        self.computes_loss = self.rank == 0
        self._uses_all = tearing.network.uses_all
        self.own(PararealNetwork(tearing))

    def build(self) -> None:
        """Wrap the network: its gradients are averaged over the workers from now on."""
        if self.config.batch_norm == "synchronised":
            synchronise(self.module, Holders(self.rank, self.size, self._sum))
        self.parallel = DistributedDataParallel(
            self.module,
            find_unused_parameters=not self._uses_all,
            init_sync=False,  # all workers have built the same weights from the same seed
            # Buffers do not take part in training: those of the first worker are passed on when it is over.
            **dict[str, Any]({_SYNC_BUFFERS: False}),
        )
        n_bytes = sum(p.numel() * p.element_size() for p in self.module.parameters() if p.requires_grad)
        # What no all-reduce can go below, and Gloo's and NCCL's rings attain: computed, not counted.
        self._sent_per_step = 2 * (self.size - 1) * n_bytes // self.size
        self._sent = 0

    def _sum(self, tensor: torch.Tensor) -> None:
        self._sent += 2 * (self.size - 1) * tensor.nbytes // self.size
        dist.all_reduce(tensor)

    def bytes_sent(self) -> int:
        """The gradients' share in all reductions so far, and synchronised statistics'."""
        return self._sent

    def state(self) -> bytes:
        """The first worker's state, which is everyone's; nothing from the others."""
        return super().state() if self.rank == 0 else b""

    def train_step(self, epoch: int, step: int, total: Totals) -> None:
        """One optimizer step; what is looked at is the loss summed over the workers."""
        images, labels = (part.tensor_split(self.size)[self.rank] for part in self.batches.train(epoch, step))
        whole = Totals(self.task, self.device)
        with self.clock("worker.forward"), self.compute.autocast():
            logits = self.parallel(images)
            loss = self.task.loss(logits, labels)
            whole.add(loss, logits, labels)
        self.optimizer.zero_grad()
        with self.clock("worker.backward"):  # gradients travel as they come
            (loss * (len(labels) * self.size / self.config.batch_size)).backward()
        with self.clock("worker.wait"):
            dist.all_reduce(whole.sums)
        total.sums += whole.sums
        self.watch.look(whole.sums[0])
        self.take_step(step, component="worker")
        self._sent += self._sent_per_step

    @torch.no_grad()
    def validate(self, images: HeldOut) -> Totals:
        """Loss and error over images that are held out; every N-th batch is this worker's."""
        for buffer in self.module.buffers():
            if buffer.device == self.device:  # on the CPU of GPUs' hosts are counters, equal everywhere
                dist.broadcast(buffer, src=0)
        total = Totals(self.task, self.device)
        for step in range(self.rank, images.n_steps, self.size):
            batch, labels = images(step)
            with self.compute.autocast():
                logits = self.module(batch)
            total.add(self.task.loss(logits, labels), logits, labels)
        dist.all_reduce(total.sums)
        return total
