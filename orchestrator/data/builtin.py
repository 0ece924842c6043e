"""Data sets by name: scikit-learn's digits, what torchvision downloads, and noise."""

import re
from collections.abc import Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.data import memory
from orchestrator.data.errors import DatasetError, reported
from orchestrator.data.fetching import fetching
from orchestrator.data.source import Images, Source, in_memory
from orchestrator.data.splits import SEED, stratified


def digits(_argument: str, _data_dir: Path) -> Source:
    """scikit-learn's 1,797 handwritten digits, 8 × 8 with values 0..16; 80 % train."""
    # Straight from the file in the package: importing scikit-learn takes seconds.
    file = distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")
    with reported(f"cannot read {file}", "install scikit-learn again"):
        table = np.loadtxt(str(file), delimiter=",")  # 64 pixels and the label
    images = np.rint(table[:, :64] * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    labels = table[:, 64].astype(np.int64)
    train = stratified(labels, round(0.8 * len(labels)))
    validation = np.setdiff1d(np.arange(len(labels)), train)
    return Source(labels[train], labels[validation], in_memory(images[train], images[validation]))


def cifar(kind: str, archive: str, _argument: str, data_dir: Path) -> Source:
    """CIFAR-10 or CIFAR-100, 32 × 32 in colour, 50,000 + 10,000."""
    from torchvision import datasets

    # These sets come as pickles, the only ones read here: torchvision compares every file's md5,
    # downloaded or placed by hand, with the published one before it opens it.
    known = getattr(datasets, kind)
    files = [(archive, known.tgz_md5), (known.meta["filename"], known.meta["md5"])]
    files += [*known.train_list, *known.test_list]
    published = {(f"{known.base_folder}/" if i else "") + name: md5 for i, (name, md5) in enumerate(files)}
    with fetching(archive, data_dir, published):
        (train, train_labels, names), (validation, validation_labels, _) = (
            _in_turn(known, files, data_dir) for files in (known.train_list, known.test_list)
        )
    return Source(
        np.array(train_labels),
        np.array(validation_labels),
        in_memory(train, validation),
        crop=True,
        flip=True,
        names=dict(enumerate(names)),
    )


def _in_turn(known: Any, files: Sequence[object], data_dir: Path) -> tuple[Images, list[int], list[str]]:
    """Images, labels and the classes' names of equally large files, one of which at a time is there twice."""
    images, labels, names = np.empty(0, np.uint8), list[int](), list[str]()
    for file in files:
        one = type(known.__name__, (known,), {"train_list": [file], "test_list": []})(data_dir, download=True)
        part = one.data.transpose(0, 3, 1, 2)
        if not labels:
            images = np.empty((len(files) * len(part), *part.shape[1:]), np.uint8) if files[1:] else part
        images[len(labels) : len(labels) + len(part)] = part
        labels += one.targets
        names = one.classes
    return images, labels, names


def svhn(_argument: str, data_dir: Path) -> Source:
    """Street view house numbers, 32 × 32 in colour; a mirrored digit is none, so no flip."""
    from torchvision.datasets import SVHN

    published = dict(SVHN.split_list[split][1:] for split in ("train", "test"))
    with fetching(" and ".join(published), data_dir, published):
        train, validation = (SVHN(data_dir, split, download=True) for split in ("train", "test"))
    return Source(train.labels, validation.labels, in_memory(train.data, validation.data), crop=True)


def mnist(_argument: str, data_dir: Path) -> Source:
    """Handwritten digits, 28 × 28 in grey, 60,000 + 10,000."""
    from torchvision.datasets import MNIST

    unpacked = {f"MNIST/raw/{name.removesuffix('.gz')}": None for name, _ in MNIST.resources}
    archives = {f"MNIST/raw/{name}": md5 for name, md5 in MNIST.resources}
    with fetching("MNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte", data_dir, unpacked | archives):
        train, validation = (MNIST(data_dir, train=split, download=True) for split in (True, False))
    return Source(
        train.targets.numpy(),
        validation.targets.numpy(),
        in_memory(train.data.numpy()[:, None], validation.data.numpy()[:, None]),
    )


def synthetic(argument: str, _data_dir: Path) -> Source:
    """Noise with random, evenly used labels, for timing only; a quarter as many to validate."""
    match = re.fullmatch(r"(\d+)x(\d+)x(\d+)x(\d+)(?:x(\d+))?", argument or "3x32x32x10")
    sizes = [int(size or 1024) for size in match.groups()] if match else [0] * 5
    c, h, w, n_classes, n_train = sizes
    if not min(sizes) or n_classes < 2 or n_train < n_classes:
        raise DatasetError(
            f"synthetic:{argument} is not CxHxWxK[xNUMBER]: give channels, height, width, K >= 2 "
            "classes and NUMBER >= K images (1024 if left out)"
        )
    rng = np.random.default_rng(SEED)
    numbers = (n_train, -(-n_train // 4))
    memory.require(sum(numbers), (c, h, w))
    train, validation = (rng.integers(256, size=(n, c, h, w), dtype=np.uint8) for n in numbers)
    train_labels, validation_labels = (rng.permutation(np.arange(n) % n_classes) for n in numbers)
    return Source(train_labels, validation_labels, in_memory(train, validation))
