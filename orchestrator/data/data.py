"""A data set, ready to train on: what a network reads and what it is trained for, in arrays."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from models.task import Task
from orchestrator.data.blocks import Array, blocks
from orchestrator.data.errors import shown
from orchestrator.data.mapped import Mapped, mapped
from orchestrator.data.shared import n_shared

OwnAugmentation = Callable[[Tensor, torch.Generator], Tensor]
"""(what a network would read of a training batch, generator on its device) -> what it is to read instead."""

Switch = Literal["auto", "on", "off"]
"""Whether to do something; auto: where the data set's own usual augmentation does."""


_FACTS = ("fingerprint", "_moments", "n_shared")


class Augmentation(NamedTuple):
    """What happens to training images at random.

    Attributes:
        pad: black rows above and below and black columns left and right, from which an image of the old size
            is cropped; (0, 0): no crop.
        flip: whether every second image is mirrored, left to right.
        own: a user's own, of what a network would read.
    """

    pad: tuple[int, int] = (0, 0)
    flip: bool = False
    own: OwnAugmentation | None = None


@dataclass(frozen=True, eq=False)
class Data:
    """Training, validation and, where there are any, test samples, in memory or in files.

    Arrays that lie in files are pickled as where they lie: who gets them maps the same file.

    Inputs (n, …) are images, uint8 of shape (n, c, h, w), which are normalised by channel; other whole
    numbers, which are tokens from 0; or floating-point numbers, which are read as they are. Targets (n, …)
    are whole or floating-point numbers: of classes int64 (n,). ``crop`` and ``flip`` say whether the set's
    usual training augmentation includes them.
    """

    name: str
    train_inputs: Array
    train_targets: Array
    validation_inputs: Array
    validation_targets: Array
    crop: bool = False
    flip: bool = False
    classes: tuple[str, ...] = ()
    """The classes' names, by number."""
    test_inputs: Array = field(default_factory=lambda: np.empty((0, 0, 0, 0), np.uint8))
    test_targets: Array = field(default_factory=lambda: np.empty(0, np.int64))
    own_augmentation: OwnAugmentation | None = None
    remarks: tuple[str, ...] = ()
    """What a user should know of how the set was understood, a line each."""

    def __getstate__(self) -> dict[str, Any]:
        """What is sent to other processes."""
        return {
            name: (isinstance(value, np.ndarray) and mapped(value)) or value
            for name, value in vars(self).items()
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over what was sent."""
        vars(self).update(
            {name: value.array() if isinstance(value, Mapped) else value for name, value in state.items()}
        )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of a sample; channels, height, width of an image."""
        return self.train_inputs.shape[1:]

    @property
    def holds_images(self) -> bool:
        """Whether inputs are images."""
        return self.train_inputs.dtype == np.uint8 and self.train_inputs.ndim == 4

    @cached_property
    def vocabulary(self) -> int | None:
        """K where inputs are tokens 0 … K − 1; None where they are none."""
        if self.holds_images or self.train_inputs.dtype.kind == "f":
            return None
        return 1 + max(int(inputs.max()) for inputs, _ in self.splits())

    def splits(self) -> Iterator[tuple[Array, Array]]:
        """Inputs and targets of training, validation and, where there is one, the test split."""
        yield self.train_inputs, self.train_targets
        yield self.validation_inputs, self.validation_targets
        if len(self.test_targets):
            yield self.test_inputs, self.test_targets

    def targets(self) -> Iterator[Tensor]:
        """Of each of these splits."""
        return (from_dlpack(targets) for _, targets in self.splits())

    def check_classes(self) -> None:
        """See that what is to be told of samples, class numbers (n,), was to be learned.

        Raises:
            ValueError: validation or test samples have classes that no training sample has.
        """
        for split, targets in (("validation", self.validation_targets), ("test", self.test_targets)):
            if foreign := np.setdiff1d(targets, self.train_targets).tolist():
                raise ValueError(
                    f"{self.name}: {split} samples have the classes {shown([*map(str, foreign)], 5)}, which "
                    "no training sample has: add such samples, or leave these out"
                )

    def n_outputs(self, task: Task) -> int:
        """How many numbers a network is to return for a sample, or for each of its places."""
        return max(task.n_outputs(targets, self.vocabulary) for targets in self.targets())

    def augmentation(
        self, *, augment: bool = True, crop: Switch = "auto", flip: Switch = "auto"
    ) -> Augmentation:
        """What to do at random: the set's usual, unless told otherwise; without ``augment`` nothing.

        A crop moves an image by an eighth of each side at most: 4 of CIFAR's 32 pixels.

        Raises:
            ValueError: what is no image is to be cropped or mirrored.
        """
        own = self.own_augmentation if augment else None
        if not self.holds_images:
            for option, asked in (("--random-crop", crop), ("--random-flip", flip)):
                if asked == "on":
                    raise ValueError(
                        f"{option} on is for images, {self.name} has inputs {self.input_shape} of "
                        f"{self.train_inputs.dtype}: leave it out"
                    )
            return Augmentation(own=own)
        _, h, w = self.input_shape
        crops = augment and (self.crop if crop == "auto" else crop == "on")
        flips = augment and (self.flip if flip == "auto" else flip == "on")
        return Augmentation((h // 8, w // 8) if crops else (0, 0), flips, own)

    def settle(self) -> None:
        """Compute what is kept with the object, before it goes to actors: they need not compute it again."""
        if self.holds_images:
            _ = self.mean, self.std

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
        """A key of all inputs, targets and classes: another one where any of them is another."""
        facts: list[object] = [self.input_shape, self.classes]
        if not self.holds_images or self.train_targets.dtype != np.int64:
            facts += [array.dtype.str for array in (self.train_inputs, self.train_targets)]
        digest = blake2b(json.dumps(facts).encode(), digest_size=8)
        for inputs, targets in self.splits():
            for array in (targets, inputs):
                for block in blocks(array):
                    digest.update(np.ascontiguousarray(block).data)
        return digest.hexdigest()

    @cached_property
    def n_shared(self) -> dict[str, int]:
        """How many samples validate that are training samples too, and how many test that are either."""
        before, found = [self.train_inputs], dict[str, int]()
        for split, inputs in (("validation", self.validation_inputs), ("test", self.test_inputs)):
            found[split] = n_shared(inputs, before)
            before.append(inputs)
        return found

    @property
    def facts(self) -> dict[str, Any]:
        """What of images has to be computed of all of them, as JSON has it."""
        return {name: getattr(self, name) for name in _FACTS}

    def know(self, facts: dict[str, Any]) -> None:
        """Take :attr:`facts`, or some, for known; of a file that holds anything else, nothing else."""
        vars(self).update({name: facts[name] for name in _FACTS if name in facts})

    @cached_property
    def _moments(self) -> list[tuple[int, int, int]]:
        """Count, sum and sum of squares of each channel: exact, and no float copy of the set."""
        n, c, h, w = self.train_inputs.shape
        sums, squares = np.zeros(c, np.uint64), np.zeros(c, np.uint64)
        for block in blocks(self.train_inputs):
            sums += block.sum(axis=(0, 2, 3), dtype=np.uint64)
            squares += np.square(block, dtype=np.uint16).sum(axis=(0, 2, 3), dtype=np.uint64)
        return [(n * h * w, *pair) for pair in zip(sums.tolist(), squares.tolist(), strict=True)]
