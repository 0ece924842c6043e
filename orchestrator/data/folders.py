"""Users' own folders of encoded images: which of them train, validate and test, and how they are read."""

from collections.abc import Iterator
from itertools import chain

import numpy as np

from orchestrator.data import image_folder, parquet
from orchestrator.data.decoding import Encoded, any_colour, decode
from orchestrator.data.errors import DatasetError, reported
from orchestrator.data.listed import Listed, Listing
from orchestrator.data.source import Images, Reading, Rows, Source
from orchestrator.data.splits import choose, part_off
from orchestrator.storage.files import expanded


def read_folder(kind: str, argument: str, how: Reading) -> Source:
    """The data set ``kind:argument``, its images not yet read.

    Raises:
        DatasetError: it is not there, not complete, or not to be understood without an option.
    """
    folder = expanded(argument)
    in_utf8 = argument.encode(errors="replace").decode() == argument  # else Ray could not write it down
    if not in_utf8 or "://" in argument or not folder.is_dir():
        what = "is an address" if "://" in argument else "is no folder of this machine"
        raise DatasetError(
            f"{kind}:{ascii(argument)[1:-1]} {what}: give a folder that is there, by a name in UTF-8; "
            "download a set first"
        )
    if kind == "image_folder":
        listing = image_folder.list_images(folder)
    else:
        listing = parquet.list_images(folder, how.label_column)
    train, validation, test = choose(
        str(folder),
        listing.splits,
        validation_split=how.validation_split,
        validation_fraction=how.validation_fraction,
    )
    remarks = list(listing.remarks)
    parts = [listing.splits[train]]
    if validation is not None:
        parts.append(listing.splits[validation])
        remarks.insert(0, f"validated on its split {validation}")
    elif how.validation_fraction is not None:
        parts = _halves(str(folder), parts[0], how.validation_fraction)
        n, n_all = len(parts[1].labels), len(listing.splits[train].labels)
        remarks.insert(
            0,
            f"validated on {n:,} of its {n_all:,} training images, a share of each class: no split does",
        )
    if test is not None and _withheld(listing.splits[test]):
        remarks.append(f"its split {test} has no labels (all are -1): no test error")
    elif test is not None:
        parts.append(listing.splits[test])
        remarks.insert(1, f"tested once, at the end, on its split {test}")
    missing = sorted(set(parts[0].labels.tolist()) - set(parts[1].labels.tolist()))
    if missing:
        remarks.append(f"{len(missing)} of its classes have no validation images")
    return Source(
        parts[0].labels,
        parts[1].labels,
        lambda *rows: _read(listing, parts, rows, how),
        test_labels=parts[2].labels if len(parts) > 2 else None,
        names=listing.names,
        remarks=tuple(remarks),
    )


def _withheld(split: Listed) -> bool:
    """Whether the labels are a hub's mark of those that are kept secret."""
    return split.labels.dtype.kind == "i" and bool((split.labels == -1).all())


def _halves(where: str, split: Listed, fraction: float) -> list[Listed]:
    """A split in two: to train on, and the fraction to validate on."""

    def part(rows: Rows) -> Listed:
        return Listed(split.labels[rows], lambda chosen: split.encoded(rows[chosen]))

    numbers = np.unique(split.labels, return_inverse=True)[1]
    return [part(rows) for rows in part_off(where, numbers, fraction)]


def _read(listing: Listing, parts: list[Listed], rows: tuple[Rows, ...], how: Reading) -> tuple[Images, ...]:
    """The chosen images of all parts, decoded as one, so that they agree in size and channels.

    Raises:
        BrokenImagesError: some cannot be read.
        DatasetError: see :func:`orchestrator.data.decoding.decode`.
    """
    with reported("the images cannot be read", "fetch them again"):
        # By all there are, so that a subset has no say in it.
        colour = any_colour(_all(listing)) if how.image_mode == "auto" else how.image_mode == "colour"
        chosen = chain.from_iterable(part.encoded(r) for part, r in zip(parts, rows, strict=True))
        images = decode(chosen, sum(map(len, rows)), channels=3 if colour else 1, image_size=how.image_size)
    return tuple(np.split(images, np.cumsum([len(r) for r in rows])[:-1]))


def _all(listing: Listing) -> Iterator[Encoded]:
    for split in listing.splits.values():
        yield from split.encoded(np.arange(len(split.labels)))
