"""Encoded images of unknown origin to pixels of one size: what is in their headers is checked first."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from itertools import chain, islice
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from orchestrator.data import memory
from orchestrator.data.errors import READ_ERRORS, DatasetError, reason, shown
from orchestrator.data.source import Images

Encoded = tuple[str, Path | bytes | None]  # where an image comes from, and its file or content

EXTENSIONS = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp"),
    *(".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif"),
)
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")  # the only decoders that unknown bytes reach
_GREY = ("1", "L", "LA")
_COLOUR = ("RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr")
_MAX_PIXELS = Image.MAX_IMAGE_PIXELS or 2**26  # of one image: a small file can claim billions
_THREADS = 4  # more do not help: half of a small image's decoding holds the interpreter lock
_BATCH = 256  # images whose encoded contents are in memory at a time

LFS = b"version https://git-lfs"
"""What a file begins with that Git has left elsewhere."""


class BrokenImagesError(DatasetError):
    """Images that cannot be read.

    Attributes:
        images: all, where there is nothing to be seen of those that cannot.
        kept: which can, (n,) of bool.
    """

    images: Images
    kept: npt.NDArray[np.bool_]


class _BrokenImageError(DatasetError):
    """One image that cannot be read."""


class _OddSizeError(DatasetError):
    """An image of another size than the first."""


def decode(encoded: Iterable[Encoded], n: int, *, channels: int, image_size: int | None = None) -> Images:
    """Decode n images; all must be as large as the first that can be read.

    They are turned as their EXIF data say, laid on white where they are transparent, and brought to grey
    or colour. With ``image_size`` each is scaled to that length of its shorter side, and cropped to the
    square in its centre. Of several frames the first counts.

    Args:
        encoded: the images, which are read a few at a time.
        n: how many there are.
        channels: 1 for grey, 3 for colour.
        image_size: height and width to bring them to.

    Raises:
        BrokenImagesError: some cannot be read; names them.
        DatasetError: some have another size, too many pixels, or more than 8 bits a channel; or memory does
            not suffice.
    """
    pixels_of = partial(_pixels, channels, image_size)
    images: Images | None = None
    first, faults, position = "", dict[int, DatasetError](), 0
    with ThreadPool(_THREADS) as pool:
        for batch in _batches(encoded):
            if images is None:
                # One after the other, until one says how large they are.
                for first, content in batch:
                    pixels = pixels_of(first, content)
                    if isinstance(pixels, np.ndarray):
                        memory.require(n, pixels.shape)
                        images = np.empty((n, *pixels.shape), np.uint8)
                        break
            slots = [None] * len(batch) if images is None else images[position : position + len(batch)]
            put = partial(_put, pixels_of, first)
            for at, fault in enumerate(pool.starmap(put, zip(slots, batch, strict=True)), position):
                if fault is not None:
                    faults[at] = fault
            position += len(batch)
    if images is None:
        images = np.empty((n, channels, 0, 0), np.uint8)
    _report(list(faults.values()), n)
    if faults:
        broken = BrokenImagesError(_broken([str(fault) for fault in faults.values()], n))
        broken.kept = np.isin(np.arange(n), list(faults), invert=True)
        broken.images = images
        raise broken
    return images


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


def _batches(encoded: Iterable[Encoded]) -> Iterator[list[Encoded]]:
    rest = iter(encoded)
    for head in rest:
        yield list(chain([head], islice(rest, _BATCH - 1)))


def _put(
    pixels_of: Callable[..., Images | DatasetError], first: str, slot: Images | None, encoded: Encoded
) -> DatasetError | None:
    """Decode an image into its place; returns what is wrong with it."""
    pixels = pixels_of(*encoded)
    if isinstance(pixels, DatasetError):
        return pixels
    assert slot is not None  # else no image of the batch could be read
    if pixels.shape != slot.shape:
        (_, h, w), (_, height, width) = pixels.shape, slot.shape
        return _OddSizeError(f"{encoded[0]} is {w}x{h}, {first} is {width}x{height} (width x height)")
    slot[:] = pixels
    return None


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


def _broken(names: list[str], n: int) -> str:
    count = "" if len(names) == 1 else f"{len(names)} of {n} images are broken: "
    return f"{count}{shown(names, 100)}: replace or remove them, or leave them out with --skip-broken"


def _pixels(
    channels: int, image_size: int | None, name: str, content: Path | bytes | None
) -> Images | DatasetError:
    """One image as (channels, h, w), or what is wrong with it."""
    try:
        with _opened(name, content) as image, _decoding(name):
            upright = _opaque(ImageOps.exif_transpose(image)).convert("L" if channels == 1 else "RGB")
            if image_size is not None:
                upright = ImageOps.fit(upright, (image_size, image_size), Image.Resampling.BILINEAR)
            return np.asarray(upright).reshape(*upright.size[::-1], channels).transpose(2, 0, 1)
    except DatasetError as error:
        return error


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
