"""Encoded images of unknown origin to pixels of one size: what is in their headers is checked first."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from itertools import starmap
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from orchestrator.data.blocks import BYTES
from orchestrator.data.errors import READ_ERRORS, DatasetError, reason, shown
from orchestrator.data.kept import create, require_room
from orchestrator.data.source import Images
from orchestrator.data.tasks import Tasks

Encoded = tuple[str, Path | bytes | None]  # where an image comes from, and its file or content

EXTENSIONS = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp"),
    *(".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif"),
)
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")  # the only decoders that unknown bytes reach
_GREY = ("1", "L", "LA")
_COLOUR = ("RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr")
_MAX_PIXELS = Image.MAX_IMAGE_PIXELS or 2**26  # of one image: a small file can claim billions
_BATCH = 256  # images that are decoded together
_PATIENCE = 60.0  # seconds that this process may still need: for less, starting others would take longer

LFS = b"version https://git-lfs"
"""What a file begins with that Git has left elsewhere."""


class BrokenImagesError(DatasetError):
    """Images that cannot be read.

    Attributes:
        images: of each split those that can.
        kept: of each split which those are, (n,) of bool.
    """

    images: tuple[Images, ...]
    kept: list[npt.NDArray[np.bool_]]


class Pixels(NamedTuple):
    """What images are brought to.

    Attributes:
        channels: 1 for grey, 3 for colour.
        image_size: height and width; None: they have one size.
    """

    channels: int
    image_size: int | None = None


class _Batch(NamedTuple):
    """Images that are decoded together, and where to."""

    file: Path
    start: int
    encoded: list[Encoded]
    first: str
    pixels: Pixels


class _BrokenImageError(DatasetError):
    """One image that cannot be read."""


class _OddSizeError(DatasetError):
    """An image of another size than the first."""


def decode(
    splits: Sequence[tuple[Callable[[], Iterable[Encoded]], int]],
    files: Sequence[Path],
    pixels: Pixels,
    tasks: Tasks,
) -> dict[int, str]:
    """Decode all images of each split into a file (.npy); all must be as large as the first that can be read.

    They are turned as their EXIF data say, laid on white where they are transparent, and brought to grey
    or colour. With ``image_size`` each is scaled to that length of its shorter side, and cropped to the
    square in its centre. Of several frames the first counts.

    Args:
        splits: what reads the images, a few at a time, and how many there are.
        files: where to.
        pixels: what to bring them to.
        tasks: other processes, for what takes long.

    Returns:
        What is wrong with images that cannot be read, by their number through all splits; in the files is
        nothing in their places.

    Raises:
        DatasetError: none can be read; some have another size, too many pixels, or more than 8 bits a
            channel; or the disk has no room.
    """
    n = sum(number for _, number in splits)
    faults: dict[int, DatasetError] = {}
    first, shape = _first(splits, pixels, n)
    require_room(files[0].parent, n * prod(shape), f"{n:,} images of {'×'.join(map(str, shape))}")

    def batches() -> Iterator[tuple[int, _Batch]]:
        before = 0
        for (encoded, number), file in zip(splits, files, strict=True):
            start = 0
            for batch in _batches(encoded()):
                yield before, _Batch(file, start, batch, first, pixels)
                start += len(batch)
            before += number

    def take(before: int, batch: _Batch, found: dict[int, DatasetError]) -> None:
        faults.update({before + batch.start + i: fault for i, fault in found.items()})
        tasks.advance(len(batch.encoded))

    for (_, number), file in zip(splits, files, strict=True):
        create(file, (number, *shape), np.uint8)
    with tasks.progress(f"decoding {n:,} images", n):
        rest, began, done = batches(), time.monotonic(), 0
        for before, batch in rest:
            take(before, batch, _decode(batch))
            done += len(batch.encoded)
            seconds = time.monotonic() - began
            if seconds > _PATIENCE / 6 and seconds / done * (n - done) > _PATIENCE:
                break
        calls = ((batch, partial(take, before, batch)) for before, batch in rest)
        tasks.run(_decode, calls)
    _report(list(faults.values()), n)
    return {position: str(fault) for position, fault in sorted(faults.items())}


def broken(faults: Iterable[str], n: int) -> str:
    """What to say of images of n that cannot be read."""
    names = list(faults)
    count = "" if len(names) == 1 else f"{len(names)} of {n} images are broken: "
    return f"{count}{shown(names, 100)}: replace or remove them, or leave them out with --skip-broken"


def any_colour(encoded: Iterable[Encoded]) -> bool:
    """Whether one of the images has colour, by their headers, up to the first that has."""
    for name, content in encoded:
        try:
            with _opened(name, content) as image:
                if image.mode in _COLOUR:
                    return True
        except DatasetError:  # told when it is decoded, if it is
            continue
    return False


def _first(
    splits: Sequence[tuple[Callable[[], Iterable[Encoded]], int]], pixels: Pixels, n: int
) -> tuple[str, tuple[int, ...]]:
    """The first image that can be read, and its shape.

    Raises:
        DatasetError: none can.
    """
    faults = []
    for encoded, _ in splits:
        for name, content in encoded():
            image = _pixels(name, content, pixels)
            if isinstance(image, np.ndarray):
                return name, image.shape
            faults.append(image)
    _report(faults, n)
    raise DatasetError(broken(map(str, faults), n))


def _batches(encoded: Iterable[Encoded]) -> Iterator[list[Encoded]]:
    """Images in order, as many together as make some work and are not large."""
    batch: list[Encoded] = []
    n_bytes = 0
    for name, content in encoded:
        batch.append((name, content))
        n_bytes += len(content) if isinstance(content, bytes) else 0
        if len(batch) == _BATCH or n_bytes >= BYTES:
            yield batch
            batch, n_bytes = [], 0
    if batch:
        yield batch


def _decode(batch: _Batch) -> dict[int, DatasetError]:
    """Decode images into their places; returns what is wrong with those that cannot be.

    By one thread: a small image's decoding holds the interpreter's lock most of the time.
    """
    images = np.lib.format.open_memmap(batch.file, "r+")[batch.start :]

    def put(i: int, encoded: Encoded) -> DatasetError | None:
        pixels = _pixels(*encoded, batch.pixels)
        if isinstance(pixels, DatasetError):
            return pixels
        if pixels.shape != images.shape[1:]:
            (_, h, w), (_, height, width) = pixels.shape, images.shape[1:]
            return _OddSizeError(
                f"{encoded[0]} is {w}x{h}, {batch.first} is {width}x{height} (width x height)"
            )
        images[i] = pixels
        return None

    found = starmap(put, enumerate(batch.encoded))
    return {i: fault for i, fault in enumerate(found) if fault is not None}


def _report(faults: list[DatasetError], n: int) -> None:
    """Raise what no leaving out would mend."""
    odd = [fault for fault in faults if isinstance(fault, _OddSizeError)]
    others = [fault for fault in faults if not isinstance(fault, _OddSizeError | _BrokenImageError)]
    if others:
        rest = f" (and {len(others) - 1} more of {n} images likewise)" if len(others) > 1 else ""
        raise DatasetError(f"{others[0]}{rest}")
    if odd:
        rest = f", and {len(odd) - 1} more of {n} differ" if len(odd) > 1 else ""
        raise DatasetError(f"{odd[0]}{rest}: bring all images to one size with --image-size")


def _pixels(name: str, content: Path | bytes | None, wanted: Pixels) -> Images | DatasetError:
    """One image as (channels, h, w), or what is wrong with it."""
    try:
        with _opened(name, content) as image, _decoding(name):
            mode, size = "L" if wanted.channels == 1 else "RGB", wanted.image_size
            upright = _opaque(ImageOps.exif_transpose(image)).convert(mode)
            if size is not None:
                upright = ImageOps.fit(upright, (size, size), Image.Resampling.BILINEAR)
            return np.asarray(upright).reshape(*upright.size[::-1], wanted.channels).transpose(2, 0, 1)
    except DatasetError as error:
        return type(error)(str(error))  # without what a traceback keeps in memory


def _opaque(image: Image.Image) -> Image.Image:
    """The image on white, where it lets anything through."""
    if not image.has_transparency_data:
        return image
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA"))


@contextmanager
def _opened(name: str, content: Path | bytes | None) -> Iterator[Image.Image]:
    """An image of which only the header has been read, and found acceptable."""
    if content is None:
        raise _BrokenImageError(f"{name} holds no image (store the encoded file itself)")
    with _decoding(name):
        if isinstance(content, Path) and content.exists() and not content.is_file():
            raise _BrokenImageError(f"{name} is no file")  # of a pipe, reading would wait for ever
        source = BytesIO(content) if isinstance(content, bytes) else content.open("rb")
    with source:
        with _decoding(name):
            if source.read(len(LFS)) == LFS:
                raise _BrokenImageError(f"{name} is a Git LFS pointer (run git lfs pull)")
            source.seek(0)
            opened = Image.open(source, formats=_FORMATS)
        with opened as image:
            if image.width * image.height > _MAX_PIXELS:
                raise DatasetError(
                    f"{name} claims {image.width}x{image.height} pixels, more than {_MAX_PIXELS}: "
                    "scale the images down"
                )
            mode = _deep(image) or image.mode
            if mode not in _GREY + _COLOUR:
                raise DatasetError(f"{name} has mode {mode}: convert it to 8-bit grey or RGB")
            yield image


def _deep(image: Image.Image) -> str:
    """How the image is stored, where that has more than 8 bits a channel, which Pillow would cut off."""
    if image.format == "PNG":
        tiles = image.tile  # type: ignore[attr-defined]
        return next((mode for mode in (str(tile.args) for tile in tiles) if ";16" in mode), "")
    if image.format == "TIFF":
        bits = image.tag_v2.get(258, (1,))  # type: ignore[attr-defined]  # BitsPerSample
        return f"{image.mode} of {max(bits)} bits" if max(bits) > 8 else ""
    return ""


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    try:
        yield
    except DatasetError:
        raise
    except UnidentifiedImageError as error:
        raise _BrokenImageError(f"cannot decode {name} (it is no {', '.join(_FORMATS)})") from error
    except READ_ERRORS as error:
        raise _BrokenImageError(f"cannot decode {name} ({type(error).__name__}: {reason(error)})") from error
