"""Parts of a training step, recorded once as CUDA graphs and replayed from then on."""

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from models.compute import Compute

Result = TypeVar("Result")

WARMUP = 2
"""Times that a part runs as it is before it is recorded: by then the fastest algorithms are chosen, buffers
are there, and the optimizer's first step, which differs from all others, is over."""


class Recorder:
    """Calls the parts of a step; with ``compute.graphs``, from the third time on as CUDA graphs.

    A replay takes one launch, whatever the number of kernels. What a part does is frozen: it reads and
    writes the memory that it read and wrote when it was recorded, and what Python does in it is not done
    again. So everything that changes from step to step has to come in tensors that stay where they are
    (:meth:`fixed`), and a part's results stay where they are too. A backward pass may be a part of its own,
    later than its forward pass. Every step must go through the same parts in the same order, because they
    share memory.

    Args:
        compute: how the parts compute; without ``graphs`` they are only called.
        module: what the parts train; its counters on the CPU (:meth:`Compute.place`) go on as they should.
        pool: memory that the graphs of several recorders share, from ``torch.cuda.graph_pool_handle()``: what
            one keeps from step to step is overwritten by another.
    """

    def __init__(self, compute: Compute, module: nn.Module, *, pool: Any = None) -> None:
        self._on = compute.graphs
        self._module = module
        self._pool = pool if pool is not None or not self._on else torch.cuda.graph_pool_handle()
        self._calls: Counter[Hashable] = Counter()
        self._recorded: dict[Hashable, tuple[torch.cuda.CUDAGraph, list[Tensor], Any]] = {}
        self._fixed: dict[Hashable, Tensor] = {}

    def __call__(self, name: Hashable, part: Callable[[], Result]) -> Result:
        """The result of ``part``; that of a recorded one is always the same object, with new values.

        Raises:
            RuntimeError: the part does what cannot be recorded, such as waiting for a value on the host.
        """
        if not self._on:
            return part()
        if name in self._recorded:
            graph, counters, result = self._recorded[name]
            graph.replay()
            if counters:
                torch._foreach_add_(counters, 1)
            return cast(Result, result)
        self._calls[name] += 1
        return part() if self._calls[name] <= WARMUP else self._record(name, part)

    def fixed(self, name: Hashable, tensor: Tensor) -> Tensor:
        """The tensor or, where parts are recorded, a copy of it that is in the same place every time."""
        if not self._on:
            return tensor
        if name not in self._fixed:
            self._fixed[name] = torch.empty_like(tensor)
        return self._fixed[name].copy_(tensor)

    def _record(self, name: Hashable, part: Callable[[], Result]) -> Result:
        counters = [buffer for buffer in self._module.buffers() if buffer.device.type == "cpu"]
        before = [counter.clone() for counter in counters]
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(
                graph,
                pool=self._pool,
                stream=torch.cuda.current_stream(),
                # Other threads of the process, such as the one of the links, may do what they want.
                capture_error_mode="thread_local",
            ):
                result = part()
        except RuntimeError as error:
            raise RuntimeError(
                f"{name} cannot be recorded as a CUDA graph ({error}): leave out --graphs True"
            ) from error
        graph.replay()  # recording computes nothing
        counted = [c for c, old in zip(counters, before, strict=True) if not torch.equal(c, old)]
        self._recorded[name] = graph, counted, result
        return result
