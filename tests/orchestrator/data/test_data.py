from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.data.data import Augmentation, Data
from orchestrator.data.datasets import load_dataset


def test_mean_and_std_are_those_of_the_training_images():
    data = load_dataset("synthetic:3x5x7x2x50")
    scaled = data.train_inputs / 255
    assert data.input_shape == (3, 5, 7)
    np.testing.assert_allclose(data.mean, scaled.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(data.std, scaled.std((0, 2, 3)), rtol=1e-12)


@given(st.integers(0, 255), st.integers(1, 50))
def test_std_of_a_constant_channel_is_one(value, n):
    images = np.full((n, 1, 3, 3), value, np.uint8)
    labels = np.zeros(n, np.int64)
    data = Data("constant", images, labels, images, labels)
    assert data.std == (1.0,)
    assert data.mean == pytest.approx((value / 255,))


def data(**changes) -> Data:
    labels = np.arange(3)
    images = np.arange(3 * 3 * 32 * 8, dtype=np.uint8).reshape(3, 3, 32, 8)
    return replace(Data("some", images, labels, images, labels, crop=True, flip=True), **changes)


def test_a_crop_moves_by_an_eighth_of_each_side():
    assert data().augmentation() == Augmentation((4, 1), True)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"augment": False}, Augmentation()),
        ({"crop": "off"}, Augmentation((0, 0), True)),
        ({"flip": "off"}, Augmentation((4, 1), False)),
        ({"crop": "on", "flip": "on"}, Augmentation((4, 1), True)),
    ],
)
def test_what_is_asked_goes_before_what_is_usual(asked, expected):
    assert data().augmentation(**asked) == expected
    plain = data(crop=False, flip=False)
    assert plain.augmentation() == Augmentation()
    assert plain.augmentation(crop="on") == Augmentation((4, 1), False)


def test_a_fingerprint_tells_any_change_of_the_data_and_nothing_else():
    one_pixel = data().train_inputs.copy()
    one_pixel[1, 2, 3, 4] ^= 1
    changed = [
        data(),
        data(train_inputs=one_pixel),
        data(validation_inputs=one_pixel),
        data(train_targets=np.array([0, 2, 1])),
        data(classes=("a", "b", "c")),
        data(test_inputs=one_pixel, test_targets=np.arange(3)),
        data(train_inputs=data().train_inputs.swapaxes(2, 3)),
    ]
    assert len({d.fingerprint for d in changed}) == len(changed)
    same = data(
        name="other", crop=False, remarks=("read anew",), train_inputs=np.asfortranarray(data().train_inputs)
    )
    assert same.fingerprint == data().fingerprint
