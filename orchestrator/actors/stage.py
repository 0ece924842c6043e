"""MeasuredStage: torch's pipeline stage, which keeps time and counts what it sends.

A module of its own because torch.distributed.pipelining imports torch's compiler: two seconds of
processor time and 150 MB, for the actors of a pipeline alone.
"""

from typing import Any

from torch.distributed.pipelining import PipelineStage

from orchestrator.actors.clock import Clock


class MeasuredStage(PipelineStage):
    """A :class:`torch.distributed.pipelining.PipelineStage` with a clock.

    Attributes:
        clock: takes the time of forward and backward passes; set before every epoch.
        bytes_sent: activations and gradients sent so far.
    """

    clock: Clock
    bytes_sent = 0

    def forward_one_chunk(self, *args: Any, **kwargs: Any) -> Any:
        """One micro-batch forth; raises the module's own error where torch hides it behind its own."""
        try:
            with self.clock("stage.forward"):
                return super().forward_one_chunk(*args, **kwargs)
        except RuntimeError as error:
            raise error.__cause__ or error from None

    def backward_one_chunk(self, *args: Any, **kwargs: Any) -> None:
        """One micro-batch back."""
        with self.clock("stage.backward"):
            super().backward_one_chunk(*args, **kwargs)

    def get_fwd_send_ops(self, *args: Any) -> list[Any]:
        """What goes to the next stage."""
        return self._counted(super().get_fwd_send_ops(*args))

    def get_bwd_send_ops(self, *args: Any) -> list[Any]:
        """What goes to the stage before."""
        return self._counted(super().get_bwd_send_ops(*args))

    def _counted(self, operations: list[Any]) -> list[Any]:
        self.bytes_sent += sum(operation.tensor.nbytes for operation in operations)
        return operations
