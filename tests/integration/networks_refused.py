"""Networks that actors could not train as one process does."""

import random
import sys
import threading
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from models import FeedForward
from tests.integration.network_parts import (
    Around,
    Do,
    W,
    block,
    conv,
    everywhere,
    head,
    parts,
)


class Raised(nn.Conv2d):
    """With state that is neither parameter nor buffer."""

    def __init__(self, state: object, n_in: int = W) -> None:
        super().__init__(n_in, W, 1)
        self.state = state

    def get_extra_state(self) -> object:
        return self.state

    def set_extra_state(self, state: object) -> None:
        self.state = state


def saved(join: Callable[[Tensor, Tensor], Tensor], *, detach: bool = False) -> nn.Module:
    """A skip connection from one unit to another, by a hook and a closure."""
    kept: dict[str, Tensor] = {}
    encoder = block()
    encoder.register_forward_hook(
        lambda module, inputs, output: kept.__setitem__("a", output.detach() if detach else output)
    )
    decoder = Do(lambda x: join(x, kept["a"]))
    return nn.Sequential(conv(1), encoder, block(), block(), block(), decoder, block(), head())


_kept: dict[str, Tensor] = {}


def kept_in_a_module() -> nn.Module:
    def keep(x: Tensor) -> Tensor:
        _kept["a"] = x
        return x * 1

    return nn.Sequential(
        conv(1), Do(keep), block(), block(), block(), Do(lambda x: x + _kept["a"]), block(), head()
    )


def same_module() -> FeedForward:
    module = block()
    return parts(*[module] * 6)


def same_from_a_factory() -> FeedForward:
    module = block()
    return parts(*[lambda: module] * 6)


def hooked_parameter() -> nn.Module:
    module = conv()
    module.weight.register_hook(lambda gradient: gradient * 0)
    return nn.Sequential(conv(1), module, block(), block(), block(), head())


def clipped(module: nn.Module) -> nn.Module:
    module.weight.register_hook(lambda gradient: gradient.clamp(-1, 1))
    return module


def locked() -> nn.Module:
    module = block()
    module.lock = threading.Lock()
    return nn.Sequential(conv(1), module, block(), block(), head())


def in_training(function: Callable[[Tensor], object]) -> Callable[[], nn.Module]:
    return lambda: Around(
        conv(), lambda self, x: function(self.module(x)) if self.training else self.module(x)
    )


def at_a_cut(module: Callable[[], nn.Module]) -> FeedForward:
    return parts(interface_preprocess=lambda before, after: module())


def as_coarse(module: Callable[[], nn.Module]) -> FeedForward:
    return parts(coarse=lambda before, after, n: module())


def with_lock() -> FeedForward:
    lock = threading.Lock()
    return parts(lambda: nn.Sequential(conv(), Do(lambda x: x if lock.locked() else x + 0)))


def lock_at_a_cut() -> FeedForward:
    lock = threading.Lock()
    return at_a_cut(lambda: conv(1 + lock.locked()))


class OwnError(Exception):
    """No error that torch or Python raises."""


def raising(x: Tensor) -> Tensor:
    raise OwnError("mine\nand more")


def nested() -> nn.Module:
    module = conv()
    for _ in range(5000):
        module = nn.Sequential(module)
    return nn.Sequential(conv(1), module, block(), head())


class Late(nn.Module):
    """With a buffer of which the first pass says how large it is."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", None)

    def forward(self, x: Tensor) -> Tensor:
        self.mean = x.detach().mean(0)
        return x - self.mean


def same_memory() -> nn.Module:
    """Two parameters, one of which is the other transposed."""
    units = [nn.Conv2d(W, W, 1, bias=False) for _ in range(2)]
    units[1].weight = nn.Parameter(units[0].weight.detach().transpose(0, 1))
    return nn.Sequential(conv(1), *units, block(), head())


def same_at_the_cuts() -> FeedForward:
    module = conv(1)
    return at_a_cut(lambda: module)


class Averaged(nn.Module):
    """Subtracts a mean that it keeps in a plain attribute, of what it has seen in training, or at all."""

    def __init__(self, module: nn.Module, *, in_training: bool) -> None:
        super().__init__()
        self.module, self.in_training, self.mean = module, in_training, 0.0

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.module(x)
        if self.training or not self.in_training:
            self.mean = 0.9 * self.mean + 0.1 * float(y.detach().mean())
        return y - self.mean


class Lagging(nn.Module):
    """Subtracts a mean that it keeps in a buffer, of all that it was ever shown."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv()
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.mean.lerp_(x.detach().mean(), 0.1)
        return self.conv(x) - self.mean


class Annealed(nn.Module):
    """Less and less noise in training, by how often it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.n_steps = conv(), 0

    def forward(self, x: Tensor) -> Tensor:
        self.n_steps += self.training
        return self.conv(x) + self.training / (1 + self.n_steps) * torch.randn_like(x)


N_CALLS = [0]


class Counted(nn.Module):
    """Of a class that counts the calls of its objects."""

    n_calls = 0

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv()

    def forward(self, x: Tensor) -> Tensor:
        Counted.n_calls += self.training
        return self.conv(x)


def counting(counts: Callable[[], object], n: Callable[[], int]) -> FeedForward:
    """A unit that counts, and a later one that goes by how far it has."""
    return parts(
        lambda: Around(conv(), lambda self, x: (self.module(x), counts())[0]),
        *[block] * 3,
        lambda: Around(conv(), lambda self, x: self.module(x) / (1 + 0.1 * n())),
    )


def counting_in_a_module() -> FeedForward:
    def count() -> None:
        N_CALLS[0] += 1

    return counting(count, lambda: N_CALLS[0])


def counting_in_a_class() -> FeedForward:
    return parts(
        Counted, *[block] * 3, lambda: Around(conv(), lambda self, x: self.module(x) / (1 + Counted.n_calls))
    )


def counting_in_a_closure() -> FeedForward:
    n = 0

    def count() -> None:
        nonlocal n
        n += 1

    return counting(count, lambda: n)


def weights_of_another() -> nn.Module:
    """Read by a unit that keeps the other in a list, so that torch does not know."""
    units = [conv() for _ in range(6)]
    units[4] = Around(units[4], lambda self, x: self.module(x) + self.others[0].weight.mean())
    units[4].others = [units[0]]
    return nn.Sequential(conv(1), *units, head())


def weights_of_nobody() -> FeedForward:
    scale = nn.Parameter(torch.ones(1))
    return everywhere(lambda: nn.Sequential(conv(), Do(lambda x: x * scale)))


def weights_of_nobody_at_a_cut() -> FeedForward:
    scale = nn.Parameter(torch.ones(1))
    return at_a_cut(lambda: nn.Sequential(conv(1), Do(lambda x: x * scale)))


detached = partial(Do, torch.Tensor.detach)
REFUSED: dict[str, tuple[Callable[[], FeedForward | nn.Module], str]] = {
    "skip": (partial(saved, torch.add), "unit 4 .* depends on more than the sample"),
    "skip_by_cat": (
        partial(saved, lambda x, a: torch.cat([x, a], 1)[:, 2:6]),
        "unit 4 .* depends on more than the sample",
    ),
    "skip_detached": (partial(saved, torch.add, detach=True), "unit 4 .* depends on more than the sample"),
    "skip_in_a_module": (kept_in_a_module, "unit 4 .* depends on more than the sample"),
    "counted_in_a_module": (counting_in_a_module, "unit 4 .* depends on what has run before"),
    "counted_in_a_class": (counting_in_a_class, "unit 4 .* depends on what has run before"),
    "counted_in_a_closure": (counting_in_a_closure, "unit 4 .* depends on what has run before"),
    "weights_of_another": (weights_of_another, "unit 4 .* uses a parameter of shape .* does not hold"),
    "weights_of_nobody": (weights_of_nobody, r"unit 0 .* uses a parameter of shape \(1,\) that it does not"),
    "weights_of_nobody_at_a_cut": (
        weights_of_nobody_at_a_cut,
        r"C\^2 .* uses a parameter of shape \(1,\) that it does not hold",
    ),
    "order_of_the_batch": (
        lambda: parts(lambda: Do(lambda x: x.cumsum(0))),
        "unit 0 .* or on its place in the batch",
    ),
    "state_of_its_own": (
        lambda: parts(lambda: Averaged(conv(), in_training=False)),
        "unit 0 .* depends on what it keeps beside parameters and buffers.*: make it a buffer",
    ),
    "state_used_in_evaluation": (
        lambda: parts(lambda: Averaged(conv(), in_training=True)),
        "unit 0 .* depends on what it keeps beside",
    ),
    "state_changed_in_evaluation": (
        lambda: parts(Lagging),
        "unit 0 .* changes its mean in evaluation, .*: change it in training alone",
    ),
    "state_used_in_training": (lambda: parts(Annealed), "unit 0 .* depends on what it keeps beside"),
    "state_at_a_cut": (
        lambda: at_a_cut(lambda: Averaged(conv(1), in_training=True)),
        r"C\^2 .* depends on what it keeps beside",
    ),
    "same_module": (same_module, "unit 0 and unit 1 share a parameter"),
    "same_from_a_factory": (same_from_a_factory, "unit 0 and unit 1 share a parameter"),
    "hooked_parameter": (hooked_parameter, "unit 0 has a hook on its parameter weight"),
    "complex_weights": (
        lambda: parts(lambda: nn.Sequential(conv(), nn.Linear(8, 8, dtype=torch.complex64))),
        "unit 0 .* holds complex numbers",
    ),
    "complex_activations": (lambda: parts(lambda: Do(torch.fft.fft2)), "returns torch.complex64"),
    "whole_numbers": (lambda: parts(lambda: Do(torch.Tensor.long)), "returns torch.int64 for torch.float32"),
    "extra_state": (
        lambda: parts(partial(Raised, threading.Event)),
        "unit 0 .* keeps extra state that is no",
    ),
    "extra_state_at_a_cut": (
        lambda: at_a_cut(partial(Raised, 3, 1)),
        r"C\^2 \(Raised\) keeps extra state, which its copy at the cut cannot have",
    ),
    "tuple_in_training": (
        lambda: parts(in_training(lambda y: (y, y))),
        "unit 0 .* returns tuple in training",
    ),
    "shape_in_training": (
        lambda: parts(in_training(lambda y: y[:, :2])),
        r"unit 0 .* returns shape \(4, 8, 8\), but \(2, 8, 8\) in training",
    ),
    "squeezed": (
        lambda: parts(*[block] * 5, lambda: nn.Sequential(head(), Do(torch.squeeze)), h=nn.Identity),
        r"unit 5 .* turns a batch of 1 into shape \(10,\)",
    ),
    "one_output": (lambda: parts(h=partial(head, 1)), r"returns shape \(1,\) for a sample, .* 10 classes"),
    "dense": (lambda: parts(h=partial(conv, W, 10)), r"returns shape \(10, 8, 8\) for a sample"),
    "clipped_at_a_cut": (lambda: at_a_cut(lambda: clipped(conv(1))), r"C\^2 .* that is not linear"),
    "broadcast_at_a_cut": (lambda: at_a_cut(nn.Identity), r"C\^2 .* returns shape \(1, 8, 8\) .* is needed"),
    "broadcast_coarse": (
        lambda: as_coarse(partial(nn.AdaptiveAvgPool2d, 1)),
        r"F\^1 .* returns shape \(4, 1, 1\)",
    ),
    "coarse_without_gradient": (lambda: as_coarse(detached), r"F\^1 .* passes no gradient back"),
    "head_without_gradient": (
        lambda: parts(h=lambda: nn.Sequential(detached(), head())),
        "the postprocess .* passes no gradient back",
    ),
    "lock": (locked, "unit 0 .* cannot be copied: cannot pickle '_thread.lock'"),
    "lock_at_a_cut": (lock_at_a_cut, r"the factory of C\^j cannot be sent to another process"),
    "lock_in_a_factory": (
        with_lock,
        "unit 0 cannot be sent to another process: cannot pickle '_thread.lock'",
    ),
    "error_of_its_own": (lambda: parts(lambda: Do(raising)), "unit 0 .* cannot read a sample .*: mine$"),
    "ending": (lambda: parts(lambda: Do(lambda x: sys.exit(3))), "unit 0 .* cannot read a sample .*: 3$"),
    "no_module": (lambda: parts(lambda: 3), "unit 0 is a int: have its factory return a module"),
    "too_deep": (nested, "raises RecursionError"),
    "pythons_random_numbers": (
        lambda: parts(in_training(lambda y: y * random.random())),
        "unit 0 .* draws random numbers of Python or numpy",
    ),
    "numpys_random_numbers": (
        lambda: at_a_cut(lambda: Do(lambda x: x.expand(-1, W, -1, -1) * float(np.random.rand()))),  # noqa: NPY002
        r"C\^2 .* draws random numbers of Python or numpy",
    ),
    "meta": (lambda: parts(lambda: conv().to("meta")), "unit 0 .* is on the meta device"),
    "half_weights": (
        lambda: parts(lambda: nn.Sequential(Do(torch.Tensor.half), conv().half(), Do(torch.Tensor.float))),
        "unit 0 .* cannot read a sample",
    ),
    "late": (lambda: parts(Late), "unit 0 .* makes a parameter or buffer in a pass"),
    "same_memory": (same_memory, "unit 0 and unit 1 share a parameter"),
    "same_at_the_cuts": (
        same_at_the_cuts,
        r"C\^2 .* is the same module each time that its factory is called",
    ),
}
"""What the plan refuses, and how."""
