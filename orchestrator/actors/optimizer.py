"""SGD and AdamW through torch's functional forms, and clipping of gradients that several processes hold.

Torch's classes import its compiler when they are first used: seconds of processor time and 400 MB in every
actor. Their functional forms, which do the arithmetic, do not.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from orchestrator.config import TrainingOptions


def make_optimizer(module: nn.Module, options: TrainingOptions) -> "Optimizer":
    """The optimizer that the options name, for all of a module that is to be trained."""
    return {"sgd": SGD, "adamw": AdamW}[options.optimizer](module, options)


class Optimizer(ABC):
    """What the optimizers have in common.

    Args:
        module: whose parameters to train.
        options: momentum, weight decay and the like.
    """

    def __init__(self, module: nn.Module, options: TrainingOptions) -> None:
        self._options = options
        self._parameters = {n: p for n, p in module.named_parameters() if p.requires_grad}
        self._state: dict[str, dict[str, Tensor]] = {name: {} for name in self._parameters}
        # One kernel for all on a GPU; a processor keeps the arithmetic of its earlier results.
        self._fused = any(p.device.type == "cuda" for p in self._parameters.values())
        # In tensors, so that a recorded step can be given other values; such a rate is single precision.
        single = self._fused and all(p.dtype is torch.float32 for p in self._parameters.values())
        self._rate: float | Tensor = torch.zeros((), device="cuda") if single else 0.0
        self._factor = torch.ones((), device="cuda" if self._fused else "cpu", dtype=torch.float64)

    def set_learning_rate(self, learning_rate: float) -> None:
        """The learning rate of every :meth:`step` from now on."""
        if isinstance(self._rate, Tensor):
            self._rate.fill_(learning_rate)
        else:
            self._rate = learning_rate

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self._parameters.values():
            parameter.grad = None

    def square_norm(self) -> Tensor:
        """Sum of the squares of all gradients, () in float64."""
        gradients = [g.abs() if g.is_complex() else g for g in self._gradients(self._parameters)]
        norms = [torch.linalg.vector_norm(gradient, dtype=torch.float64) for gradient in gradients]
        return torch.stack(norms).square().sum() if norms else torch.zeros((), dtype=torch.float64)

    def clip(self, square_norm: float) -> None:
        """Have the next :meth:`step` shorten all gradients so that they have the norm that is allowed.

        Args:
            square_norm: sum of the squares of all gradients there are, other processes' among them.
        """
        assert self._options.clip_norm is not None
        # As torch.nn.utils.clip_grad_norm_ does.
        self._factor.fill_(min(1.0, self._options.clip_norm / (square_norm**0.5 + 1e-6)))

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        names = [name for name, parameter in self._parameters.items() if parameter.grad is not None]
        if names and self._options.clip_norm is not None:
            for gradient in self._gradients(names):
                gradient.mul_(self._factor.to(gradient.dtype))
        decay = self._options.weight_decay
        if self._options.decay == "all":
            groups = {decay: names}
        else:
            groups = {decay: [], 0.0: []}
            for name in names:
                groups[decay if self._parameters[name].ndim > 1 else 0.0].append(name)
        for weight_decay, of_group in groups.items():
            if of_group:
                self._update(of_group, weight_decay)

    def _gradients(self, names: Collection[str]) -> list[Tensor]:
        return [gradient for name in names if (gradient := self._parameters[name].grad) is not None]

    @abstractmethod
    def _update(self, names: list[str], weight_decay: float) -> None:
        """Update these parameters, all of which have gradients."""

    def state_dict(self) -> dict[str, Tensor]:
        """What is remembered from step to step, under the parameters' names."""
        return {
            f"{name}{_BETWEEN}{key}" if key else name: value
            for name, of_name in self._state.items()
            for key, value in of_name.items()
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over what :meth:`state_dict` returned."""
        self._state = {name: {} for name in self._parameters}
        for full, value in state.items():
            name, _, key = full.partition(_BETWEEN)
            if name in self._state:
                self._state[name][key] = value


_BETWEEN = ":"  # which is in no parameter's name


class SGD(Optimizer):
    """``torch.optim.SGD``. Remembers a parameter's momentum buffer under its bare name."""

    def _update(self, names: list[str], weight_decay: float) -> None:
        if self._fused and self._options.momentum:  # which takes all buffers to be there, or none
            for name in names:
                self._state[name].setdefault("", torch.zeros_like(self._parameters[name]))
        buffers = [self._state[name].get("") for name in names]
        sgd(
            [self._parameters[name] for name in names],
            self._gradients(names),
            buffers,
            fused=self._fused or None,  # None: torch's own choice
            weight_decay=weight_decay,
            momentum=self._options.momentum,
            lr=self._rate,
            dampening=0.0,
            nesterov=self._options.nesterov,
            maximize=False,
        )
        for name, buffer in zip(names, buffers, strict=True):
            if buffer is not None:
                self._state[name][""] = buffer


class AdamW(Optimizer):
    """``torch.optim.AdamW``, β1 being the momentum."""

    def _update(self, names: list[str], weight_decay: float) -> None:
        for name in (name for name in names if not self._state[name]):
            parameter = self._parameters[name]
            self._state[name] = {
                "step": torch.zeros((), device=parameter.device if self._fused else "cpu"),
                "mean": torch.zeros_like(parameter),
                "square": torch.zeros_like(parameter),
            }
        states = [self._state[name] for name in names]
        adam(
            [self._parameters[name] for name in names],
            self._gradients(names),
            [state["mean"] for state in states],
            [state["square"] for state in states],
            [],
            [state["step"] for state in states],
            fused=self._fused or None,
            has_complex=any(self._parameters[name].is_complex() for name in names),
            decoupled_weight_decay=True,
            amsgrad=False,
            beta1=self._options.momentum,
            beta2=self._options.beta2,
            lr=self._rate,
            weight_decay=weight_decay,
            eps=1e-8,
            maximize=False,
        )
