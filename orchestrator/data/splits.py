"""Which images train, validate and test; subsets of them with the classes in proportion."""

import re
from collections.abc import Collection

import numpy as np

from orchestrator.data.errors import DatasetError
from orchestrator.data.source import Labels, Rows

SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "eval"),
    "test": ("test", "testing"),
}
"""Names by which a folder, or the beginning of a file's name, is known for a split."""

SEED = 0  # of splits and subsets; fixed, so that every trial of a sweep sees the same images


def split_of(name: str) -> str | None:
    """The split that a folder's or a file's name stands for, as it is spelt there; None if for none."""
    match = re.match(r"[a-z]+(?=[-.]|_?\d|$)", name, re.IGNORECASE)  # train_extra is another one than train
    known = {word for words in SPLITS.values() for word in words}
    return match[0] if match and match[0].lower() in known else None


def choose(
    where: str, found: Collection[str], *, validation_split: str | None, validation_fraction: float | None
) -> tuple[str, str | None, str | None]:
    """The names of the training, validation and test splits, of those found.

    There is no validation split where a fraction of the training images is to validate.

    Raises:
        DatasetError: there are none to train or validate on, or several.
    """
    train, validation, test = ([name for name in found if name.lower() in names] for names in SPLITS.values())
    listed = ", ".join(found) or "none"
    if len(train) != 1:
        raise DatasetError(
            f"{where} needs one split called {' or '.join(SPLITS['train'])}, and has {listed}: rename them"
        )
    if validation_split is not None:
        if validation_split not in found or validation_split in train:
            raise DatasetError(
                f"--validation-split {validation_split}: {where} has the splits {listed}: name another of "
                "them than the training images"
            )
        validation = [validation_split]
    if len(validation) > 1:
        raise DatasetError(
            f"{where} has {len(validation)} splits to validate on, {' and '.join(validation)}: choose one "
            f"with --validation-split {validation[0]}"
        )
    test = [name for name in test if name not in validation]
    if len(test) > 1:
        raise DatasetError(f"{where} has {len(test)} test splits, {' and '.join(test)}: remove one")
    if validation_fraction is not None and validation:
        raise DatasetError(
            f"--validation-fraction {validation_fraction}: {where} has images to validate on, "
            f"{validation[0]}: leave the option out"
        )
    if validation_fraction is None and not validation:
        use = f", or validate on the test images with --validation-split {test[0]}" if test else ""
        raise DatasetError(
            f"{where} has no images to validate on (splits: {listed}): take some of the training images "
            f"with --validation-fraction 0.1{use}"
        )
    return train[0], next(iter(validation), None), next(iter(test), None)


def part_off(where: str, labels: Labels, fraction: float) -> tuple[Rows, Rows]:
    """Rows to train on, with every class among them, and the fraction of all rows to validate on.

    Raises:
        DatasetError: nothing would validate, or a class would have nothing to train on.
    """
    n, n_classes = len(labels), len(np.unique(labels))
    n_validation = round(fraction * n)
    if not 1 <= n_validation <= n - n_classes:
        raise DatasetError(
            f"--validation-fraction {fraction} of the {n} training samples of {where} is {n_validation}: "
            f"choose 1 to {n - n_classes}, which leaves one sample of each class to train on"
        )
    train = stratified(labels, n - n_validation)
    return train, np.setdiff1d(np.arange(n), train)


def subset(name: str, split: str, labels: Labels, size: int | None, n_classes: int) -> Rows:
    """The rows that a subset of ``size`` images keeps, ascending; all without a size.

    Raises:
        DatasetError: there are fewer, or it could not hold every class.
    """
    if size is None:
        return np.arange(len(labels))
    if not n_classes <= size <= len(labels):
        raise DatasetError(
            f"{split}_subset {size} of {name} is out of range: "
            f"choose {n_classes} (its classes) to {len(labels)} (its samples)"
        )
    return stratified(labels, size)


def stratified(labels: Labels, size: int) -> Rows:
    """``size`` random rows, ascending, every class in its share of the whole."""
    shuffled = np.random.default_rng(SEED).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    _, starts, counts = np.unique(labels[by_class], return_index=True, return_counts=True)
    # An image's key is the fraction of its class that comes before it: the smallest keys are one
    # image of every class, the next ones equal fractions of all.
    rank = np.arange(len(labels)) - np.repeat(starts, counts)
    key = rank / np.repeat(counts, counts)
    return np.sort(by_class[np.argsort(key, kind="stable")[:size]])
