"""Seeded construction: what a component's initial weights are depends on its name alone.

A component is built by whichever process needs it, so its weights must not depend on what else that
process has built before: they are drawn from a generator seeded by (seed, kind, index).
"""

import copy
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn

ModuleFactory = Callable[[], nn.Module]


def as_factory(source: nn.Module | ModuleFactory) -> ModuleFactory:
    """Turn a module into a factory of its copies (weights included); a factory is returned as it is."""
    return partial(copy.deepcopy, source) if isinstance(source, nn.Module) else source


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


def he_normal(module: nn.Module) -> nn.Module:
    """Draw every convolution's weights as He et al. do: normal, variance 2 / fan-out."""
    for child in module.modules():
        if isinstance(child, nn.Conv2d):
            nn.init.kaiming_normal_(child.weight, mode="fan_out", nonlinearity="relu")
    return module
