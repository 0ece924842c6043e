"""Seeded construction: what a component's initial weights are depends on its name alone.

A component is built by whichever process needs it, so its weights must not depend on what else that
process has built before: they are drawn from a generator seeded by (seed, kind, index). So is what it draws
while it trains.
"""

import copy
import copyreg
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

ModuleFactory = Callable[[], nn.Module]


def as_factory(source: nn.Module | ModuleFactory) -> ModuleFactory:
    """Turn a module into a factory of its copies (weights included); a factory is returned as it is."""
    return partial(copied, source) if isinstance(source, nn.Module) else source


def copied(module: nn.Module) -> nn.Module:
    """A copy of a module, weights included.

    What it has computed and kept, such as the weight that ``torch.nn.utils.weight_norm`` or ``prune``
    computes anew before each pass, torch refuses to copy: the copy has only its value.
    """
    memo: dict[int, Any] = {
        id(value): value.detach().clone()
        for child in module.modules()
        for value in vars(child).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    return copy.deepcopy(module, memo)


def make_picklable(module: nn.Module) -> None:
    """Let a module be pickled that ``torch.nn.utils.parametrize`` has given a class of its own."""
    for child in module.modules():
        if parametrize.is_parametrized(child):
            copyreg.pickle(type(child), _reduce_parametrized)


def _reduce_parametrized(module: nn.Module) -> tuple[Callable[..., nn.Module], tuple[Any, ...]]:
    """What :mod:`pickle` writes of a parametrized module: the class it had, and what it holds."""
    children = dict(module._modules)
    parametrizations = dict(cast(nn.ModuleDict, children.pop("parametrizations")))
    state = vars(module) | {"_modules": children}
    return _restore_parametrized, (type(module).__base__, state, parametrizations)


def _restore_parametrized(
    original: type[nn.Module], state: dict[str, Any], parametrizations: dict[str, nn.Module]
) -> nn.Module:
    """The inverse of :func:`_reduce_parametrized`."""
    module = original.__new__(original)
    vars(module).update(state)
    for name, parametrization in parametrizations.items():
        module.register_parameter(name, nn.Parameter(torch.empty(0)))
        parametrize.register_parametrization(module, name, nn.Identity())  # makes room for what it really has
        cast(nn.ModuleDict, module.parametrizations)[name] = parametrization
    copyreg.pickle(type(module), _reduce_parametrized)  # it may travel on
    return module


def derive_seed(seed: int, *key: str | int) -> int:
    """Mix a seed and a key into a 63-bit seed; equal arguments give equal seeds on every machine."""
    digest = hashlib.blake2b(repr((seed, *key)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@contextmanager
def seeded(seed: int, *key: str | int) -> Iterator[None]:
    """Torch's CPU generator, seeded by (seed, key) inside the block and put back after it."""
    with torch.random.fork_rng(devices=[]):
        # Only the CPU generator: torch.manual_seed would also move the generators of all GPUs.
        torch.default_generator.manual_seed(derive_seed(seed, *key))
        yield


def build_seeded(factory: ModuleFactory, seed: int, *key: str | int) -> nn.Module:
    """Call ``factory`` with torch's CPU generator :func:`seeded` by (seed, key)."""
    with seeded(seed, *key):
        return factory()


def reseed(device: torch.device, seed: int, *key: str | int) -> None:
    """Have what is drawn on the CPU and on ``device`` from now on depend on (seed, key) alone."""
    derived = derive_seed(seed, *key)
    torch.default_generator.manual_seed(derived)
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(derived)


def he_normal(module: nn.Module) -> nn.Module:
    """Draw every convolution's weights as He et al. do: normal, variance 2 / fan-out."""
    for child in module.modules():
        if isinstance(child, nn.Conv2d):
            nn.init.kaiming_normal_(child.weight, mode="fan_out", nonlinearity="relu")
    return module
