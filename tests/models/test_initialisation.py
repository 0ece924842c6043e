"""A component's initial weights depend on its name alone."""

import copy
import pickle

import pytest
import torch
from torch import nn

from models.initialisation import as_factory, build_seeded, derive_seed


def linear() -> nn.Linear:
    return nn.Linear(3, 2)


def test_equal_keys_give_equal_weights_whatever_was_drawn_before() -> None:
    first = build_seeded(linear, 7, "unit", 4)
    torch.manual_seed(123)
    torch.rand(5)
    build_seeded(linear, 7, "unit", 5)
    torch.testing.assert_close(build_seeded(linear, 7, "unit", 4).weight, first.weight, rtol=0, atol=0)


def test_seed_kind_and_index_all_matter() -> None:
    keys = [(0, "unit", 1), (1, "unit", 1), (0, "unit", 2), (0, "coarse", 1), (0, "unit"), (0, "unit", "1")]
    assert len({derive_seed(seed, *key) for seed, *key in keys}) == len(keys)
    weights = {tuple(build_seeded(linear, seed, *key).weight.flatten().tolist()) for seed, *key in keys}
    assert len(weights) == len(keys)


def test_derived_seeds_are_the_same_on_every_machine() -> None:
    assert derive_seed(0, "unit", 0) == 0x6A19221E3E51D844
    assert all(0 <= derive_seed(seed, "unit", 0) < 2**63 for seed in range(1000))


def test_the_global_generator_is_left_as_it_was() -> None:
    before = torch.get_rng_state()
    build_seeded(linear, 0, "unit", 0)
    assert torch.equal(torch.get_rng_state(), before)

    def failing() -> nn.Module:
        torch.rand(3)
        raise KeyError("unit")

    with pytest.raises(KeyError):
        build_seeded(failing, 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_module_is_copied_weights_included() -> None:
    module = linear()
    expected = copy.deepcopy(module.state_dict())
    factory = as_factory(module)
    first, second = factory(), factory()
    nn.init.zeros_(first.weight)
    for untouched in (module, second):
        torch.testing.assert_close(untouched.state_dict(), expected, rtol=0, atol=0)
    assert torch.equal(pickle.loads(pickle.dumps(factory))().weight, module.weight)


def test_a_factory_is_returned_as_it_is() -> None:
    assert as_factory(linear) is linear
