"""Loss and error rate over the batches of an epoch."""

import torch
from torch import Tensor


class Totals:
    """Sums over batches, kept on the device until asked for.

    Attributes:
        sums: loss, wrong answers and images, (3,) in float64; those of several processes add up.
    """

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(3, dtype=torch.float64, device=device)

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add one batch: its mean loss, logits (batch, n_classes) and labels (batch,); waits for nothing."""
        n = len(labels)
        wrong = (logits.argmax(dim=1) != labels).sum()
        images = torch.full_like(wrong, n, dtype=torch.float64)  # a kernel: a tensor of a number is a copy
        self.sums += torch.stack([loss.detach().double() * n, wrong.double(), images])

    @property
    def loss(self) -> float:
        """Mean loss an image."""
        return float(self.sums[0] / self.sums[2])

    @property
    def error(self) -> float:
        """Error rate in %."""
        return float(100 * self.sums[1] / self.sums[2])


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
