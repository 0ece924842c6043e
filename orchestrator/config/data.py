"""Options: which images, and how they are varied."""

from dataclasses import dataclass, fields
from pathlib import PurePosixPath

from orchestrator.config.option import at_least, later, spelt
from orchestrator.data.data import Switch
from orchestrator.data.source import ENCODED, ImageMode, Reading


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Which images, and how they are varied."""

    dataset: str = "digits"
    """digits, cifar10, cifar100, svhn, mnist, image_folder:DIR, parquet:DIR, synthetic[:CxHxWxK], or your own
    as path.to.module:function."""
    augment: bool = True
    """Whether training images may be augmented at all, by the two options that follow."""
    random_crop: Switch = later("auto", before="auto")
    """Whether training images are padded by an eighth of each side and cropped back at random; auto: as the
    set usually is (CIFAR and SVHN are), never images of your own."""
    random_flip: Switch = later("auto", before="auto")
    """Whether every second training image is mirrored, left to right; auto: as the set usually is (CIFAR is),
    never images of your own."""
    label_column: str | None = later(None, before=None)
    """Of parquet:DIR, the column with the labels. None: the one called label, labels, fine_label, class or
    target."""
    validation_split: str | None = later(None, before=None)
    """Of your own images, the split that validates after every epoch, such as test. None: validation,
    valid, val, dev or eval. A test split that does not validate is measured once, at the end."""
    validation_fraction: float | None = later(None, before=None)
    """Of your own data, the part of the training samples to validate on, such as 0.1, of each class its
    share, where no split does."""
    image_size: int | None = later(None, before=None)
    """Scale your own images to this length of the shorter side and crop the square in the centre. None:
    they have one size already."""
    image_mode: ImageMode = later("auto", before="auto")
    """Channels of your own images: grey (1), colour (3), auto: colour where any of them has it."""
    train_subset: int | None = None
    """Train on a fixed subset of this many images, classes in proportion."""
    validation_subset: int | None = None
    """Validate on a fixed subset of this many images, classes in proportion."""

    def check(self) -> None:
        """See that values are in range.

        Raises:
            ValueError: one is not.
        """
        at_least(1, self, "train_subset", "validation_subset", "image_size", none=True)
        for name in ("random_crop", "random_flip"):
            if getattr(self, name) == "on" and not self.augment:
                raise ValueError(f"{spelt(name)} on with --augment False: leave out one of them")
        fraction = self.validation_fraction
        if fraction is not None and not 0 < fraction < 1:
            raise ValueError(f"--validation-fraction {fraction}: give more than 0 and less than 1")
        if fraction is not None and self.validation_split is not None:
            raise ValueError(
                f"--validation-fraction {fraction} with --validation-split {self.validation_split}: leave "
                "out one of them"
            )

    @property
    def reading(self) -> Reading:
        """How a folder of encoded images is to be understood."""
        return Reading(**{option.name: getattr(self, option.name) for option in fields(Reading)})


def one_name(dataset: str) -> str:
    """A data set's name, the same for all ways to write a folder: DIR/ is DIR."""
    kind, _, folder = dataset.partition(":")
    if kind not in ENCODED or not folder or "://" in folder:
        return dataset
    return f"{kind}:{PurePosixPath(folder)}"
