"""Weights to begin with: where they are looked for, and what does not fit."""

import pytest
import torch
from safetensors.torch import save_file

from models import PararealNetwork
from orchestrator.data.datasets import load_dataset
from orchestrator.initial import initial_weights, weights_fingerprint
from orchestrator.plan import describe, tear_as_asked
from orchestrator.storage.store import Store
from tests.orchestrator.test_trained import SWEEP, leave


def config(source=None, **options):
    (one,) = SWEEP.but(initial=None if source is None else str(source), **options).trials()
    return one


def torn(asked):
    return tear_as_asked(asked, describe(asked, load_dataset(asked.dataset)))


def weights(asked):
    return initial_weights(asked, torn(asked))


def test_without_a_source_there_are_none():
    assert weights(config()) is None
    assert weights_fingerprint(None) is None


def test_a_store_gives_those_of_the_same_network_n_and_seed(tmp_path):
    store = Store(tmp_path / "store")
    for n in (1, 2):
        leave(store, config(n_subnetworks=n), epochs=(n,))
        leave(store, config("one of the later trials", n_subnetworks=n), epochs=(9,))
    for n in (1, 2):
        given = weights(config(store.path, n_subnetworks=n, learning_rate=0.5))
        assert given.keys() == PararealNetwork(torn(config(n_subnetworks=n))).state_dict().keys()
        assert all((value == n).all() for value in given.values())
    with pytest.raises(ValueError, match=r"has no trials \(.*n_subnetworks=1, seed=7, initial=None"):
        weights(config(store.path, seed=7))


def test_what_does_not_fit_is_named_with_its_shapes(tmp_path):
    file = tmp_path / "a.safetensors"
    serial = PararealNetwork(torn(config())).state_dict()
    save_file({name: value.clone() for name, value in serial.items()}, file)
    assert weights(config(file)).keys() == serial.keys()
    pipeline = {"n_subnetworks": 2, "strategy": "gpipe"}
    assert weights(config(file, **pipeline)).keys() == serial.keys()
    other_width = (
        r"a.safetensors: 1 weights fit, not .* \(4, 16\) where \(5, 16\) is wanted, .* and \d+ more: give"
    )
    with pytest.raises(ValueError, match=other_width):
        weights(config(file, width=5))
    with pytest.raises(ValueError, match=r"subnetworks.1.0.\S+ nothing where \(4, 4\) is wanted"):
        weights(config(file, n_subnetworks=2))


def test_what_is_no_store_and_no_file_of_weights_is_refused(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"no")
    for name, message in {
        "a.safetensors": r"a.safetensors is damaged \(.*: write it again",
        "none.safetensors": "give a result store, or a file .safetensors that is there",
        "a.pt": "give a result store, or a file .safetensors that is there",
    }.items():
        with pytest.raises(ValueError, match=message):
            weights(config(tmp_path / name))


def test_the_fingerprint_goes_by_names_and_values():
    one = {"a": torch.zeros(2, dtype=torch.bfloat16), "b": torch.zeros((), dtype=torch.int64)}
    keys = {
        weights_fingerprint(one),
        weights_fingerprint({"c": one["a"], "b": one["b"]}),
        weights_fingerprint(one | {"b": torch.ones((), dtype=torch.int64)}),
    }
    assert len(keys) == 3
    assert weights_fingerprint(dict(reversed(one.items()))) in keys
