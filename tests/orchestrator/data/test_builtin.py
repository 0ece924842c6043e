import pickle
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import scipy.io

from orchestrator.data.data import Augmentation
from orchestrator.data.datasets import DatasetError, load_dataset
from tests.orchestrator.data.files import noise

# digits


def test_digits_are_all_there_stratified_and_disjoint():
    data = load_dataset("digits")
    published = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    train = np.bincount(data.train_targets)
    assert (train + np.bincount(data.validation_targets) == published).all()
    assert (abs(train - 0.8 * np.array(published)) <= 1).all()
    pixels = {x.tobytes() for x in data.train_inputs} | {x.tobytes() for x in data.validation_inputs}
    assert len(pixels) == 1797
    assert data.train_inputs.dtype == np.uint8
    assert data.train_inputs.max() == 255
    assert data.train_targets.dtype == np.int64
    assert (data.input_shape, len(data.classes)) == ((1, 8, 8), 10)
    assert data.augmentation() == Augmentation((0, 0), False)


def test_digits_split_is_the_same_every_time():
    first, second = load_dataset("digits"), load_dataset("digits")
    assert (first.train_inputs == second.train_inputs).all()
    assert (first.validation_targets == second.validation_targets).all()


def test_synthetic():
    data = load_dataset("synthetic")
    assert data.train_inputs.shape == (1024, 3, 32, 32)
    assert data.validation_inputs.shape == (256, 3, 32, 32)
    assert len(data.classes) == 10
    again = load_dataset("synthetic")
    assert (data.train_inputs == again.train_inputs).all()
    small = load_dataset("synthetic:1x4x6x7x7")
    assert small.train_inputs.shape == (7, 1, 4, 6)
    assert sorted(small.train_targets) == list(range(7))


# torchvision's sets, from small files in their own formats


@pytest.fixture
def datasets():
    """torchvision's own, which take seconds to load in every process."""
    from torchvision import datasets

    return datasets


@pytest.fixture
def offline(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn", "mnist"])
def test_missing_network_names_the_remedies(offline, tmp_path, name):
    expected = f"; {tmp_path} holds none of its files: place intact files in {tmp_path}.*parquet:DIR.*digits"
    with pytest.raises(DatasetError, match=expected):
        load_dataset(name, data_dir=tmp_path)


def write_cifar10(published: Any, root: Path, images: np.ndarray, labels: list[int]) -> None:
    """Six batches of equal size, the last one for validation."""
    root.mkdir()
    names = [name for name, _ in published.train_list + published.test_list]
    size = len(images) // 6
    for i, name in enumerate(names):
        rows = slice(i * size, (i + 1) * size)
        batch = {"data": images[rows].reshape(size, -1), "labels": labels[rows]}
        (root / name).write_bytes(pickle.dumps(batch))
    (root / "batches.meta").write_bytes(pickle.dumps({"label_names": ["plane", "car"]}))


def test_cifar10_layout(monkeypatch, tmp_path, datasets):
    published, md5 = datasets.CIFAR10, datasets.utils.calculate_md5
    images, labels = noise(12, h=32, w=32), [0, 1] * 6
    root = tmp_path / published.base_folder
    write_cifar10(published, root, images, labels)
    for attribute in ("train_list", "test_list"):
        names = [name for name, _ in getattr(published, attribute)]
        monkeypatch.setattr(published, attribute, [[x, md5(root / x)] for x in names])
    meta = {**published.meta, "md5": md5(root / "batches.meta")}
    monkeypatch.setattr(published, "meta", meta)
    data = load_dataset("cifar10", data_dir=tmp_path)
    assert (data.train_inputs == images[:10]).all()
    assert (data.validation_inputs == images[10:]).all()
    assert data.validation_targets.tolist() == [0, 1]
    assert data.train_inputs.flags.c_contiguous
    assert data.classes == ("plane", "car")
    assert data.augmentation() == Augmentation((4, 4), True)


def test_foreign_cifar10_pickles_are_never_opened(offline, tmp_path, datasets):
    class Malicious:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    root = tmp_path / datasets.CIFAR10.base_folder
    write_cifar10(datasets.CIFAR10, root, noise(6, h=32, w=32), [0] * 6)
    for file in root.iterdir():
        file.write_bytes(pickle.dumps(Malicious()))
    message = r"cifar-10-batches-py/batches.meta is not the published file \(\d+ bytes, MD5 \w{32}, not 5ff9c"
    with pytest.raises(DatasetError, match=f"{message}.*nor are 6 more"):
        load_dataset("cifar10", data_dir=tmp_path)
    assert not (tmp_path / "executed").exists()


def test_svhn_layout(monkeypatch, tmp_path, datasets):
    images, labels = noise(4, h=32, w=32), np.array([10, 1, 10, 1])  # 10 stands for zero
    published = dict(datasets.SVHN.split_list)
    for split in ("train", "test"):
        file = tmp_path / f"{split}_32x32.mat"
        scipy.io.savemat(file, {"X": images.transpose(2, 3, 1, 0), "y": labels[:, None]})
        published[split] = [published[split][0], file.name, datasets.utils.calculate_md5(file)]
    monkeypatch.setattr(datasets.SVHN, "split_list", published)
    data = load_dataset("svhn", data_dir=tmp_path)
    assert (data.train_inputs == images).all()
    assert data.validation_targets.tolist() == [0, 1, 0, 1]
    assert data.augmentation() == Augmentation((4, 4), False)


def write_mnist(root: Path, images: np.ndarray, labels: np.ndarray) -> None:
    root.mkdir(parents=True)
    for split in ("train", "t10k"):
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            header = np.array([0x800 + values.ndim, *values.shape], ">i4").tobytes()
            (root / f"{split}-{kind}-ubyte").write_bytes(header + values.tobytes())


def test_mnist_layout(tmp_path):
    images, labels = noise(3, c=1, h=28, w=28), np.array([2, 0, 1], np.uint8)
    root = tmp_path / "MNIST" / "raw"
    write_mnist(root, images[:, 0], labels)
    data = load_dataset("mnist", data_dir=tmp_path)
    assert (data.train_inputs == images).all()
    assert data.train_targets.tolist() == [2, 0, 1]
    assert data.train_targets.dtype == np.int64
    assert data.augmentation() == Augmentation((0, 0), False)

    (root / "train-images-idx3-ubyte").write_bytes(b"something else entirely")
    with pytest.raises(
        DatasetError, match=r"raw/train-images-idx3-ubyte is not the published file \(23 bytes\): place"
    ):
        load_dataset("mnist", data_dir=tmp_path)


@pytest.mark.parametrize("name", ["svhn", "cifar100"])
def test_an_archive_that_is_another_is_named_with_both_sums(offline, tmp_path, name):
    file = {"svhn": "train_32x32.mat", "cifar100": "cifar-100-python.tar.gz"}[name]
    (tmp_path / file).write_bytes(b"cut short")
    with pytest.raises(
        DatasetError, match=rf"{file} is not the published file \(9 bytes, MD5 c1a31a\w+, not"
    ):
        load_dataset(name, data_dir=tmp_path)


@pytest.mark.parametrize(("folder", "old", "new"), [("", "", ""), ("MNIST/raw", "-idx", ".idx")])
def test_files_that_lie_elsewhere_are_found(offline, tmp_path, folder, old, new):
    root = tmp_path / folder
    write_mnist(tmp_path / "unpacked", noise(3, c=1, h=28, w=28)[:, 0], np.array([2, 0, 1], np.uint8))
    root.mkdir(parents=True, exist_ok=True)
    for file in (tmp_path / "unpacked").iterdir():
        file.rename(root / file.name.replace(old, new))
    there = root / "train-images-idx3-ubyte".replace(old, new)
    place = tmp_path / "MNIST/raw/train-images-idx3-ubyte"
    with pytest.raises(DatasetError, match=f"{there} is there, but looked for at {place}: place"):
        load_dataset("mnist", data_dir=tmp_path)


def test_files_that_are_missing_among_others_are_named(offline, tmp_path):
    root = tmp_path / "MNIST" / "raw"
    write_mnist(root, noise(3, c=1, h=28, w=28)[:, 0], np.array([2, 0, 1], np.uint8))
    (root / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DatasetError, match=f"; {tmp_path} lacks MNIST/raw/t10k-labels-idx1-ubyte: place"):
        load_dataset("mnist", data_dir=tmp_path)


def test_as_many_labels_as_images(tmp_path):
    images, labels = noise(3, c=1, h=28, w=28), np.array([2, 0, 1, 1], np.uint8)
    write_mnist(tmp_path / "MNIST" / "raw", images[:, 0], labels)
    with pytest.raises(DatasetError, match="mnist: 4 train labels and 3 images: give an image for each"):
        load_dataset("mnist", data_dir=tmp_path)
