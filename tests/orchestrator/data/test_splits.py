import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.data.errors import DatasetError
from orchestrator.data.splits import choose, part_off, split_of, stratified


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.data())
def test_stratified_rows(labels, data):
    labels = np.array(labels)
    size = data.draw(st.integers(0, len(labels)))
    rows = stratified(labels, size)
    assert len(rows) == size
    assert (np.diff(rows) > 0).all()
    assert set(rows) <= set(stratified(labels, min(size + 1, len(labels))))
    whole = np.bincount(labels)
    taken = np.bincount(labels[rows], minlength=len(whole))[whole > 0]
    whole = whole[whole > 0]
    # no class is more than one image ahead of another
    assert max((taken - 1) / whole) <= min(taken / whole)
    if size >= len(whole):
        assert taken.min() >= 1


@given(st.lists(st.integers(0, 4), min_size=2, max_size=60), st.floats(0.01, 0.99))
def test_a_fraction_to_validate_on_leaves_every_class_to_train_on(labels, fraction):
    labels = np.array(labels)
    n_classes = len(np.unique(labels))
    size = round(fraction * len(labels))
    if not 1 <= size <= len(labels) - n_classes:
        with pytest.raises(DatasetError, match=r"--validation-fraction .* choose 1 to \d+"):
            part_off("here", labels, fraction)
        return
    train, validation = part_off("here", labels, fraction)
    assert sorted([*train, *validation]) == list(range(len(labels)))
    assert len(validation) == size
    assert set(labels[train]) == set(labels)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("Valid", "Valid"),
        ("train-00000-of-00002-0123abcd.parquet", "train"),
        ("test.parquet", "test"),
        ("dev_0.parquet", "dev"),
        ("eval0.parquet", "eval"),
        ("train_extra-00000-of-00001.parquet", None),
        ("trainer", None),
        ("0000.parquet", None),
        ("unsupervised", None),
    ],
)
def test_names_of_splits(name, split):
    assert split_of(name) == split


NOTHING = {"validation_split": None, "validation_fraction": None}


@pytest.mark.parametrize("name", ["val", "valid", "validation", "dev", "eval", "Val"])
def test_a_test_split_stays_unseen_where_another_can_validate(name):
    assert choose("here", ["test", "train", name], **NOTHING) == ("train", name, "test")
    assert choose("here", ["train", name], **NOTHING) == ("train", name, None)


def test_the_test_split_validates_only_if_asked_to():
    found = ["train", "test"]
    with pytest.raises(
        DatasetError, match=r"splits: train, test.*--validation-fraction 0.1.*--validation-split test"
    ):
        choose("here", found, **NOTHING)
    assert choose("here", found, validation_split="test", validation_fraction=None) == ("train", "test", None)
    assert choose("here", found, validation_split=None, validation_fraction=0.1) == ("train", None, "test")


@pytest.mark.parametrize(
    ("found", "asked", "message"),
    [
        (["val", "test"], {}, "needs one split called train or training, and has val, test"),
        (["train", "training", "val"], {}, "needs one split"),
        (["train"], {}, r"splits: train\): take .* --validation-fraction 0.1$"),
        (
            ["train", "val", "dev"],
            {},
            "2 splits to validate on, val and dev: choose one with --validation-split",
        ),
        (["train", "val"], {"validation_split": "dev"}, "has the splits train, val: name another"),
        (["train", "val"], {"validation_split": "train"}, "than the training images"),
        (["train", "val"], {"validation_fraction": 0.1}, "has images to validate on, val: leave"),
        (["train", "val", "test", "testing"], {}, "2 test splits, test and testing"),
    ],
)
def test_splits_that_are_not_clear(found, asked, message):
    with pytest.raises(DatasetError, match=message):
        choose("here", found, **NOTHING | asked)
