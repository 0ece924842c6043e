import numpy as np
import pytest

from orchestrator.data import blocks as module_of_blocks
from orchestrator.data.data import Data
from orchestrator.data.datasets import load_dataset
from orchestrator.data.shared import n_shared


def noise(n, *shape, kind="uint8", seed=0):
    return np.random.default_rng(seed).integers(0, 50, (n, *shape)).astype(kind)


@pytest.mark.parametrize("shape", [(3, 32, 32), (5,), (1, 1), (48, 1)])
@pytest.mark.parametrize("kind", ["uint8", "float32", "int64"])
def test_samples_that_are_in_several_splits_are_counted(shape, kind, monkeypatch):
    monkeypatch.setattr(module_of_blocks, "BYTES", 1 << 12)  # many blocks
    one, other = noise(300, *shape, kind=kind), noise(100, *shape, kind=kind, seed=1) + 200
    assert n_shared(other, [one]) == 0
    other[[3, 50, 99]] = one[[0, 7, 299]]
    other[4] = other[3]
    assert n_shared(other, [one]) == 4
    more = noise(2, *shape, kind=kind, seed=2)
    assert n_shared(np.concatenate([more, other]), [one, more]) == 6


def test_samples_that_differ_in_their_corner_alone_are_others():
    one = np.zeros((20, 1, 64, 64), np.uint8)
    one[:, 0, 0, 0] = np.arange(20)
    other = one.copy()  # black in the middle, all of them
    other[15:, 0, 0, 0] += 100
    assert n_shared(other, [one]) == 15


def test_samples_of_a_view_that_lies_crosswise_are_counted():
    windows = np.lib.stride_tricks.sliding_window_view(np.arange(900, dtype=np.float32), 60)[:, :48, None]
    assert n_shared(windows[200:300], [windows[:250]]) == 50


def test_what_validates_and_tests_is_looked_for_in_what_was_seen_before():
    train, validation = noise(50, 1, 8, 8), noise(20, 1, 8, 8, seed=1)
    labels = np.arange(50) % 2
    validation[:5] = train[:5]
    test = np.concatenate([train[:2], validation[-3:], noise(5, 1, 8, 8, seed=2)])
    splits = (train, labels, validation, labels[:20])
    assert Data("some", *splits).n_shared == {"validation": 5, "test": 0}
    data = Data("some", *splits, test_inputs=test, test_targets=labels[:10])
    assert data.n_shared == {"validation": 5, "test": 5}


def test_of_the_sets_that_come_along_none_shares_samples():
    for name in ("digits", "synthetic:1x8x8x2x64"):
        assert load_dataset(name).n_shared == {"validation": 0, "test": 0}
