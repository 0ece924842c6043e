"""Loss and metric over the batches of an epoch."""

import torch
from torch import Tensor

from models.task import Task


class Totals:
    """Sums over batches, kept on the device until asked for.

    Args:
        task: says what is added up.
        device: where.

    Attributes:
        sums: loss and samples, then the task's own, (2 + n_sums,) in float64; several processes' add up.
    """

    def __init__(self, task: Task, device: torch.device) -> None:
        self._task = task
        self.sums = torch.zeros(2 + task.n_sums, dtype=torch.float64, device=device)

    @torch.no_grad()
    def add(self, loss: Tensor, outputs: Tensor, targets: Tensor) -> None:
        """Add one batch: its mean loss, outputs (batch, …) and targets (batch, …); waits for nothing."""
        n = torch.full_like(
            loss, len(targets), dtype=torch.float64
        )  # a kernel: a tensor of a number is a copy
        of_task = self._task.sums(outputs.detach(), targets).double()
        self.sums += torch.cat([torch.stack([loss.detach().double() * n, n]), of_task])

    @property
    def n_samples(self) -> int:
        """How many samples were added."""
        return int(self.sums[1])

    @property
    def loss(self) -> float:
        """Mean loss a sample."""
        return float(self.sums[0] / self.sums[1])

    @property
    def metric(self) -> float:
        """The task's figure."""
        return self._task.value(self.sums[2:].tolist())


class FiniteWatch:
    """Whether the loss last looked at was finite, asked one step later.

    By then the answer lies on the host: a GPU does not run dry while the host waits for it.
    """

    def __init__(self, device: torch.device) -> None:
        self._event = torch.cuda.Event() if device.type == "cuda" else None
        self._finite = torch.ones((), dtype=torch.bool, pin_memory=self._event is not None)

    def look(self, loss: Tensor) -> None:
        """Look at a loss; does not wait for it."""
        self._finite.copy_(torch.isfinite(loss.detach()), non_blocking=True)
        if self._event is not None:
            self._event.record()

    def finite(self) -> bool:
        """Whether all is well; True before the first look."""
        if self._event is not None:
            self._event.synchronize()
        return bool(self._finite)
