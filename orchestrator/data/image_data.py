"""A data set in memory, ready to train on."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Literal, NamedTuple

import numpy as np

from orchestrator.data.source import Images, Labels

Switch = Literal["auto", "on", "off"]
"""Whether to do something; auto: where the data set's own usual augmentation does."""

_BLOCK = 256  # images whose squares are in memory at a time


class Augmentation(NamedTuple):
    """What happens to training images at random.

    Attributes:
        pad: black rows above and below and black columns left and right, from which an image of the old size
            is cropped; (0, 0): no crop.
        flip: whether every second image is mirrored, left to right.
    """

    pad: tuple[int, int] = (0, 0)
    flip: bool = False


@dataclass(frozen=True, eq=False)
class ImageData:
    """Training, validation and, where there are any, test images of one size, in memory.

    Images are uint8 of shape (n, c, h, w), labels int64 of shape (n,) in 0..n_classes-1. ``crop`` and
    ``flip`` say whether the set's usual training augmentation includes them.
    """

    name: str
    train_images: Images
    train_labels: Labels
    validation_images: Images
    validation_labels: Labels
    n_classes: int
    crop: bool = False
    flip: bool = False
    classes: tuple[str, ...] = ()
    """The classes' names, by number."""
    test_images: Images = field(default_factory=lambda: np.empty((0, 0, 0, 0), np.uint8))
    test_labels: Labels = field(default_factory=lambda: np.empty(0, np.int64))
    remarks: tuple[str, ...] = ()
    """What a user should know of how the set was understood, a line each."""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        _, c, h, w = self.train_images.shape
        return c, h, w

    def augmentation(
        self, *, augment: bool = True, crop: Switch = "auto", flip: Switch = "auto"
    ) -> Augmentation:
        """What to do at random: the set's usual, unless told otherwise; without ``augment`` nothing.

        A crop moves an image by an eighth of each side at most: 4 of CIFAR's 32 pixels.
        """
        _, h, w = self.input_shape
        crops = augment and (self.crop if crop == "auto" else crop == "on")
        flips = augment and (self.flip if flip == "auto" else flip == "on")
        return Augmentation((h // 8, w // 8) if crops else (0, 0), flips)

    @cached_property
    def mean(self) -> tuple[float, ...]:
        """Mean of each channel over the training images, pixels scaled to 0..1."""
        return tuple(total / (255 * n) for n, total, _ in self._moments)

    @cached_property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of each channel, likewise; 1 for a constant channel."""
        variances = ((n * squares - total**2) / (255 * n) ** 2 for n, total, squares in self._moments)
        return tuple(variance**0.5 or 1.0 for variance in variances)

    @cached_property
    def fingerprint(self) -> str:
        """A key of all pixels, labels and classes: another one where any of them is another."""
        digest = blake2b(json.dumps([self.input_shape, self.classes]).encode(), digest_size=8)
        for images, labels in (
            (self.train_images, self.train_labels),
            (self.validation_images, self.validation_labels),
            (self.test_images, self.test_labels),
        ):
            digest.update(np.ascontiguousarray(labels, "<i8").data)
            digest.update(np.ascontiguousarray(images).data)
        return digest.hexdigest()

    @cached_property
    def _moments(self) -> list[tuple[int, int, int]]:
        """Count, sum and sum of squares of each channel: exact, and no float copy of the set."""
        n, c, h, w = self.train_images.shape
        sums, squares = np.zeros(c, np.uint64), np.zeros(c, np.uint64)
        for start in range(0, n, _BLOCK):
            block = self.train_images[start : start + _BLOCK]
            sums += block.sum(axis=(0, 2, 3), dtype=np.uint64)
            squares += np.square(block, dtype=np.uint16).sum(axis=(0, 2, 3), dtype=np.uint64)
        return [(n * h * w, *pair) for pair in zip(sums.tolist(), squares.tolist(), strict=True)]
