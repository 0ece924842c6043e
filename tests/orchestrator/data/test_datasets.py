import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from orchestrator.data import batches, data, datasets, decoding, folders, kept
from orchestrator.data.batches import Batches
from orchestrator.data.datasets import DATASETS, DatasetError, Reading, Source, load_dataset
from orchestrator.data.source import in_memory
from tests.orchestrator.data.files import noise, write_folder


def test_subsets_keep_images_with_their_labels():
    whole = load_dataset("digits")
    part = load_dataset("digits", train_subset=100, validation_subset=20)
    assert set(np.bincount(part.train_targets)) <= {9, 10, 11}
    assert (np.bincount(part.validation_targets) == 2).all()
    label_of = {x.tobytes(): y for x, y in zip(whole.train_inputs, whole.train_targets, strict=True)}
    assert [label_of[x.tobytes()] for x in part.train_inputs] == part.train_targets.tolist()


@pytest.mark.parametrize("subset", [{"train_subset": 1439}, {"train_subset": 9}])
def test_subset_out_of_range(subset):
    with pytest.raises(DatasetError, match=r"train_subset \d+ of digits .* 10 .* 1438"):
        load_dataset("digits", **subset)
    with pytest.raises(DatasetError, match=r"validation_subset 360 .* 359"):
        load_dataset("digits", validation_subset=360)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifar-10", "did you mean cifar10.*choose one of digits.*synthetic.*parquet:DIR"),
        ("Digits", "did you mean digits"),
        ("", "unknown data set ''"),
        ("digits:folder", "write digits$"),
        ("parquet", "write parquet:DIR"),
        ("image_folder:", "write image_folder:DIR"),
        ("synthetic:3x32", "CxHxWxK"),
        ("synthetic:3x0x32x10", "CxHxWxK"),
        ("synthetic:3x8x8x10x9", "NUMBER >= K"),
        ("synthetic:3x8x8x1x9", "K >= 2"),
        ("parquet:/no/such/folder", "parquet:/no/such/folder is no folder of this machine"),
        ("image_folder:caf\udce9", r"image_folder:caf\\udce9 is no folder.*UTF-8"),
        ("parquet:hf://datasets/owner/set", "parquet:hf://datasets/owner/set is an address.*download"),
    ],
)
def test_bad_names(name, message):
    with pytest.raises(DatasetError, match=message):
        load_dataset(name)


@pytest.mark.parametrize("option", [{"image_size": 8}, {"label_column": "a"}, {"validation_fraction": 0.5}])
def test_options_for_folders_are_not_ignored_elsewhere(option):
    (name,) = option
    with pytest.raises(
        DatasetError, match=f"--{name.replace('_', '-')} .* is for image_folder and parquet, not"
    ):
        load_dataset("digits", reading=Reading(**option))


def test_more_than_fits_into_memory_is_refused_before_it_is_made():
    with pytest.raises(
        DatasetError, match=r"images of 3×224×224 take 224\.\d GiB .*, and [\d.]+ GiB are free: use"
    ):
        load_dataset("synthetic:3x224x224x1000x1281167")


FOLDER_NAMES = [f"{split}/{c}/1.png" for split in ("train", "val") for c in "ab"]


def test_images_of_a_folder_are_not_decoded_where_they_do_not_fit(tmp_path, monkeypatch):
    write_folder(tmp_path / "pets", dict.fromkeys(FOLDER_NAMES, noise(1)[0]))
    monkeypatch.setattr(kept.shutil, "disk_usage", lambda folder: SimpleNamespace(free=4 * 3 * 8 * 8 - 1))
    monkeypatch.setattr(decoding, "_decode", pytest.fail)
    with pytest.raises(
        DatasetError, match=r"4 images of 3×8×8 take 0\.0 GiB of disk in .*where 0\.0 GiB are .*--image-size"
    ):
        load_dataset(f"image_folder:{tmp_path}/pets", data_dir=tmp_path)


def test_what_has_been_decoded_is_not_decoded_again_until_a_file_changes(tmp_path, monkeypatch):
    images = noise(8)
    write_folder(tmp_path, dict(zip(FOLDER_NAMES, images, strict=False)))
    first = load_dataset(f"image_folder:{tmp_path}")

    def fail(*_):
        raise AssertionError("all images are gone through again")

    with monkeypatch.context() as nothing_read:
        for module, function in ((decoding, "_decode"), (folders, "any_colour"), (data, "blocks")):
            nothing_read.setattr(module, function, fail)
        again = load_dataset(f"image_folder:{tmp_path}")
        assert (again.fingerprint, again.mean, again.std) == (first.fingerprint, first.mean, first.std)
    assert (again.train_inputs == images[:2]).all()
    assert replace(again).fingerprint == first.fingerprint  # computed anew
    write_folder(tmp_path, dict(zip(FOLDER_NAMES, images[4:], strict=False)))
    assert (load_dataset(f"image_folder:{tmp_path}").train_inputs == images[4:6]).all()
    smaller = load_dataset(f"image_folder:{tmp_path}", reading=Reading(image_size=4))
    assert smaller.input_shape == (3, 4, 4)


def test_what_is_large_lies_in_files_and_trains_as_if_it_were_in_memory(monkeypatch, tmp_path):
    in_memory_ = load_dataset("synthetic:3x8x8x10x100")
    monkeypatch.setattr(datasets, "LARGE", 1000)
    mapped = load_dataset("synthetic:3x8x8x10x100", data_dir=tmp_path)
    sent = pickle.loads(pickle.dumps(mapped))
    assert len(pickle.dumps(mapped)) < 5000
    assert sent.fingerprint == replace(mapped).fingerprint == in_memory_.fingerprint
    ways = [Batches(data, batch_size=7, seed=3) for data in (in_memory_, mapped, sent)]
    monkeypatch.setattr(batches, "fits", lambda n_bytes, device: False)
    ways.append(Batches(sent, batch_size=7, seed=3))
    for requests in ([(1, 0), (2, 13)], [(1, 13)]):
        for request in requests:
            first, *others = [way.train(*request) for way in ways]
            assert all(torch.equal(a, b) for other in others for a, b in zip(first, other, strict=True))
    first, *others = [way.validation(3) for way in ways]
    assert all(torch.equal(a, b) for other in others for a, b in zip(first, other, strict=True))


# A reader of one's own


@pytest.fixture
def load(monkeypatch):
    """Loads what a reader of one's own returns."""

    def load(source, **options):
        monkeypatch.setitem(DATASETS, "mine", (lambda argument, data_dir: source, ""))
        return load_dataset("mine", **options)

    return load


LABELS = np.arange(6) % 3
HELD_OUT = np.arange(3)


def test_registering_a_function_is_all_a_new_data_set_needs(load):
    images = noise(3)
    data = load(Source(HELD_OUT, HELD_OUT, lambda train, validation: (images[train], images[validation])))
    assert (data.train_inputs == images).all()
    assert data.classes == ("0", "1", "2")
    assert len(data.test_inputs) == 0


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["b", "c", "a"], ("a", "b", "c")),
        ([5, 70, -1], ("-1", "5", "70")),
        (np.array([1, 2, 0], np.int32), ("0", "1", "2")),
        (np.array([1, 2, 0], np.uint8), ("0", "1", "2")),
    ],
)
def test_classes_are_numbered_by_sorted_value(load, labels, classes):
    data = load(Source(labels, labels, in_memory(noise(3), noise(3))))
    assert data.train_targets.tolist() == data.validation_targets.tolist() == [1, 2, 0]
    assert data.train_targets.dtype == np.int64
    assert data.classes == classes


def test_a_third_split_is_the_test_split(load):
    images = [noise(6), noise(3), noise(3)]
    data = load(Source(LABELS, HELD_OUT, in_memory(*images), test_labels=HELD_OUT), train_subset=3)
    assert len(data.train_inputs) == 3
    assert (data.test_inputs == images[2]).all()
    assert data.test_targets.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("train", "validation", "message"),
    [
        (noise(6).transpose(0, 2, 3, 1), noise(3), r"shape \(8, 8, 3\) have their channels last.*transpose"),
        (noise(5), noise(3), "6 train labels and 5 images"),
        (noise(7), noise(3), "6 train labels and 7 images"),
        (noise(6), noise(4), "3 validation labels and 4 images"),
        (noise(6), noise(3, h=4), r"validation images are of shape \(3, 4, 8\), train images \(3, 8, 8\)"),
        (noise(6), noise(3, c=1), r"validation images are of shape \(1, 8, 8\)"),
        (noise(6) > 128, noise(3), "train images are bool of shape .*: give a numpy array of uint8"),
        (noise(6) / 255, noise(3), "train images are float64"),
        (noise(6).astype(np.uint16), noise(3), "train images are uint16"),
        (noise(6)[:, 0], noise(3), r"uint8 of shape \(6, 8, 8\): give"),
        (noise(6, h=0), noise(3, h=0), "without a 0"),
    ],
)
@pytest.mark.parametrize("reader", [in_memory, lambda *images: lambda *rows: images])
def test_images_that_are_not_as_promised(load, reader, train, validation, message):
    with pytest.raises(DatasetError, match=f"^mine: .*{message}"):
        load(Source(LABELS, HELD_OUT, reader(train, validation)))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.eye(3, dtype=int)[LABELS], r"train labels are int64 of shape \(6, 3\): give one whole number"),
        (LABELS[:, None], r"of shape \(6, 1\)"),
        (LABELS / 2, "train labels are float64"),
        ([None] * 6, "train labels are object"),
        (LABELS[:0], "holds no train images"),
        (0 * LABELS, "mine has one class, 0: there is nothing to tell apart"),
        (LABELS.clip(0, 1), "validation images have the labels 2, which no training image has"),
    ],
)
def test_labels_that_are_not_as_promised(load, labels, message):
    with pytest.raises(DatasetError, match=message):
        load(Source(labels, HELD_OUT, lambda *rows: tuple(noise(len(chosen)) for chosen in rows)))


@pytest.mark.parametrize("returned", [None, (noise(6),), noise(6)])
def test_a_reader_that_does_not_return_every_split(load, returned):
    with pytest.raises(DatasetError, match=r"mine: read returns .*: give 2 arrays in a tuple"):
        load(Source(LABELS, HELD_OUT, lambda *rows: returned))
