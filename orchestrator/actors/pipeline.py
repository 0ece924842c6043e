"""PipelineActor: one stage of the untorn network, through which every batch passes in small parts."""

from collections import OrderedDict
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch import distributed as dist

from models.compute import Compute
from models.feedforward import Shape
from models.tearing import Tearing
from orchestrator.actors.actor import EpochReport
from orchestrator.actors.metrics import Totals
from orchestrator.actors.process_group import ProcessGroupActor
from orchestrator.config import TrialConfig
from orchestrator.data.batches import HeldOut
from orchestrator.data.data import Data
from orchestrator.devices import GangResources


class PipelineActor(ProcessGroupActor):
    """Stage j of N: some of the serial network's units; the first also has C, the last h and the loss.

        stage 1   1 2 3 4          1 2 3 4        GPipe: every micro-batch forth, then every one back
        stage 2     1 2 3 4      1 2 3 4
        stage 3       1 2 3 4  1 2 3 4            1F1B: the same, but back as soon as forth

    Gradients are summed over the micro-batches and divided by their number: those of the mean over the
    batch, so that a network without BatchNorm is trained as in one process. BatchNorm normalises each
    micro-batch by itself, and its running statistics are updated with each. Validation passes whole
    batches through the stages.

    Args:
        config: the trial; its strategy names the schedule.
        tearing: the network in stages: cut, with nothing at the cuts.
        j: which stage, 1-based.
        data: the trial's images.
        resources: what the actor has reserved.
    """

    def __init__(
        self, config: TrialConfig, tearing: Tearing, j: int, data: Data, resources: GangResources
    ) -> None:
        import orchestrator.actors.stage  # noqa: F401 - now, so that what it imports is not the network's memory

        super().__init__(config, tearing, j, data, resources, name="stage")
        self.first, self.computes_loss = self.rank == 0, self.rank == self.size - 1
        tokens = self.first and tearing.network.vocabulary is not None
        self._read_type = torch.int64 if tokens else self.compute.activation_dtype
        self.reads = tearing.network.input_shape if self.first else tearing.shape(j)
        self.returns = tearing.network.trace.output_shape if self.computes_loss else tearing.shape(j + 1)
        self.own(_Stage(tearing, j, self.compute))

    def build(self) -> None:
        """Set up the schedule."""
        from torch.distributed.pipelining import Schedule1F1B, ScheduleGPipe

        from orchestrator.actors.stage import MeasuredStage

        n = self.config.n_microbatches

        def microbatch(shape: Shape, dtype: torch.dtype) -> Tensor:
            return torch.empty(self.config.batch_size // n, *shape, dtype=dtype, device="meta")

        self.stage = MeasuredStage(
            self.module,
            self.rank,
            self.size,
            self.device,
            input_args=microbatch(self.reads, self._read_type).requires_grad_(not self.first),
            output_args=microbatch(self.returns, self.compute.activation_dtype).requires_grad_(),
        )
        schedule = {"gpipe": ScheduleGPipe, "1f1b": Schedule1F1B}[self.config.strategy]
        self.schedule = schedule(self.stage, n, loss_fn=self._loss)

    def bytes_sent(self) -> int:
        """Activations and gradients sent so far."""
        return self.stage.bytes_sent

    def run_epoch(self, epoch: int) -> EpochReport:
        """Train one epoch (1-based) and validate, in step with the other stages.

        Raises:
            TransportError: another stage is gone or silent.
        """
        report = super().run_epoch(epoch)
        # The schedule waits where it is; all of a step that is no computation counts as that.
        step = sum(report.step_seconds) / len(report.step_seconds)
        wait = max(0.0, step - sum(report.activities.values()))
        return replace(report, activities=report.activities | {"stage.wait": wait})

    def train_step(self, epoch: int, step: int, total: Totals) -> None:
        """One optimizer step."""
        self.stage.clock = self.clock
        self.optimizer.zero_grad()
        loss = torch.empty((), dtype=self.compute.weight_dtype, device=self.device)
        if self.computes_loss:
            labels = self.batches.train_targets(epoch, step)
            losses: list[Tensor] = []
            logits = self.schedule.step(target=labels, losses=losses)
            loss = torch.stack(losses).detach().mean()
            total.add(loss, logits, labels)
        elif self.first:
            self.schedule.step(self.batches.train(epoch, step)[0])
        else:
            self.schedule.step()
        dist.broadcast(loss, src=self.size - 1)
        self.watch.look(loss)
        self.take_step(step, component="stage")

    def whole_square_norm(self, square_norm: float) -> float:
        """See :meth:`Actor.whole_square_norm`."""
        total = torch.tensor(square_norm, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return float(total)

    @torch.no_grad()
    def validate(self, images: HeldOut) -> Totals:
        """Loss and error over images that are held out, batch by batch from stage to stage."""
        total = Totals(self.task, self.device)
        for step in range(images.n_steps):
            batch, labels = images(step)
            if not self.first:
                shape = len(labels), *self.reads
                batch = torch.empty(shape, dtype=self.compute.activation_dtype, device=self.device)
                dist.recv(batch, self.rank - 1)
            output = self.module(batch)
            if self.computes_loss:
                total.add(self.task.loss(output, labels), output, labels)
            else:
                dist.send(output, self.rank + 1)
        return total

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of a micro-batch."""
        with self.clock("stage.forward"), self.compute.autocast():
            return self.task.loss(logits, labels)


class _Stage(nn.Sequential):
    """C (first stage), units, h (last stage)."""

    def __init__(self, tearing: Tearing, j: int, compute: Compute) -> None:
        components: dict[str, nn.Module] = {}
        if j == 1:
            components["preprocess"] = tearing.build_preprocess(1)
        components["units"] = tearing.build_subnetwork(j)
        if j == tearing.n_subnetworks:
            components["postprocess"] = tearing.build_postprocess()
        super().__init__(OrderedDict(components))
        self.compute = compute
        self.last = "postprocess" in components

    def forward(self, x: Tensor) -> Tensor:
        """Map a micro-batch to what the next stage receives, or to logits."""
        if x.requires_grad:
            # A copy, because autograd refuses units that overwrite a leaf in place.
            x = x.clone(memory_format=self.compute.memory_format(x))
        with self.compute.autocast():
            for component in self:
                x = component(x)
        return x if self.last else x.to(self.compute.activation_dtype).contiguous()
