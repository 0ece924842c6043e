"""Users' own folders of encoded images: which of them train, validate and test, and how they are read."""

import json
from collections.abc import Collection, Iterator
from dataclasses import asdict
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL

from orchestrator.data import image_folder, parquet
from orchestrator.data.decoding import BrokenImagesError, Encoded, Pixels, any_colour, broken, decode
from orchestrator.data.errors import DatasetError, reported
from orchestrator.data.kept import made, opened
from orchestrator.data.listed import Listed, Listing
from orchestrator.data.source import Images, Reading, Rows, Source
from orchestrator.data.splits import choose, part_off
from orchestrator.data.tasks import Tasks
from orchestrator.storage.files import expanded

_VERSION = 1
"""Of what images are decoded to: what is decoded otherwise has another."""


def read_folder(kind: str, argument: str, how: Reading, decoded: Path, tasks: Tasks) -> Source:
    """The data set ``kind:argument``, its images not yet read.

    Args:
        kind: how the images lie.
        argument: the folder.
        how: how it is to be understood.
        decoded: where images are kept when they have been decoded.
        tasks: other processes, for what takes long.

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
        lambda *rows: _read(listing, parts, rows, how, decoded / folder.name, tasks),
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
        return Listed(split.files, split.labels[rows], lambda chosen: split.encoded(rows[chosen]))

    numbers = np.unique(split.labels, return_inverse=True)[1]
    return [part(rows) for rows in part_off(where, numbers, fraction)]


def _read(
    listing: Listing, parts: list[Listed], rows: tuple[Rows, ...], how: Reading, decoded: Path, tasks: Tasks
) -> tuple[Images, ...]:
    """The chosen images of all parts, mapped; decoded as one, so that they agree in size and channels.

    Raises:
        BrokenImagesError: some cannot be read.
        DatasetError: see :func:`orchestrator.data.decoding.decode`.
    """
    counts = [len(chosen) for chosen in rows]

    def make(folder: Path) -> dict[str, Any]:
        # By all there are, so that a subset has no say in it.
        colour = any_colour(_all(listing)) if how.image_mode == "auto" else how.image_mode == "colour"
        pixels = Pixels(channels=3 if colour else 1, image_size=how.image_size)
        encoded = [partial(part.encoded, chosen) for part, chosen in zip(parts, rows, strict=True)]
        files = [folder / file for file in _FILES[: len(parts)]]
        faults = decode(list(zip(encoded, counts, strict=True)), files, pixels, tasks)
        for file, kept in zip(files, _kept(faults, counts), strict=True):
            _move_up(file, np.flatnonzero(kept))
        return {"faults": faults}

    with reported("the images cannot be read", "fetch them again"):
        folder = decoded.with_name(f"{decoded.name}-{_key(listing, rows, how)}")
        faults = {int(position): fault for position, fault in made(folder, make)["faults"].items()}
    kept = _kept(faults, counts)
    images = tuple(opened(folder / file)[: mask.sum()] for file, mask in zip(_FILES, kept, strict=False))
    if faults:
        error = BrokenImagesError(broken(faults.values(), sum(counts)))
        error.images, error.kept = images, kept
        raise error
    return images


def _kept(faults: Collection[int], counts: list[int]) -> list[npt.NDArray[np.bool_]]:
    """Which images of each split are sound, by the numbers through all splits of those that are not."""
    sound = np.isin(np.arange(sum(counts)), list(faults), invert=True)
    return np.split(sound, np.cumsum(counts)[:-1])


def _move_up(file: Path, rows: Rows) -> None:
    """Bring the images of these rows of a file to its beginning."""
    images = np.lib.format.open_memmap(file, "r+")
    for place, row in enumerate(rows):
        if place != row:
            images[place] = images[row]


_FILES = ("train.npy", "validation.npy", "test.npy")


def _key(listing: Listing, rows: tuple[Rows, ...], how: Reading) -> str:
    """Another one where files, or what is made of them, may be others."""
    digest = blake2b(digest_size=8)
    digest.update(json.dumps([_VERSION, PIL.__version__, asdict(how)]).encode())
    for name, split in listing.splits.items():
        digest.update(name.encode())
        for file in split.files:
            there = file.stat()
            known = (str(file.absolute()), there.st_ino, there.st_size, there.st_mtime_ns, there.st_ctime_ns)
            digest.update(repr(known).encode())
    for chosen in rows:
        digest.update(np.ascontiguousarray(chosen).data)
    return digest.hexdigest()


def _all(listing: Listing) -> Iterator[Encoded]:
    for split in listing.splits.values():
        yield from split.encoded(np.arange(len(split.labels)))
