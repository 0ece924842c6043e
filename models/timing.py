"""Virtual wall-clock: the gradient time of each component alone, on one device (paper, Table 2).

Components are built, timed and dropped one after the other, so that only one needs to fit in memory.
Needs torch only.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from models.autograd import seed_gradient
from models.compute import Compute
from models.feedforward import Shape
from models.initialisation import ModuleFactory
from models.step_time import Cost, StepCosts
from models.tearing import Tearing

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
        warmup: unmeasured passes before them.

    Yields:
        ``repeats`` × 2 measurements a component, in the order of the network.
    """
    n = tearing.n_subnetworks
    image = tearing.network.input_shape
    components: list[tuple[str, int, ModuleFactory, Shape]] = []
    for j in range(1, n + 1):
        components.append(("preprocess", j, partial(tearing.build_preprocess, j), image))
        components.append(("subnetwork", j, partial(tearing.build_subnetwork, j), tearing.shape(j)))
    for j in range(1, n):
        components.append(("coarse_network", j, partial(tearing.build_coarse, j), tearing.shape(j + 1)))
    components.append(("postprocess", 0, tearing.build_postprocess, tearing.shape(n + 1)))
    for component, j, build, shape in components:
        sample = random_input((batch_size, *shape), compute, is_image=component == "preprocess")
        residual = None
        if component == "coarse_network":
            residual = compute.empty(batch_size, *tearing.shape(j + 2)).zero_()
        with_loss = component == "postprocess"
        # The module lives in this call alone: it is gone when the next one is built.
        memory, times = _time_one(
            build, sample, compute, repeats, warmup, with_loss=with_loss, residual=residual
        )
        for repeat, (forward, backward) in enumerate(times):
            yield ComponentTime(component, j, "forward", repeat, forward, memory)
            yield ComponentTime(component, j, "backward", repeat, backward, memory)


def step_costs(times: Iterable[ComponentTime]) -> list[StepCosts]:
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
        )
        for repeat in sorted({repeat for repeat, _, _ in seconds})
    ]


def random_input(shape: tuple[int, ...], compute: Compute, *, is_image: bool) -> Tensor:
    """What a component may be given. Only the image needs no gradient: all else was computed."""
    if is_image:
        return torch.randn(shape, device=compute.device, dtype=compute.weight_dtype)
    return compute.empty(*shape).normal_().requires_grad_()


def _time_one(
    build: ModuleFactory,
    sample: Tensor,
    compute: Compute,
    repeats: int,
    warmup: int,
    *,
    with_loss: bool,
    residual: Tensor | None,
) -> tuple[int, list[tuple[float, float]]]:
    """Bytes of one component, and seconds of ``repeats`` forward and backward passes through it."""
    module = compute.place(build()).train()
    times = [
        time_once(module, sample, compute, with_loss=with_loss, residual=residual)
        for _ in range(warmup + repeats)
    ]
    return _memory_bytes(module, sample, compute), times[warmup:]


def time_once(
    module: nn.Module,
    sample: Tensor,
    compute: Compute,
    *,
    with_loss: bool = False,
    residual: Tensor | None = None,
) -> tuple[float, float]:
    """Seconds of one forward and one backward pass.

    Args:
        module: a component.
        sample: what it reads.
        compute: how to run it.
        with_loss: put a cross-entropy loss on top.
        residual: count what the driver does with F^j as well: it copies r̃_j, which F^j might overwrite,
            and adds what F^j returns to this, r_{j+1}.
    """
    x = sample.clone()  # autograd refuses units that overwrite a leaf in place
    start = _now(sample.device)
    with compute.autocast():
        output = module(x if residual is None else sample.clone())
        if with_loss:
            output = nn.functional.cross_entropy(output, output.new_zeros(len(output), dtype=torch.long))
    if residual is not None:
        residual.add_(output.detach())
    middle = _now(sample.device)
    if output.requires_grad:  # a preprocess without parameters has no backward pass
        (output if with_loss else seed_gradient(output, torch.ones_like(output))).backward()
    end = _now(sample.device)
    module.zero_grad(set_to_none=True)
    sample.grad = None
    return middle - start, end - middle


def _memory_bytes(module: nn.Module, sample: Tensor, compute: Compute) -> int:
    """Bytes of the parameters twice (values and gradients) and of all tensors kept for the backward pass.

    Counted, not measured: the same on every device, and free of what an allocator keeps in reserve.
    """
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with compute.autocast(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = module(sample.clone())  # alive until the storages are counted: none is used twice
    for parameter in module.parameters():
        kept[parameter.untyped_storage().data_ptr()] = 2 * parameter.untyped_storage().nbytes()
    del output
    return sum(kept.values())


def _now(device: torch.device) -> float:
    """Host time in seconds once the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
