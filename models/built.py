"""One component, built to be run on samples before anything is trained."""

import copy
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from models.draws import OtherRandomNumbersError, torchs_random_numbers
from models.initialisation import ModuleFactory, as_factory, build_seeded, seeded

ANY_ERROR = (Exception, SystemExit)
"""What a user's code may raise."""


def said(error: BaseException) -> str:
    """What an error says, in a line: its first, and what follows a colon at the end of that."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]


class Built:
    """One component, built and run.

    Args:
        source: the component or its factory.
        what: how messages call it, such as ``"unit 3"``.

    Attributes:
        module: the component.
        what: the same, with the name of its class.
        n_parameters: number of its parameters.
        trainable: the names of those that are to be trained.
        reads_gradient: whether a gradient with respect to what it reads is asked for, as it is unless nothing
            before it is trained.

    Raises:
        ValueError: it cannot be built, or holds what no actor could; the message names it.
    """

    def __init__(self, source: nn.Module | ModuleFactory, what: str, *, reads_gradient: bool = True) -> None:
        self._source, self._name, self.reads_gradient = source, what, reads_gradient
        try:
            with torchs_random_numbers(what):
                self.module = build_seeded(as_factory(source), 0)
        except OtherRandomNumbersError:
            raise
        except ANY_ERROR as error:
            if isinstance(source, nn.Module):
                raise ValueError(
                    f"{what} ({type(source).__name__}) cannot be copied: {said(error)}"
                ) from error
            raise ValueError(f"{what} cannot be built: {said(error)}") from error
        if not isinstance(self.module, nn.Module):
            raise ValueError(f"{what} is a {type(self.module).__name__}: have its factory return a module")
        self.what = f"{what} ({type(self.module).__name__})"
        parameters = list(self.module.parameters())
        if any(is_lazy(parameter) for parameter in parameters):
            # Its shapes, and with them the weights, would be settled in each process by itself.
            raise ValueError(
                f"{self.what} must know its shapes, but it holds a lazy module: give the number of its inputs"
            )
        if any(tensor.is_complex() for tensor in (*parameters, *self.module.buffers())):
            raise ValueError(f"{self.what} holds complex numbers: keep real and imaginary parts apart")
        if any(tensor.is_meta for tensor in (*parameters, *self.module.buffers())):
            raise ValueError(f"{self.what} is on the meta device and has no weights: build it on the CPU")
        if any(getattr(child, "sparse", False) is True for child in self.module.modules()):
            raise ValueError(f"{self.what} has sparse gradients, which do not travel: leave sparse=True out")
        self.module = self.module.float()  # as it will be placed, also where it was built in another type
        self._kept = kinds_of(self.module)
        self.n_parameters = sum(parameter.numel() for parameter in parameters)
        self.trainable = [name for name, p in self.module.named_parameters() if p.requires_grad]

    def run(self, batch: Tensor, *, training: bool) -> Tensor:
        """What the component makes of a batch, which is left as it is.

        Raises:
            ValueError: it cannot read the batch, or returns what the next component could not.
        """
        leaf = batch.clone().requires_grad_(training and self.reads_gradient and batch.is_floating_point())
        return self._run(leaf.clone(), training=training).detach()

    def _run(self, batch: Tensor, *, training: bool) -> Tensor:
        """As :meth:`run`, of a batch that may be overwritten; in training the output has its graph."""
        with torch.set_grad_enabled(training):
            output = self._call(self.module.train(training), batch)
        n = len(batch)
        if not isinstance(output, Tensor):
            raise ValueError(
                f"{self.what} returns {type(output).__name__}{' in training' if training else ''}, where one "
                "tensor is needed: wrap it in a module that keeps the one that the next reads"
            )
        if output.shape[:1] != batch.shape[:1]:
            raise ValueError(
                f"{self.what} turns a batch of {n} into shape {tuple(output.shape)}: keep dimension 0"
            )
        if output.dtype != (batch.dtype if batch.is_floating_point() else torch.get_default_dtype()):
            raise ValueError(
                f"{self.what} returns {output.dtype} for {batch.dtype}: between components numbers are of "
                "one floating-point type, so what makes others and what reads them belong into one component"
            )
        return output

    def _state(self) -> dict[str, Any]:
        """What an actor's checkpoint would hold of the component, copied."""
        state = self.module.state_dict()
        return copy.deepcopy(state | {k: v for k, v in self.module.named_buffers() if k not in state})

    def _take_back(self, state: dict[str, Any]) -> None:
        """Be as :meth:`_state` was."""
        own = self.module.state_dict().keys()
        try:
            self.module.load_state_dict({name: value for name, value in state.items() if name in own})
        except ANY_ERROR as error:
            raise ValueError(f"{self.what} cannot take its own state back: {said(error)}") from error
        for name in state.keys() - own:
            self.module.get_buffer(name).copy_(state[name])

    def _call(self, module: nn.Module, batch: Tensor) -> Tensor:
        shape = tuple(batch.shape[1:])
        try:
            inputs = _required_inputs(module)
            if len(inputs) > 1:
                raise ValueError(f"it needs {len(inputs)} inputs, {', '.join(inputs)}, and gets one tensor")
            with seeded(0, "probe"), torchs_random_numbers(self.what):
                before = torch.get_rng_state()
                output: Tensor = module(batch)
                self._draws = not torch.equal(torch.get_rng_state(), before)
        except OtherRandomNumbersError:
            raise
        except ANY_ERROR as error:
            raise ValueError(f"{self.what} cannot read a sample of shape {shape}: {said(error)}") from error
        return output


def kinds_of(module: nn.Module) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """Shapes and types of parameters and buffers, by name."""
    return {name: (t.shape, t.dtype) for name, t in (*module.named_parameters(), *module.named_buffers())}


def _required_inputs(module: nn.Module) -> list[str]:
    """Names of the arguments without which ``forward`` cannot be called."""
    forward: Callable[..., Tensor] = module.forward
    try:
        parameters = inspect.signature(forward).parameters
    except ValueError:  # torch's scripted ones have none
        return []
    return [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
