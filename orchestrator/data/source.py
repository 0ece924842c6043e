"""What a data set is to the sweep before its images are read; what a new data set returns."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from orchestrator.data.decoding import Images

Labels = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int64]
Read = Callable[[Rows, Rows], tuple[Images, Images]]


class Source(NamedTuple):
    """All labels of a data set, and how to read chosen images.

    Labels are int64 of shape (n,), the classes numbered from 0. `read` takes ascending training and
    validation rows and returns their images, uint8 of shape (n, c, h, w). `crop` and `flip` say whether
    the usual training augmentation includes them.
    """

    train_labels: Labels
    validation_labels: Labels
    read: Read
    crop: bool = False
    flip: bool = False


def in_memory(train: Images, validation: Images) -> Read:
    """How to read images that are in memory already."""
    return lambda train_rows, validation_rows: (train[train_rows], validation[validation_rows])
