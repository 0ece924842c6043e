"""Classes by number: 0, 1, … in the order of the labels' values, whatever those are."""

from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.data.errors import DatasetError, alike, exact, shown
from orchestrator.data.source import Labels, Source

Values = npt.NDArray[Any]


def number(name: str, source: Source) -> tuple[dict[str, Labels], tuple[str, ...]]:
    """The splits' labels as class numbers (n,), int64, and the classes' names by number.

    Raises:
        DatasetError: labels are missing, of a kind that names no class, or of one class alone; or a class has
            no training images.
    """
    given = {"train": source.train_labels, "validation": source.validation_labels}
    if source.test_labels is not None:
        given["test"] = source.test_labels
    splits = {split: _values(name, split, labels) for split, labels in given.items()}
    if len({values.dtype.kind for values in splits.values()} & {"i", "u"}) > 1:
        # As one type of numpy's they would be floating-point numbers, of which several are the same.
        splits = {split: values.astype(object) for split, values in splits.items()}
    classes = np.unique(splits["train"])
    names = tuple((source.names or {}).get(label, str(label)) for label in classes.tolist())
    if len(classes) < 2:
        raise DatasetError(
            f"{name} has one class, {names[0]}: there is nothing to tell apart: give two or more (the folder "
            "may be one too high or too deep)"
        )
    if odd := [ascii(word) for word in names if word.encode(errors="replace").decode() != word]:
        raise DatasetError(
            f"{name}: the names of classes {shown(odd, 5)} are not UTF-8, so that no table can hold them: "
            "rename them"
        )
    for split, values in splits.items():
        foreign = np.setdiff1d(values, classes).tolist()
        if foreign:
            known = [*map(exact, classes.tolist())]
            words = [value for value in (*classes.tolist(), *foreign) if isinstance(value, str)]
            pairs = [pair for pair in alike(words) if pair[1] in foreign]
            but = f"; {exact(pairs[0][1])} is not {exact(pairs[0][0])}" if pairs else ""
            raise DatasetError(
                f"{name}: {split} images have the labels {shown([*map(exact, foreign)], 5)}, which no "
                f"training image has ({shown(known, 5)}{but}): rename or remove them, or add such training "
                "images"
            )
    return {split: np.searchsorted(classes, values) for split, values in splits.items()}, names


def _values(name: str, split: str, labels: Any) -> Values:
    """The labels of a split as an array of values that can be numbered."""
    values = np.asarray(labels)
    if np.ma.is_masked(labels):
        raise DatasetError(f"{name}: {split} labels are masked in part: fill in or leave out what is missing")
    if values.ndim != 1 or values.dtype.kind not in "iubU":
        raise DatasetError(
            f"{name}: {split} labels are {values.dtype} of shape {values.shape}: give one whole number, word "
            "or boolean for each image"
        )
    if not len(values):
        raise DatasetError(f"{name} holds no {split} images: check its files")
    return whole(values)


def whole(values: Values) -> Values:
    """Unsigned whole numbers as signed ones, where these are large enough; others as they are."""
    if values.dtype.kind == "u" and values.max(initial=0) <= np.iinfo(np.int64).max:
        return values.astype(np.int64)
    return values
