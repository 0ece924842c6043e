"""A component's initial weights depend on its name alone."""

import copy
import pickle

import cloudpickle
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

from models.initialisation import as_factory, build_seeded, copied, derive_seed, make_picklable, reseed


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


CHANGED = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "two": lambda module: parametrizations.spectral_norm(parametrizations.weight_norm(module)),
    "older weight_norm": weight_norm,
    "older spectral_norm": spectral_norm,
    "pruned": lambda module: prune.random_unstructured(module, "weight", 0.5),
}
"""Linear layers whose weight is computed."""


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED)
def test_a_module_whose_weight_is_computed_is_copied_and_travels(change) -> None:
    module = nn.Sequential(change(linear()), nn.ReLU())
    x = torch.randn(4, 3)
    module(x)  # spectral norms change what they hold with every pass
    make_picklable(module)
    arrived = cloudpickle.loads(cloudpickle.dumps(module))
    copies = [copied(module), arrived, copied(arrived), cloudpickle.loads(cloudpickle.dumps(arrived))]
    parametrized = parametrize.is_parametrized(module[0])
    for one in copies:
        assert parametrize.is_parametrized(one[0]) is parametrized
        assert list(one.state_dict()) == list(module.state_dict())
    expected = module(x)
    expected.sum().backward()
    gradients = {name: parameter.grad for name, parameter in module.named_parameters()}
    for one in copies:
        output = one(x)
        assert torch.equal(output, expected)
        output.sum().backward()
        for name, parameter in one.named_parameters():
            assert torch.equal(parameter.grad, gradients[name])


def test_generators_are_seeded_by_all_of_the_key() -> None:
    def drawn(*key: int | str) -> float:
        reseed(torch.device("cpu"), *key)
        return torch.rand(()).item()

    keys = [
        (0, 1, "train", 2, "coarse", 3),
        (0, 1, "train", 2, "coarse", 4),
        (0, 1, "validation", 2, "coarse", 3),
    ]
    assert [drawn(*key) for key in keys] == [drawn(*key) for key in keys]
    assert len({drawn(*key) for key in keys}) == 3
