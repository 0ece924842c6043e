"""Options: which images, and how they are varied."""

from dataclasses import dataclass

from orchestrator.config.option import at_least


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Which images, and how they are varied."""

    dataset: str = "digits"
    """digits, cifar10, cifar100, svhn, mnist, image_folder:DIR, parquet:DIR or synthetic[:CxHxWxK]."""
    augment: bool = True
    """Whether to use the data set's standard augmentation (CIFAR: pad, crop and flip)."""
    train_subset: int | None = None
    """Train on a fixed subset of this many images, classes in proportion."""
    validation_subset: int | None = None
    """Validate on a fixed subset of this many images, classes in proportion."""

    def check(self) -> None:
        """See that values are in range.

        Raises:
            ValueError: one is not.
        """
        at_least(1, self, "train_subset", "validation_subset", none=True)
