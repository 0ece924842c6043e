"""What a data set is to the sweep before its images are read; what a new data set returns."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]  # (n, c, h, w)
Labels = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int64]
Read = Callable[..., tuple[Images, ...]]

ENCODED = ("image_folder", "parquet")
"""Kinds of data set whose text after the colon is a folder of encoded images."""

ImageMode = Literal["auto", "grey", "colour"]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a folder of encoded images is to be understood.

    Attributes:
        label_column: of Parquet files, the column with the labels; None: by its name.
        validation_split: the split that validates; None: by its name.
        validation_fraction: of the training images, to validate on where no split does.
        image_size: height and width that images are brought to; None: they have one size.
        image_mode: grey, colour, or auto: colour where any image of the folder has it.
    """

    label_column: str | None = None
    validation_split: str | None = None
    validation_fraction: float | None = None
    image_size: int | None = None
    image_mode: ImageMode = "auto"


class Source(NamedTuple):
    """All labels of a data set, and how to read chosen images.

    Labels are whole numbers of shape (n,), words or booleans: classes are numbered by sorted value. ``read``
    takes ascending rows of each split, training, validation and, where there is one, test, and returns their
    images, uint8 of shape (n, c, h, w), in a tuple. All of it is checked before it is used.

    Attributes:
        train_labels: of the training images.
        validation_labels: of the images that validate after every epoch.
        read: how images are read.
        crop: whether the usual training augmentation has a random crop.
        flip: whether it mirrors images at random.
        test_labels: of images that are measured once, when a trial has ended; None where there are none.
        names: of the classes by label, where they have others than the labels themselves.
        remarks: what a user should know of how the set was understood, a line each.
    """

    train_labels: Labels
    validation_labels: Labels
    read: Read
    crop: bool = False
    flip: bool = False
    test_labels: Labels | None = None
    names: dict[int, str] | None = None
    remarks: tuple[str, ...] = ()


class InMemory:
    """How to read images that are in memory already.

    Attributes:
        splits: an array for each split.
    """

    def __init__(self, *splits: Images) -> None:
        self.splits = tuple(map(np.asarray, splits))

    def __call__(self, *rows: Rows) -> tuple[Images, ...]:
        """The chosen images of each split."""
        return tuple(
            images if len(chosen) == len(images) else images[chosen]
            for images, chosen in zip(self.splits, rows, strict=True)
        )


def in_memory(*splits: Images) -> Read:
    """How to read images that are in memory already, an array for each split."""
    return InMemory(*splits)
