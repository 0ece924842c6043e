"""SGD with momentum and weight decay, through torch's functional form."""

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd


class SGD:
    """What ``torch.optim.SGD`` computes, without its class.

    The class imports torch's compiler when it is first used: seconds of processor time and 400 MB in
    every actor. Its functional form, which does the arithmetic, does not.

    Args:
        module: whose parameters to train.
        momentum: factor of the momentum buffer.
        weight_decay: factor of the parameter that is added to its gradient.
    """

    def __init__(self, module: nn.Module, *, momentum: float, weight_decay: float) -> None:
        self._parameters = {n: p for n, p in module.named_parameters() if p.requires_grad}
        self._buffers: dict[str, Tensor | None] = dict.fromkeys(self._parameters)
        self._momentum = momentum
        self._weight_decay = weight_decay
        # One kernel for all on a GPU; a processor keeps the arithmetic of its earlier results.
        self._fused = any(p.device.type == "cuda" for p in self._parameters.values())
        # In a tensor, so that a recorded step can be given another rate; such a one is single precision.
        single = self._fused and all(p.dtype is torch.float32 for p in self._parameters.values())
        self._rate: float | Tensor = torch.zeros((), device="cuda") if single else 0.0

    def set_learning_rate(self, learning_rate: float) -> None:
        """The factor of the momentum buffer in every :meth:`step` from now on."""
        if isinstance(self._rate, Tensor):
            self._rate.fill_(learning_rate)
        else:
            self._rate = learning_rate

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self._parameters.values():
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        names = [name for name, parameter in self._parameters.items() if parameter.grad is not None]
        if not names:
            return
        if self._fused and self._momentum:  # which takes all buffers to be there, or none
            for name in names:
                if self._buffers[name] is None:
                    self._buffers[name] = torch.zeros_like(self._parameters[name])
        buffers = [self._buffers[name] for name in names]
        sgd(
            [self._parameters[name] for name in names],
            [gradient for name in names if (gradient := self._parameters[name].grad) is not None],
            buffers,
            fused=self._fused or None,  # None: torch's own choice
            weight_decay=self._weight_decay,
            momentum=self._momentum,
            lr=self._rate,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )
        self._buffers.update(zip(names, buffers, strict=True))

    def state_dict(self) -> dict[str, Tensor]:
        """The momentum buffers there are, by parameter name."""
        return {name: buffer for name, buffer in self._buffers.items() if buffer is not None}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over what :meth:`state_dict` returned."""
        self._buffers = {name: state.get(name) for name in self._parameters}
