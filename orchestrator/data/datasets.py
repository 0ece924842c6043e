"""Data sets by name, found sound: images with class numbers, or a user's own; what is large lies in files.

A new data set of images is one file with a function that returns a `Source`, and one line in `DATASETS`.
"""

import difflib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from models.imported import imported
from orchestrator.data.builtin import cifar, digits, mnist, svhn, synthetic
from orchestrator.data.data import Data
from orchestrator.data.decoding import BrokenImagesError
from orchestrator.data.errors import ANY_ERROR, DatasetError, alike, exact, reported, shown
from orchestrator.data.folders import read_folder
from orchestrator.data.kept import FOLDER, LARGE, Copy, keep, read_known, write_known
from orchestrator.data.labels import number
from orchestrator.data.mapped import mapped
from orchestrator.data.own_data import load_own
from orchestrator.data.source import ENCODED, Images, InMemory, Reading, Rows, Source
from orchestrator.data.splits import subset
from orchestrator.data.tasks import Tasks
from orchestrator.storage.files import expanded

__all__ = ["DATASETS", "Data", "DatasetError", "Reading", "Source", "load_dataset"]

# name: (reader of the text after the colon and the download folder, how that text is written)
DATASETS: dict[str, tuple[Callable[[str, Path], Source], str]] = {
    "digits": (digits, ""),
    "cifar10": (partial(cifar, "CIFAR10", "cifar-10-python.tar.gz"), ""),
    "cifar100": (partial(cifar, "CIFAR100", "cifar-100-python.tar.gz"), ""),
    "svhn": (svhn, ""),
    "mnist": (mnist, ""),
    "synthetic": (synthetic, "[:CxHxWxK[xNUMBER]]"),
}


def load_dataset(
    name: str,
    *,
    data_dir: str | Path = "data",
    train_subset: int | None = None,
    validation_subset: int | None = None,
    reading: Reading | None = None,
    skip_broken: bool = False,
    address: str | None = None,
) -> Data:
    """Read the data set called `name`: one of `DATASETS` or of `ENCODED`, its argument after a colon.

    Other names with a colon are a user's own, ``path.to.module:function``: `load_own`.

    Args:
        name: which.
        data_dir: where downloads go, and what is decoded, in :data:`~orchestrator.data.kept.FOLDER` there.
        train_subset: keep that many images, with the classes in the whole set's proportions; the choice
            depends on the set alone, never on a trial's seed, and a larger subset contains every smaller one.
        validation_subset: the same, of validation images.
        reading: how a folder of encoded images is to be understood, where not as usual.
        skip_broken: leave out images that cannot be read, and say how many.
        address: of the Ray cluster that decodes what takes long; None starts one here for it.

    Raises:
        DatasetError: the set is unknown, missing, damaged, empty, of images that differ in size, or smaller
            than the subset asked for; or memory or disk do not suffice.
        WriteError: the disk is not to be written.
    """
    reading = reading or Reading()
    data_dir = expanded(data_dir)
    decoded = data_dir.absolute() / FOLDER
    if is_own(name):
        _refuse_options(name, replace(reading, validation_fraction=None))
        try:
            make = imported("data set", name, forms())
        except ValueError as error:
            near = difflib.get_close_matches(name.partition(":")[0].lower(), forms(), n=1)
            raise DatasetError(f"{error}" + (f"; did you mean {near[0]}:…?" if near else "")) from error
        own = load_own(
            name,
            make,
            decoded,
            train_subset=train_subset,
            validation_subset=validation_subset,
            validation_fraction=reading.validation_fraction,
        )
        return _in_files(own, decoded)
    source = _source(name, data_dir, reading, decoded, Tasks(address))
    labels, classes = number(name, source)
    sizes = {"train": train_subset, "validation": validation_subset}
    rows = [subset(name, split, values, sizes.get(split), len(classes)) for split, values in labels.items()]
    if isinstance(source.read, InMemory):
        _check_images(name, source.read.splits, tuple(labels.values()))
    remarks = source.remarks
    for one, other in alike(classes):
        what = f"{exact(one)} and {exact(other)}"
        remarks = (f"classes {what} differ in spaces, case or the form of Unicode alone: one?", *remarks)
    encoded = name.partition(":")[0] in ENCODED
    if encoded:
        remarks = (f"classes: {shown(list(classes), 5)}", *remarks)
    try:
        with reported(f"the reader of {name} raises an error", "mend it", ANY_ERROR):
            images = source.read(*rows)
    except BrokenImagesError as error:
        if not skip_broken:
            raise
        images, rows, n_broken = _without_broken(error, rows)
        remarks = (*remarks, f"left out: {n_broken} broken images of {sum(map(len, error.kept))}")
    _check_images(name, images, rows)
    arrays: dict[str, Any] = {}
    for (split, values), part, kept in zip(labels.items(), images, rows, strict=True):
        if not len(kept) or (split == "train" and len(np.unique(values[kept])) < len(classes)):
            raise DatasetError(
                f"{name}: without its broken images the {split} split lacks a class: mend some"
            )
        arrays[f"{split}_inputs"] = np.ascontiguousarray(part)
        arrays[f"{split}_targets"] = values[kept]
    data = Data(
        name=name,
        **arrays,
        crop=source.crop,
        flip=source.flip,
        classes=classes,
        remarks=remarks,
    )
    if encoded:
        _recall(data)
    return _in_files(data, decoded)


def _recall(data: Data) -> None:
    """Have what takes reading all of the decoded images known, from where they lie."""
    where = mapped(data.train_inputs)
    assert where is not None  # whatever has been decoded
    targets = blake2b(json.dumps(data.classes).encode(), digest_size=8)
    for of_split in data.targets():
        targets.update(np.ascontiguousarray(of_split).data)
    file = Path(where.file).with_name(f"facts-{targets.hexdigest()}.json")
    if not file.exists():
        write_known(file, data.facts)
    data.know(read_known(file))


def _in_files(data: Data, decoded: Path) -> Data:
    """The same data, of which what is large is not in this process's memory, but in files."""
    large = {
        name: Copy(array)
        for name, array in vars(data).items()
        if isinstance(array, np.ndarray) and array.nbytes >= LARGE and mapped(array) is None
    }
    if not large:
        return data
    readable = re.sub(r"[^A-Za-z0-9.-]", "_", data.name)[-80:]
    arrays: dict[str, Any] = keep(decoded / f"{readable}-{data.fingerprint}", large)
    moved = replace(data, **arrays)
    known = {"fingerprint": data.fingerprint, "n_shared": data.n_shared}
    moved.know(data.facts if data.holds_images else known)
    return moved


def is_own(name: str) -> bool:
    """Whether a data set is a user's own, by its name."""
    kind, colon, _ = name.partition(":")
    return bool(colon) and kind not in forms()


def forms() -> dict[str, str]:
    """How what follows the name of each kind of data set is written."""
    return {key: form for key, (_, form) in DATASETS.items()} | dict.fromkeys(ENCODED, ":DIR")


def _refuse_options(name: str, reading: Reading) -> None:
    """Raise where an option for folders of images is given with another data set."""
    for option, value in vars(reading).items():
        if value != getattr(Reading(), option):
            raise DatasetError(
                f"--{option.replace('_', '-')} {value} is for {' and '.join(ENCODED)}, not for "
                f"{name if is_own(name) else name.partition(':')[0]}: leave it out"
            )


def _source(name: str, data_dir: Path, reading: Reading, decoded: Path, tasks: Tasks) -> Source:
    """What the set's reader returns."""
    kind, _, argument = name.partition(":")
    if kind not in forms():
        near = difflib.get_close_matches(kind.lower(), forms(), n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        known = ", ".join(key + form for key, form in forms().items())
        raise DatasetError(
            f"unknown data set {name!r}{hint}: choose one of {known}, or name your own as "
            "path.to.module:function"
        )
    form = forms()[kind]
    if (argument and not form) or (form.startswith(":") and not argument):
        raise DatasetError(f"data set {name!r} is malformed: write {kind}{form}")
    if kind in ENCODED:
        return read_folder(kind, argument, reading, decoded, tasks)
    _refuse_options(name, reading)
    with reported(f"the reader of {name} raises an error", "mend it", ANY_ERROR):
        source = DATASETS[kind][0](argument, data_dir)
    if not isinstance(source, Source):
        raise DatasetError(f"the reader of {name} returns {type(source).__name__}: have it return a Source")
    return source


def _without_broken(error: BrokenImagesError, rows: list[Rows]) -> tuple[tuple[Images, ...], list[Rows], int]:
    """What is left of each split: images and rows; and how many are not."""
    left = [split[mask] for split, mask in zip(rows, error.kept, strict=True)]
    return error.images, left, sum(map(len, rows)) - sum(map(len, left))


def _check_images(name: str, images: object, rows: Sequence[Rows]) -> None:
    """See that a reader has returned what a `Source` promises: its author may be a user.

    Raises:
        DatasetError: it has not.
    """
    if not isinstance(images, tuple | list) or len(images) != len(rows):
        raise DatasetError(
            f"{name}: read returns {type(images).__name__}: give {len(rows)} arrays in a tuple"
        )
    for split, part, chosen in zip(("train", "validation", "test"), images, rows, strict=False):
        kind = getattr(part, "dtype", type(part).__name__)
        shape: tuple[int, ...] = getattr(part, "shape", ())
        if not isinstance(part, np.ndarray) or kind != np.uint8 or len(shape) != 4:
            raise DatasetError(
                f"{name}: {split} images are {kind} of shape {shape}: give a numpy array of uint8, 0 to 255, "
                "of shape (n, channels, height, width)"
            )
        if len(part) != len(chosen):
            raise DatasetError(
                f"{name}: {len(chosen)} {split} labels and {len(part)} images: give an image for each label"
            )
        if len(part) and (shape[1:] != images[0].shape[1:] or not min(shape)):
            raise DatasetError(
                f"{name}: {split} images are of shape {shape[1:]}, train images {images[0].shape[1:]}: give "
                "all one shape (channels, height, width) without a 0"
            )
        if min(shape[1:3]) > 4 and shape[3] in (1, 3, 4):
            raise DatasetError(
                f"{name}: {split} images of shape {shape[1:]} have their channels last: give (channels, "
                "height, width), as images.transpose(0, 3, 1, 2) has them"
            )
