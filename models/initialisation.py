"""Seeded construction: what a component's initial weights are depends on its name alone.

A component is built by whichever process needs it, so its weights must not depend on what else that
process has built before: they are drawn from a generator seeded by (seed, kind, index).
"""

import copy
import hashlib
from collections.abc import Callable
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


def build_seeded(factory: ModuleFactory, seed: int, *key: str | int) -> nn.Module:
    """Call ``factory`` with torch's CPU generator seeded by (seed, key); the generator is put back after."""
    with torch.random.fork_rng(devices=[]):
        # Only the CPU generator: torch.manual_seed would also move the generators of all GPUs.
        torch.default_generator.manual_seed(derive_seed(seed, *key))
        return factory()
