"""Image data sets, read whole into memory: uint8 pixels and int64 labels.

A new data set is one file with a function that returns a `Source`, and one line in `DATASETS`.
"""

import difflib
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.data.decoding import DatasetError, Encoded, Images, decode, reported
from orchestrator.data.source import Labels, Rows, Source, in_memory

__all__ = ["DATASETS", "DatasetError", "ImageData", "Source", "load_dataset"]

_SEED = 0  # of splits and subsets; fixed, so that every trial of a sweep sees the same images


@dataclass(frozen=True, eq=False)
class ImageData:
    """A training and a validation set of equally sized images, in memory.

    Images are uint8 of shape (n, c, h, w), labels int64 of shape (n,) in 0..n_classes-1.
    `pad` (pixels on every side before a random crop back to h × w) and `flip` (left to right, for
    every second image) are the set's usual training augmentation; 0 and False mean none.
    """

    name: str
    train_images: Images
    train_labels: Labels
    validation_images: Images
    validation_labels: Labels
    n_classes: int
    pad: int
    flip: bool

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        _, c, h, w = self.train_images.shape
        return c, h, w

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
    def _moments(self) -> list[tuple[int, int, int]]:
        """Count, sum and sum of squares of each channel: exact, and no float copy of the set."""
        moments = []
        for channel in self.train_images.swapaxes(0, 1):
            squares = np.square(channel, dtype=np.uint16)
            moments.append((channel.size, int(channel.sum()), int(squares.sum())))
        return moments


def load_dataset(
    name: str,
    *,
    data_dir: str | Path = "data",
    train_subset: int | None = None,
    validation_subset: int | None = None,
) -> ImageData:
    """Read the data set called `name`: one of `DATASETS`, its argument after a colon.

    Downloads go to `data_dir`. `train_subset` and `validation_subset` keep that many images, with
    the classes in the whole set's proportions; the choice depends on the set alone, never on a
    trial's seed, and a larger subset contains every smaller one.

    Raises DatasetError when the set is unknown, missing, damaged, empty, of images that differ in
    size, or smaller than the subset asked for.
    """
    kind, _, argument = name.partition(":")
    if kind not in DATASETS:
        near = difflib.get_close_matches(kind.lower(), DATASETS, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        known = ", ".join(key + form for key, (_, form) in DATASETS.items())
        raise DatasetError(f"unknown data set {name!r}{hint}: choose one of {known}")
    reader, form = DATASETS[kind]
    if (argument and not form) or (form.startswith(":") and not argument):
        raise DatasetError(f"data set {name!r} is malformed: write {kind}{form}")

    source = reader(argument, Path(data_dir).expanduser())
    n_classes = _n_classes(name, source)
    train_rows = _subset(name, "train", source.train_labels, train_subset, n_classes)
    validation_rows = _subset(name, "validation", source.validation_labels, validation_subset, n_classes)
    train_images, validation_images = source.read(train_rows, validation_rows)
    return ImageData(
        name=name,
        train_images=np.ascontiguousarray(train_images),
        train_labels=source.train_labels[train_rows],
        validation_images=np.ascontiguousarray(validation_images),
        validation_labels=source.validation_labels[validation_rows],
        n_classes=n_classes,
        pad=train_images.shape[2] // 8 if source.crop else 0,  # 4 of CIFAR's 32 pixels
        flip=source.flip,
    )


def _n_classes(name: str, source: Source) -> int:
    """The number of classes, once the labels of both splits are found sound."""
    for split, labels in zip(("training", "validation"), source[:2], strict=True):
        if not len(labels):
            raise DatasetError(f"{name} holds no {split} images: check its files")
    classes = np.unique(source.train_labels)
    n_classes = len(classes)
    if classes[0] != 0 or classes[-1] != n_classes - 1:
        raise DatasetError(
            f"{name}: the training labels take {n_classes} values from {classes[0]} to "
            f"{classes[-1]}: number the classes 0..{n_classes - 1}"
        )
    foreign = np.setdiff1d(source.validation_labels, classes)
    if len(foreign):
        raise DatasetError(
            f"{name}: validation label {foreign[0]} is not among the training labels "
            f"0..{n_classes - 1}: remove those images or add such training images"
        )
    return n_classes


def _subset(name: str, split: str, labels: Labels, size: int | None, n_classes: int) -> Rows:
    """The rows that a subset of `size` images keeps, ascending; all without a size."""
    if size is None:
        return np.arange(len(labels))
    if not n_classes <= size <= len(labels):
        raise DatasetError(
            f"{split}_subset {size} of {name} is out of range: "
            f"choose {n_classes} (its classes) to {len(labels)} (its images)"
        )
    return _stratified(labels, size)


def _stratified(labels: Labels, size: int) -> Rows:
    """`size` random rows, ascending, every class in its share of the whole."""
    shuffled = np.random.default_rng(_SEED).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    _, starts, counts = np.unique(labels[by_class], return_index=True, return_counts=True)
    # An image's key is the fraction of its class that comes before it: the smallest keys are one
    # image of every class, the next ones equal fractions of all.
    rank = np.arange(len(labels)) - np.repeat(starts, counts)
    key = rank / np.repeat(counts, counts)
    return np.sort(by_class[np.argsort(key, kind="stable")[:size]])


def _digits(_argument: str, _data_dir: Path) -> Source:
    """scikit-learn's 1,797 handwritten digits, 8 × 8 with values 0..16; 80 % train."""
    # Straight from the file in the package: importing scikit-learn takes seconds.
    file = distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")
    with reported(f"cannot read {file}", "install scikit-learn again"):
        table = np.loadtxt(str(file), delimiter=",")  # 64 pixels and the label
    images = np.rint(table[:, :64] * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    labels = table[:, 64].astype(np.int64)
    train = _stratified(labels, round(0.8 * len(labels)))
    validation = np.setdiff1d(np.arange(len(labels)), train)
    return Source(labels[train], labels[validation], in_memory(images[train], images[validation]))


def _fetching(files: str, data_dir: Path) -> AbstractContextManager[None]:
    return reported(
        f"cannot read or download {files}",
        f"place intact files in {data_dir}, or use parquet:DIR or digits",
    )


def _cifar(kind: str, archive: str, _argument: str, data_dir: Path) -> Source:
    """CIFAR-10 or CIFAR-100, 32 × 32 in colour, 50,000 + 10,000."""
    from torchvision import datasets

    # These sets come as pickles, the only ones read here: torchvision compares every file's md5,
    # downloaded or placed by hand, with the published one before it opens it.
    with _fetching(archive, data_dir):
        train, validation = (
            getattr(datasets, kind)(data_dir, train=split, download=True) for split in (True, False)
        )
    return Source(
        np.array(train.targets),
        np.array(validation.targets),
        in_memory(train.data.transpose(0, 3, 1, 2), validation.data.transpose(0, 3, 1, 2)),
        crop=True,
        flip=True,
    )


def _svhn(_argument: str, data_dir: Path) -> Source:
    """Street view house numbers, 32 × 32 in colour; a mirrored digit is none, so no flip."""
    from torchvision.datasets import SVHN

    with _fetching("train_32x32.mat and test_32x32.mat", data_dir):
        train, validation = (SVHN(data_dir, split, download=True) for split in ("train", "test"))
    return Source(train.labels, validation.labels, in_memory(train.data, validation.data), crop=True)


def _mnist(_argument: str, data_dir: Path) -> Source:
    """Handwritten digits, 28 × 28 in grey, 60,000 + 10,000."""
    from torchvision.datasets import MNIST

    with _fetching("MNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte", data_dir):
        train, validation = (MNIST(data_dir, train=split, download=True) for split in (True, False))
    return Source(
        train.targets.numpy(),
        validation.targets.numpy(),
        in_memory(train.data.numpy()[:, None], validation.data.numpy()[:, None]),
    )


def _synthetic(argument: str, _data_dir: Path) -> Source:
    """Noise with random, evenly used labels, for timing only; a quarter as many to validate."""
    match = re.fullmatch(r"(\d+)x(\d+)x(\d+)x(\d+)(?:x(\d+))?", argument or "3x32x32x10")
    sizes = [int(size or 1024) for size in match.groups()] if match else [0] * 5
    c, h, w, n_classes, n_train = sizes
    if not min(sizes) or n_train < n_classes:
        raise DatasetError(
            f"synthetic:{argument} is not CxHxWxK[xNUMBER]: give channels, height, width, K >= 1 "
            "classes and NUMBER >= K images (1024 if left out)"
        )
    rng = np.random.default_rng(_SEED)
    numbers = (n_train, -(-n_train // 4))
    train, validation = (rng.integers(256, size=(n, c, h, w), dtype=np.uint8) for n in numbers)
    train_labels, validation_labels = (rng.permutation(np.arange(n) % n_classes) for n in numbers)
    return Source(train_labels, validation_labels, in_memory(train, validation))


def _image_folder(argument: str, _data_dir: Path) -> Source:
    """DIR/train/<class>/*.png and DIR/validation/<class>/*.png, or jpg; classes by sorted name."""
    from torchvision.datasets import ImageFolder

    folder = Path(argument).expanduser()
    splits = [folder / name for name in ("validation", "val", "test")]
    found = next(filter(Path.is_dir, splits), splits[0])
    with reported(f"{folder} is not complete", "provide train/CLASS/*.png and validation/CLASS/*.png"):
        train, validation = ImageFolder(folder / "train"), ImageFolder(found)
    foreign = sorted(set(validation.classes) - set(train.classes))
    if foreign:
        raise DatasetError(f"{found / foreign[0]} is a class without training images: remove it")
    renumbered = np.array([train.class_to_idx[name] for name in validation.classes])

    def read(train_rows: Rows, validation_rows: Rows) -> tuple[Images, Images]:
        return _decode(
            [(path, Path(path)) for path, _ in map(train.samples.__getitem__, train_rows)],
            [(path, Path(path)) for path, _ in map(validation.samples.__getitem__, validation_rows)],
        )

    return Source(np.array(train.targets), renumbered[validation.targets], read, crop=True, flip=True)


def _decode(train: list[Encoded], validation: list[Encoded]) -> tuple[Images, Images]:
    """Decode both splits as one, so that they agree in size and channels."""
    images = decode(train + validation)
    return images[: len(train)], images[len(train) :]


def _parquet(argument: str, _data_dir: Path) -> Source:
    """DIR/train-*.parquet and DIR/validation-*.parquet (or test-*), as image hubs publish them.

    A struct column holds the encoded image in its field `bytes`, an integer column the label;
    among several, the one with a customary name.
    """
    folder = Path(argument).expanduser()
    train = sorted(folder.glob("train-*.parquet"))
    validation = sorted(folder.glob("validation-*.parquet")) or sorted(folder.glob("test-*.parquet"))
    if not train or not validation:
        raise DatasetError(
            f"{folder} has {len(train)} files train-*.parquet and {len(validation)} files "
            "validation-*.parquet or test-*.parquet: provide at least one of each"
        )

    def read(train_rows: Rows, validation_rows: Rows) -> tuple[Images, Images]:
        return _decode(_parquet_images(train, train_rows), _parquet_images(validation, validation_rows))

    return Source(_parquet_labels(train), _parquet_labels(validation), read, crop=True, flip=True)


def _parquet_labels(files: list[Path]) -> Labels:
    parts = []
    for file in files:
        with _reading(file), pq.ParquetFile(file) as parquet:
            schema = parquet.schema_arrow
            integers = [field.name for field in schema if pa.types.is_integer(field.type)]
            name = _only(file, "integer column", integers, ("label", "fine_label"))
            labels = parquet.read(columns=[name])[name].cast(pa.int64())
        if labels.null_count:
            raise DatasetError(f"{file}: {labels.null_count} rows of {name!r} are empty: drop them")
        parts.append(labels.to_numpy())
    return np.concatenate(parts)


def _parquet_images(files: list[Path], rows: Rows) -> list[Encoded]:
    """The still encoded images of `rows`, which count through all files."""
    images: list[Encoded] = []
    start = 0
    for file in files:
        with _reading(file), pq.ParquetFile(file) as parquet:
            structs = [field.name for field in parquet.schema_arrow if _holds_bytes(field.type)]
            name = _only(file, "struct column with binary bytes", structs, ("img", "image"))
            end = start + parquet.metadata.num_rows
            inside = rows[(start <= rows) & (rows < end)] - start
            column = parquet.read(columns=[f"{name}.bytes"])[name]
            contents = pc.struct_field(column, "bytes").take(pa.array(inside)).to_pylist()
        images += [(f"{file}, row {row}", data) for row, data in zip(inside, contents, strict=True)]
        start = end
    return images


def _reading(file: Path) -> AbstractContextManager[None]:
    return reported(f"cannot read {file} as Parquet", "fetch it again")


def _holds_bytes(column: pa.DataType) -> bool:
    if not pa.types.is_struct(column) or column.get_field_index("bytes") < 0:
        return False
    content = column.field("bytes").type
    return bool(pa.types.is_binary(content) or pa.types.is_large_binary(content))


def _only(file: Path, kind: str, columns: Sequence[str], customary: Sequence[str]) -> str:
    """The one of `columns`, or the one of them with a customary name."""
    found = columns if len(columns) == 1 else [name for name in columns if name in customary]
    if len(found) != 1:
        raise DatasetError(
            f"{file} needs one {kind}, or just one called {' or '.join(customary)}, and has "
            f"{', '.join(columns) or 'none'}: rename or drop columns"
        )
    return found[0]


# name: (reader of the text after the colon and the download folder, how that text is written)
DATASETS: dict[str, tuple[Callable[[str, Path], Source], str]] = {
    "digits": (_digits, ""),
    "cifar10": (partial(_cifar, "CIFAR10", "cifar-10-python.tar.gz"), ""),
    "cifar100": (partial(_cifar, "CIFAR100", "cifar-100-python.tar.gz"), ""),
    "svhn": (_svhn, ""),
    "mnist": (_mnist, ""),
    "image_folder": (_image_folder, ":DIR"),
    "parquet": (_parquet, ":DIR"),
    "synthetic": (_synthetic, "[:CxHxWxK[xNUMBER]]"),
}
