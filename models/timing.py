"""Virtual wall-clock: the gradient time of each component alone, on one device (paper, Table 2).

Components are built, timed and dropped one after the other, so that only one needs to fit in memory.
Needs torch only.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from models.autograd import seed_gradient
from models.compute import Compute
from models.feedforward import Shape
from models.initialisation import ModuleFactory
from models.recorder import WARMUP, Recorder
from models.step_time import Cost, StepCosts
from models.tearing import Tearing

Result = TypeVar("Result")

CPU = Compute()
"""The default of all measurements."""


@dataclass(frozen=True)
class ComponentTime:
    """One measured pass through one component.

    Attributes:
        component: ``"preprocess"``, ``"subnetwork"``, ``"coarse_network"`` or ``"postprocess"``.
        subnetwork: j of C^j, g^j or F^j; 0 for the postprocess.
        direction: ``"forward"`` or ``"backward"`` (gradients of parameters and of the input).
        repeat: 0-based number of the measurement.
        seconds: device-synchronised duration.
        memory_bytes: what the component needs to be trained: its parameters, their gradients and the
            tensors that the forward pass keeps for the backward pass.
    """

    component: str
    subnetwork: int
    direction: str
    repeat: int
    seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class Component:
    """What is timed alone.

    Attributes:
        build: makes the module.
        reads: shape of one sample that it reads.
        is_preprocess: whether that is the network's input, which needs no gradient.
        vocabulary: of that input, where it is whole numbers.
        with_loss: put a cross-entropy loss on top.
        corrects: of F^j, shape of r_{j+1}: what the driver does with F^j counts as well; it copies r̃_j, which
            F^j might overwrite unless it is the identity, and adds what F^j returns to r_{j+1}.
    """

    build: ModuleFactory
    reads: Shape
    is_preprocess: bool = field(kw_only=True, default=False)
    vocabulary: int | None = field(kw_only=True, default=None)
    with_loss: bool = field(kw_only=True, default=False)
    corrects: Shape | None = field(kw_only=True, default=None)

    def passes(self, batch_size: int, compute: Compute, *, pool: Any = None) -> "Passes":
        """Build it, ready to be timed; ``pool`` is :class:`~models.recorder.Recorder`'s."""
        shape = batch_size, *self.reads
        if self.vocabulary is not None:
            sample = torch.randint(self.vocabulary, shape, device=compute.device)
        elif self.is_preprocess:
            sample = torch.randn(shape, device=compute.device, dtype=compute.weight_dtype)
        else:
            sample = compute.empty(*shape).normal_().requires_grad_()
        residual = None if self.corrects is None else compute.empty(batch_size, *self.corrects).zero_()
        module = compute.place(self.build()).train()
        return Passes(module, sample, compute, with_loss=self.with_loss, residual=residual, pool=pool)


class Passes:
    """Passes through one component, as many as are asked for; its arguments are those of a `Component`.

    With ``compute.graphs`` the first ones (:data:`~models.recorder.WARMUP`) are not typical.
    """

    def __init__(
        self,
        module: nn.Module,
        sample: Tensor,
        compute: Compute,
        *,
        with_loss: bool,
        residual: Tensor | None,
        pool: Any = None,
    ) -> None:
        self.module, self.sample = module, sample
        self._compute, self._with_loss, self._residual = compute, with_loss, residual
        self._recorder = Recorder(compute, module, pool=pool)

    def __call__(self) -> Cost:
        """Seconds of one forward and one backward pass: the device's on a GPU, else the host's."""
        # Autograd refuses units that overwrite a leaf in place, so they get a copy.
        x = None if self._residual is not None else self._recorder("copy", self.sample.clone)
        forward, output = self._timed("forward", partial(self._forward, x))
        backward = 0.0
        if output.requires_grad:  # a preprocess without parameters has no backward pass, nor has the identity
            backward, _ = self._timed("backward", partial(self._backward, output))
        self.module.zero_grad(set_to_none=True)  # a recorded pass goes on writing to where they were
        self.sample.grad = None
        return Cost(forward, backward)

    def memory_bytes(self) -> int:
        """What the component needs to be trained, see :class:`ComponentTime`."""
        return _memory_bytes(self.module, self.sample, self._compute)

    def _forward(self, x: Tensor | None) -> Tensor:
        if self._residual is not None and isinstance(self.module, nn.Identity):  # the driver adds r̃_j itself
            return self._residual.add_(self.sample.detach())
        with self._compute.autocast():
            output: Tensor = self.module(self.sample.clone() if x is None else x)
            if self._with_loss:
                rows = output.reshape(-1, output.shape[-1])  # of classes or, at every place, of tokens
                output = nn.functional.cross_entropy(rows, rows.new_zeros(len(rows), dtype=torch.long))
        if self._residual is not None:
            self._residual.add_(output.detach())
        return output

    def _backward(self, output: Tensor) -> None:
        (output if self._with_loss else seed_gradient(output, torch.ones_like(output))).backward()

    def _timed(self, name: str, part: Callable[[], Result]) -> tuple[float, Result]:
        """Seconds of a part that begins when all before it is done."""
        if self.sample.device.type != "cuda":
            begin = time.perf_counter()
            result = self._recorder(name, part)
            return time.perf_counter() - begin, result
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        result = self._recorder(name, part)
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3, result


def components(tearing: Tearing) -> Iterator[tuple[str, int, Component]]:
    """Every component of a torn network with its name and j, as in :class:`ComponentTime`."""
    n, network = tearing.n_subnetworks, tearing.network
    of_input = partial(
        Component, reads=network.input_shape, is_preprocess=True, vocabulary=network.vocabulary
    )
    for j in range(1, n + 1):
        yield "preprocess", j, of_input(partial(tearing.build_preprocess, j))
        yield "subnetwork", j, Component(partial(tearing.build_subnetwork, j), tearing.shape(j))
    for j in range(1, n):
        reads, returns = tearing.shape(j + 1), tearing.shape(j + 2)
        yield "coarse_network", j, Component(partial(tearing.build_coarse, j), reads, corrects=returns)
    yield "postprocess", 0, Component(tearing.build_postprocess, tearing.shape(n + 1), with_loss=True)


def time_components(
    tearing: Tearing,
    *,
    batch_size: int,
    compute: Compute = CPU,
    repeats: int = 5,
    warmup: int = 2,
) -> Iterator[ComponentTime]:
    """Time forward and backward of every C^j, g^j, F^j and of h with its loss, on random input.

    Args:
        tearing: the torn network.
        batch_size: samples per batch.
        compute: where and how to run.
        repeats: measurements of each component.
        warmup: unmeasured passes before them, beside those that recording graphs takes.

    Yields:
        ``repeats`` × 2 measurements a component, component by component.
    """
    warmup += (WARMUP + 1) * compute.graphs
    for name, j, component in components(tearing):
        # The module lives in this call alone: it is gone when the next one is built.
        memory, costs = _time_one(component, batch_size, compute, warmup + repeats)
        for repeat, cost in enumerate(costs[warmup:]):
            yield ComponentTime(name, j, "forward", repeat, cost.forward, memory)
            yield ComponentTime(name, j, "backward", repeat, cost.backward, memory)


def _time_one(
    component: Component, batch_size: int, compute: Compute, n_passes: int
) -> tuple[int, list[Cost]]:
    """Bytes of one component, and what each pass through it took."""
    passes = component.passes(batch_size, compute)
    costs = [passes() for _ in range(n_passes)]
    return passes.memory_bytes(), costs


def step_costs(times: Iterable[ComponentTime], n_iterations: int = 1) -> list[StepCosts]:
    """What :func:`time_components` has measured as the costs of a step, one entry a repeat."""
    seconds: dict[tuple[int, str, int], dict[str, float]] = defaultdict(dict)
    for one in times:
        seconds[one.repeat, one.component, one.subnetwork][one.direction] = one.seconds

    def costs(repeat: int, component: str) -> tuple[Cost, ...]:
        return tuple(
            Cost(each["forward"], each["backward"])
            for (r, c, _), each in sorted(seconds.items())
            if (r, c) == (repeat, component)
        )

    return [
        StepCosts(
            preprocess=costs(repeat, "preprocess"),
            subnetworks=costs(repeat, "subnetwork"),
            coarse_network=costs(repeat, "coarse_network"),
            postprocess=costs(repeat, "postprocess")[0],
            n_iterations=n_iterations,
        )
        for repeat in sorted({repeat for repeat, _, _ in seconds})
    ]


def _memory_bytes(module: nn.Module, sample: Tensor, compute: Compute) -> int:
    """Bytes of the parameters twice (values and gradients) and of all tensors kept for the backward pass."""
    return kept_bytes(module, sample, compute) + 2 * sum(_parameter_storages(module).values())


def kept_bytes(module: nn.Module, sample: Tensor, compute: Compute) -> int:
    """Bytes of the tensors that a forward pass keeps for the backward pass, parameters aside.

    Counted, not measured: the same on every device, and free of what an allocator keeps in reserve.
    """
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    # The compiler would take the hooks for part of the module. Only for those who ask for it: importing it
    # takes seconds.
    as_written = torch.compiler.set_stance("force_eager") if compute.compiled else nullcontext()
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with as_written, compute.autocast(), hooks:
        output = module(sample.clone())  # alive until the storages are counted: none is used twice
    parameters = _parameter_storages(module)
    del output
    return sum(n_bytes for storage, n_bytes in kept.items() if storage not in parameters)


def _parameter_storages(module: nn.Module) -> dict[int, int]:
    """Bytes by address."""
    storages = (parameter.untyped_storage() for parameter in module.parameters())
    return {storage.data_ptr(): storage.nbytes() for storage in storages}
