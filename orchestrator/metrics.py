"""Loss and error rate over the batches of an epoch."""

import torch
from torch import Tensor


class Totals:
    """Sums over batches, kept on the device until asked for."""

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(3, dtype=torch.float64, device=device)

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add one batch: its mean loss, logits (batch, n_classes) and labels (batch,)."""
        n = len(labels)
        wrong = (logits.argmax(dim=1) != labels).sum()
        self._sums += torch.stack([loss.detach().double() * n, wrong.double(), wrong.new_tensor(n).double()])

    @property
    def loss(self) -> float:
        """Mean loss an image."""
        return float(self._sums[0] / self._sums[2])

    @property
    def error(self) -> float:
        """Error rate in %."""
        return float(100 * self._sums[1] / self._sums[2])
