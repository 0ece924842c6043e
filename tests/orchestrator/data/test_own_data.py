"""Data of a user's own: what is taken as it is, and what is refused, with the remedy."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import TensorDataset

from models.task import Classification, NextToken, Regression
from orchestrator.config import Sweep
from orchestrator.data import datasets
from orchestrator.data.batches import Batches
from orchestrator.data.datasets import DatasetError, Reading, is_own, load_dataset
from orchestrator.data.own_data import load_own

RNG = np.random.default_rng(0)
NUMBERS = RNG.normal(size=(20, 3))
CLASSES = np.arange(20) % 4


def own(*returned, **options):
    """What is made of what a function returns."""
    (returned,) = returned if len(returned) == 1 else (returned,)
    return load_own("mine:data", lambda: returned, Path(datasets.FOLDER), **options)


def pair(inputs=NUMBERS, targets=CLASSES):
    return inputs, targets


def jitter(batch, generator):
    return batch + torch.randn(batch.shape, generator=generator, dtype=batch.dtype)


class Samples:
    """A torch data set."""

    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, i):
        return self.samples[i]


def test_a_function_is_found_by_its_name(tmp_path, monkeypatch):
    (tmp_path / "some_data_of_mine.py").write_text(
        "import numpy as np\n"
        "def make():\n"
        "    return [(np.full((n, 2), 0.5), np.arange(n) % 2) for n in (6, 4)]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    data = load_dataset("some_data_of_mine:make", train_subset=4)
    assert (data.train_inputs == 0.5).all()
    assert data.train_targets.tolist() == [0, 1, 0, 1]
    assert is_own("some_data_of_mine:make")
    assert not any(map(is_own, ("digits", "image_folder:some", "synthetic:1x8x8x2", "unknown")))
    with pytest.raises(DatasetError, match="--image-size 8 is for image_folder and parquet"):
        load_dataset("some_data_of_mine:make", reading=Reading(image_size=8))
    with pytest.raises(DatasetError, match=r"cannot be imported.*did you mean image_folder"):
        load_dataset("image_foler:pets")


@pytest.mark.parametrize(
    "split",
    [
        pair(),
        (torch.from_numpy(NUMBERS), torch.from_numpy(CLASSES)),
        TensorDataset(torch.from_numpy(NUMBERS), torch.from_numpy(CLASSES)),
        Samples([(torch.from_numpy(x), int(y)) for x, y in zip(NUMBERS, CLASSES, strict=True)]),
        list(zip(NUMBERS, CLASSES, strict=True)),
        pair(NUMBERS.astype(">f8"), CLASSES.astype(np.uint16)),
        pair(np.asfortranarray(NUMBERS)),
    ],
)
def test_every_way_to_give_a_split_gives_the_same_batches(split):
    data = own(split, split, split)
    batches = Batches(data, batch_size=20, seed=0, dtype=torch.float64)
    for inputs, targets in (batches.validation(0), batches.test(0)):
        assert (inputs.numpy() == NUMBERS).all()
        assert targets.dtype == torch.int64
        assert targets.tolist() == CLASSES.tolist()
    inputs, targets = batches.train(1, 0)
    order = [NUMBERS.tolist().index(row) for row in inputs.tolist()]
    assert sorted(order) == list(range(20))
    assert targets.tolist() == CLASSES[order].tolist()


def test_memory_mapped_arrays_are_not_copied(tmp_path):
    np.save(tmp_path / "x.npy", NUMBERS)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    data = own(pair(mapped), pair(mapped))
    assert np.shares_memory(data.train_inputs, mapped)
    batch, _ = Batches(data, batch_size=5, seed=0, dtype=torch.float64).train(1, 0)
    batch.zero_()  # what is done to a batch stays in the batch
    assert (mapped == NUMBERS).all()


@pytest.mark.parametrize(
    ("inputs", "vocabulary", "read"),
    [
        (NUMBERS.astype(np.float16), None, torch.float32),
        (RNG.integers(50, size=(20, 7), dtype=np.uint8).clip(0, 41), 42, torch.int64),
        (RNG.integers(50, size=(20, 7)).clip(0, 41), 42, torch.int64),
        (RNG.integers(256, size=(20, 3, 8, 8), dtype=np.uint8), None, torch.float32),
    ],
)
def test_types_say_how_inputs_are_read(inputs, vocabulary, read):
    data = own(pair(inputs), pair(inputs))
    assert data.vocabulary == vocabulary
    batch, _ = Batches(data, batch_size=20, seed=0).validation(0)
    assert batch.dtype == read
    if data.holds_images:
        torch.testing.assert_close(batch.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    else:
        assert (batch.numpy() == inputs).all()


@pytest.mark.parametrize(
    ("task", "inputs", "targets", "expected"),
    [
        (Classification(), NUMBERS, CLASSES, 4),
        (Regression(), NUMBERS, NUMBERS[:, 0], 1),
        (Regression(), NUMBERS, NUMBERS.reshape(20, 3, 1), 3),
        (Regression(), NUMBERS, CLASSES, 1),
        (NextToken(), np.full((20, 5), 8), np.full((20, 5), 3), 9),
        (NextToken(), np.full((20, 5), 3), np.full((20, 5), 8), 9),
        (Classification(), np.full((20, 5), 8), CLASSES, 4),
    ],
)
def test_a_network_is_told_how_many_numbers_to_return(task, inputs, targets, expected):
    assert own(pair(inputs, targets), pair(inputs, targets)).n_outputs(task) == expected


def test_all_splits_have_their_say_in_the_vocabulary():
    small, large = np.full((20, 5), 3), np.full((20, 5), 11)
    data = own(pair(small, small), pair(small, small), pair(large, large))
    assert (data.vocabulary, data.n_outputs(NextToken())) == (12, 12)


def test_subsets_keep_classes_in_proportion_and_choose_others_at_random():
    data = own(pair(), pair(), train_subset=8, validation_subset=4)
    assert np.bincount(data.train_targets).tolist() == [2] * 4
    assert np.bincount(data.validation_targets).tolist() == [1] * 4
    half, third = (own(pair(targets=NUMBERS), pair(targets=NUMBERS), train_subset=n) for n in (10, 5))
    assert {tuple(row) for row in third.train_targets} < {tuple(row) for row in half.train_targets}
    assert (half.train_inputs == half.train_targets).all()
    with pytest.raises(DatasetError, match="train_subset 21 of mine:data"):
        own(pair(targets=NUMBERS), pair(targets=NUMBERS), train_subset=21)


def test_pandas_rows_in_another_order_are_refused():
    frame, series = pd.DataFrame(NUMBERS), pd.Series(CLASSES)
    shuffled = frame.sample(frac=1, random_state=0)
    with pytest.raises(
        DatasetError, match="mine:data: train inputs and targets have the same index in another"
    ):
        own((shuffled, series), (frame, series))
    data = own((shuffled, series.loc[shuffled.index]), (frame.set_index(frame.index + 100), series))
    assert (data.train_targets == CLASSES[shuffled.index]).all()


def test_classes_that_none_is_trained_on_are_refused_where_classes_are_told():
    known = own(pair(), pair(targets=CLASSES[::-1].copy()))
    known.check_classes()
    with pytest.raises(
        ValueError, match="mine:data: validation samples have the classes 4, which no training"
    ):
        own(pair(), pair(targets=CLASSES + 1)).check_classes()
    with pytest.raises(ValueError, match="test samples have the classes 4, 5, which no training sample has"):
        own(pair(), pair(), pair(targets=CLASSES + 2)).check_classes()


@pytest.mark.parametrize(
    ("shape", "targets", "said"),
    [
        (
            (20, 8, 8, 3),
            CLASSES,
            "read as they are, not normalised; if they are images, their channels are last: ",
        ),
        ((20, 3, 8, 8), CLASSES, "not normalised; targets int64"),
        ((20, 8, 3), CLASSES, "not normalised; targets int64"),
        ((20, 3), CLASSES * 5, "targets int64; 4 of the 16 numbers from 0 to 15 occur among them"),
        ((20, 3), CLASSES + 1, "targets int64; 4 of the 5 numbers from 0 to 4 occur among them"),
    ],
)
def test_what_may_be_meant_otherwise_is_remarked_on(shape, targets, said):
    split = pair(np.zeros(shape, np.float32), targets)
    (remark,) = own(split, split).remarks
    assert said in remark
    assert remark.endswith("targets int64") or "occur" in said


def test_a_fraction_validates_where_no_split_does():
    data = own({"train": pair()}, validation_fraction=0.2)
    assert np.bincount(data.train_targets).tolist() == [4] * 4
    assert np.bincount(data.validation_targets).tolist() == [1] * 4
    assert "validated on 4 of its 20" in data.remarks[1]
    with pytest.raises(DatasetError, match=r"--validation-fraction 0\.2: mine:data returns samples"):
        own(pair(), pair(), validation_fraction=0.2)
    with pytest.raises(DatasetError, match=r"no samples to validate on: .*--validation-fraction 0\.1"):
        own({"train": pair()})


def test_an_augmentation_is_the_same_in_every_process_and_of_training_alone():
    data = own({"train": pair(), "validation": pair(), "augmentation": jitter})
    one, other = (Batches(data, batch_size=10, seed=3, dtype=torch.float64) for _ in range(2))
    plain = Batches(data, batch_size=10, seed=3, augmentation=data.augmentation(augment=False))
    assert torch.equal(one.train(2, 1)[0], other.train(2, 1)[0])
    assert torch.equal(one.train(2, 1)[1], plain.train(2, 1)[1])
    noise = [one.train(*step)[0] - plain.train(*step)[0] for step in ((1, 0), (1, 1), (2, 0))]
    assert len({round(float(n.sum()), 6) for n in noise}) == 3
    assert (one.validation(0)[0].numpy() == NUMBERS[:10]).all()


def test_images_are_cropped_first_and_nothing_else_can_be():
    images = RNG.integers(256, size=(20, 1, 8, 8), dtype=np.uint8)
    data = own({"train": pair(images), "validation": pair(images), "augmentation": jitter})
    wanted = data.augmentation(crop="on", flip="on")
    assert wanted == ((1, 1), True, jitter)
    assert Batches(data, batch_size=4, seed=0, augmentation=wanted).train(1, 0)[0].shape == (4, 1, 8, 8)
    for option in ("crop", "flip"):
        with pytest.raises(ValueError, match=f"--random-{option} on is for images, mine:data has inputs"):
            own(pair(), pair()).augmentation(**{option: "on"})


def test_a_fingerprint_tells_types_as_well():
    kinds = [pair(), pair(NUMBERS.astype("float32")), pair(targets=NUMBERS), pair(NUMBERS + 1)]
    assert len({own(split, split).fingerprint for split in kinds}) == len(kinds)
    assert own(pair(np.asfortranarray(NUMBERS)), pair()).fingerprint == own(pair(), pair()).fingerprint


def nan_in_row_7():
    values = NUMBERS.copy()
    values[7, 1] = np.nan
    return values


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "returns a NoneType: return train and validation"),
        (pair(), r"train is float64 of shape \(20, 3\): give a pair of arrays"),
        ({"train": pair(), "valid": pair()}, "the keys train, valid: return"),
        ([pair()] * 4, "a list of 4: return"),
        ((iter([]), pair()), "train is a list_iterator: give a pair"),
        ((Samples([]), pair()), "holds no train samples"),
        ((pair(NUMBERS[:0], CLASSES[:0]), pair()), "holds no train samples"),
        ((Samples([1, 2]), pair()), r"train\[0\] is a int: give a pair \(input, target\)"),
        (
            (Samples([(NUMBERS[0], 1), (NUMBERS[0][:2], 1)]), pair()),
            r"input of train\[1\] is .* one type and",
        ),
        ((Samples([(NUMBERS[0], 1), (NUMBERS[0], 0.5)]), pair()), r"the target of train\[1\] is float64"),
        ((pair(NUMBERS[:, 0]), pair()), r"one number a sample as \(samples, 1\)"),
        ((pair(NUMBERS[:19]), pair()), "train has 19 inputs and 20 targets"),
        (
            (pair(), pair(NUMBERS[:, :2])),
            r"validation inputs are .* of shape \(2,\) a sample, those of train",
        ),
        ((pair(), pair(targets=CLASSES / 2)), "validation targets are float64"),
        (
            (pair(), pair(), pair(nan_in_row_7())),
            "test inputs are not finite in sample 7: fill in or leave out",
        ),
        ((pair(targets=nan_in_row_7()), pair()), "train targets are not finite in sample 7"),
        ((pair(NUMBERS + 0j), pair()), "train inputs are complex128: give floating-point or whole"),
        ((pair(NUMBERS > 0), pair()), "train inputs are bool"),
        ((pair(targets=CLASSES.astype(str)), pair()), "train targets are <U.*classes numbered from 0"),
        ((pair(CLASSES[:, None] - 1), pair()), "whole numbers from -1, which are read as tokens from 0"),
        ((pair(np.zeros((20, 8, 8, 3), np.uint8)), pair()), "have their channels last"),
    ],
)
def test_what_is_no_data_set_is_refused(returned, message):
    with pytest.raises(DatasetError, match=f"^mine:data.*{message}"):
        own(returned)


@pytest.mark.parametrize(
    ("augmentation", "message"),
    [
        (3, "is a int: give a function"),
        (lambda batch: batch, "raises TypeError"),
        (lambda batch, generator: batch[:1], r"makes torch.float32 of shape \(1, 3\) of .*\(4, 3\)"),
        (lambda batch, generator: batch.double(), "return a batch of the same kind"),
        (lambda batch, generator: batch + torch.rand(1), "draw all of them from the generator"),
        (lambda batch, generator: batch / 0, "not finite"),
    ],
)
def test_an_augmentation_that_could_not_be_used_is_refused(augmentation, message):
    with pytest.raises(DatasetError, match=f"mine:data: the augmentation .*{message}"):
        own({"train": pair(), "validation": pair(), "augmentation": augmentation})


def test_what_a_function_raises_is_told(tmp_path):
    def broken():
        raise KeyError("column")

    with pytest.raises(DatasetError, match=r"mine:data raises an error \(KeyError: 'column'\): mend"):
        load_own("mine:data", broken, tmp_path)
    with pytest.raises(DatasetError, match="is a int, not a function"):
        load_own("mine:data", 3, tmp_path)


def test_a_function_itself_may_be_given_to_a_sweep():
    def mine():
        return pair(), pair(targets=CLASSES)

    configs = Sweep(dataset=(mine, "digits"), n_subnetworks=1).trials()
    data = [load_dataset(config.dataset, train_subset=12) for config in configs]
    assert [one.input_shape for one in data] == [(3,), (1, 8, 8)]
    assert is_own(configs[0].dataset)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (np.ma.array([0, 1], mask=[0, 1]), "train targets are masked in part"),
        (torch.eye(2).to_sparse(), "train targets cannot be read as an array"),
        (np.array([0.0, 1e300]), "train targets are not finite in sample 1"),
    ],
)
def test_targets_that_are_no_plain_numbers(targets, message):
    split = np.zeros((2, 3), np.float32), targets
    with pytest.raises(DatasetError, match=message):
        own(split, split)


@pytest.mark.parametrize("error", [SystemExit(3), type("OwnError", (Exception,), {})("mine")])
def test_whatever_a_function_raises_is_reported(tmp_path, error):
    def make():
        raise error

    with pytest.raises(DatasetError, match="mine:data raises an error"):
        load_own("mine:data", make, tmp_path)


def test_arrays_that_run_backwards_are_read():
    split = np.zeros((2, 3), np.float32)[::-1], np.array([1, 0])[::-1]
    data = own(split, split)
    assert next(data.targets()).tolist() == [0, 1]
