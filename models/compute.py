"""How a network computes: device, floating-point types, memory layout, compiler, CUDA graphs."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn

Precision = Literal["float32", "tf32", "float64", "bfloat16"]

_MOST_VARIANTS = 64  # of one kind of unit, by widths and shapes; torch gives up after 8


@dataclass(frozen=True)
class Compute:
    """How components are placed and run.

    Attributes:
        device: where they are.
        precision: floating-point type; ``"float32"`` is IEEE's in convolutions and matrix products alike,
            ``"tf32"`` rounds what they read to 10 bits of mantissa (GPUs since NVIDIA's Ampere; the same as
            float32 on a CPU); ``"bfloat16"`` is for activations, by autocast: weights, their gradients and
            the loss stay float32.
        channels_last: keep images with their channels together in memory, as most convolutions of
            today compute fastest; rounding may differ.
        compiled: run units through ``torch.compile``; takes minutes at first, rounding may differ.
        graphs: record what is computed in a step once as CUDA graphs and replay them
            (:class:`models.recorder.Recorder`); only on a GPU.
    """

    device: torch.device = field(default_factory=partial(torch.device, "cpu"))
    precision: Precision = "float32"
    channels_last: bool = False
    compiled: bool = False
    graphs: bool = False

    def settle(self) -> None:
        """Have this thread's GPU compute as ``precision`` and ``graphs`` need it; before any other work.

        By torch's older switches alone: torch's compiler reads those, and reading them raises once the
        newer ones (``fp32_precision``) were set to anything else.
        """
        if self.device.type == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = self.precision == "tf32"
            torch.backends.cudnn.allow_tf32 = self.precision == "tf32"
            torch.backends.cudnn.benchmark = True  # batches keep their shape: the fastest algorithm for it
            if self.graphs and torch.cuda.current_stream() == torch.cuda.default_stream():
                torch.cuda.set_stream(torch.cuda.Stream())  # the default one cannot be recorded

    @property
    def weight_dtype(self) -> torch.dtype:
        """Type of weights and of images."""
        return torch.float64 if self.precision == "float64" else torch.float32

    @property
    def activation_dtype(self) -> torch.dtype:
        """Type of what travels between components."""
        return torch.bfloat16 if self.precision == "bfloat16" else self.weight_dtype

    @property
    def asked(self) -> str:
        """The options that make a component compute otherwise than it was tried at first; "" for none."""
        options = []
        if self.precision in ("float64", "bfloat16"):
            options.append(f"--precision {self.precision}")
        if self.channels_last:
            options.append("--channels-last True")
        return " ".join(options)

    def memory_format(self, tensor_or_shape: Tensor | tuple[int, ...]) -> torch.memory_format:
        """Layout of an activation with its batch dimension."""
        shape = tensor_or_shape.shape if isinstance(tensor_or_shape, Tensor) else tensor_or_shape
        return torch.channels_last if self.channels_last and len(shape) == 4 else torch.contiguous_format

    def nbytes(self, *shape: int) -> int:
        """Size of an activation."""
        return prod(shape) * self.activation_dtype.itemsize

    def empty(self, *shape: int, memory: Tensor | None = None) -> Tensor:
        """Memory for an activation: at the beginning of ``memory``, a vector of bytes, if that is given."""
        activation = torch.empty(
            shape,
            dtype=self.activation_dtype,
            device=self.device if memory is None else "meta",
            memory_format=self.memory_format(shape),
        )
        if memory is None:
            return activation
        return memory.view(activation.dtype).as_strided(shape, activation.stride())

    def in_memory_order(self, activation: Tensor) -> Tensor:
        """An activation as it lies in memory, to be sent or received into: a view where it lies right."""
        activation = activation.contiguous(memory_format=self.memory_format(activation))
        return (
            activation.movedim(1, -1) if self.memory_format(activation) is torch.channels_last else activation
        )

    def reads(self, inputs: Tensor) -> Tensor:
        """What a network is given: inputs in their type, whole numbers as they are."""
        return inputs.to(self.weight_dtype) if inputs.is_floating_point() else inputs

    def travels(self, activation: Tensor) -> Tensor:
        """An activation as another actor receives it."""
        return activation.to(self.activation_dtype).contiguous(memory_format=self.memory_format(activation))

    def place(self, module: nn.Module) -> nn.Module:
        """Take a component to the device, in its types and layout."""
        module = module.to(self.device, self.weight_dtype)
        if self.channels_last:
            module = module.to(memory_format=torch.channels_last)
        if self.device.type == "cuda" and not self.compiled:
            _keep_counters_on_cpu(module)
        if self.compiled:
            from torch._dynamo import config  # takes seconds: for those who ask for it

            config.recompile_limit = _MOST_VARIANTS
            _compile_units(module)
        return module

    def autocast(self) -> AbstractContextManager[object]:
        """The context of every forward pass."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16")


def _keep_counters_on_cpu(module: nn.Module) -> None:
    """Leave the ``num_batches_tracked`` of every BatchNorm that does not go by it on the CPU.

    A GPU would be asked three times a residual unit to add 1 to one of them. Without momentum, running
    statistics are means over so many batches, and the counter is needed.
    """
    for norm in module.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.momentum is not None:
            counter = norm.num_batches_tracked
            norm.num_batches_tracked = None if counter is None else counter.cpu()


def _compile_units(module: nn.Module) -> None:
    """Compile what a container holds one by one: equal units then share their code."""
    children = list(module.children())
    container = isinstance(module, nn.Sequential | nn.ModuleDict | nn.ModuleList)
    if container or any(isinstance(child, nn.ModuleList) for child in children):
        for child in children:
            _compile_units(child)
    else:
        module.compile()
