"""Corrected: the passes of g^j in one step that begin from what the driver has found, there and back."""

import torch
from torch import Tensor

from models.autograd import seed_gradient
from models.compute import Compute
from models.iterations import Repeated


class Corrected:
    """x_j and y_j = g^j(x_j) of one batch, from one iteration to the next.

        forward      x_j += correction,  Δ = g^j(x_j) − y_j,  y_j += Δ        both begin as 0, or by `begin`
        backward     ∂L/∂y_j is ∂L/∂Δ of this pass less that of the one after; ∂L/∂correction is the sum of
                     ∂L/∂x_j over this pass and those after

    Args:
        units: g^j, for one step.
        compute: how it computes.
        seed: memory for ∂L/∂y_j.
    """

    def __init__(self, units: Repeated, compute: Compute, seed: Tensor) -> None:
        self._units, self._compute, self.seed = units, compute, seed
        self._x: Tensor | None = None
        self._y: Tensor | None = None
        self._passes: list[tuple[Tensor, Tensor]] = []
        self._after: Tensor | None = None
        self._gradient: Tensor | None = None

    def begin(self, x: Tensor, y: Tensor) -> None:
        """Go on from a pass that is made already, from x_j = C^j(x)."""
        self._x, self._y = x.detach(), y.detach()

    def correct(self, correction: Tensor) -> Tensor:
        """Δ, after a pass."""
        x = correction if self._x is None else self._x + correction
        x = x.contiguous(memory_format=self._compute.memory_format(x))  # as in one process
        x.requires_grad_(torch.is_grad_enabled())
        with self._compute.autocast():
            y = self._units(x)
        if y.requires_grad:
            self._passes.append((x, seed_gradient(y, self.seed)))
        change = y.detach() if self._y is None else y.detach() - self._y
        self._x, self._y = x.detach(), y.detach()
        return change

    def back(self, gradient: Tensor) -> Tensor:
        """From ∂L/∂Δ to ∂L/∂correction of the last pass that has not been gone back through."""
        self.arrived(gradient)
        x, loss = self._passes.pop()
        loss.backward()
        assert x.grad is not None  # the plan has seen that g^j lets it through
        self._gradient = x.grad if self._gradient is None else self._gradient + x.grad
        return self._gradient

    def arrived(self, gradient: Tensor) -> None:
        """Write ∂L/∂y_j to its place, from ∂L/∂Δ of a pass."""
        self.seed.copy_(gradient)
        if self._after is not None:
            self.seed.sub_(self._after)
        self._after = gradient.clone()

    def back_to(self, x: Tensor, loss: Tensor | None) -> Tensor | None:
        """What to go back from in the pass that was made already: ``loss``, and what came of x_j later."""
        if self._gradient is None or not x.requires_grad:
            return loss
        of_x = seed_gradient(x, self._gradient)
        return of_x if loss is None else loss + of_x
