"""Encoded images of unknown origin to pixels: PNG and JPEG, sizes checked before any decoding."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from http.client import HTTPException
from io import BytesIO
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

Images = npt.NDArray[np.uint8]  # (n, c, h, w)
Encoded = tuple[str, Path | bytes | None]  # where an image comes from, and its file or content

_FORMATS = ("PNG", "JPEG")  # the only decoders that unknown bytes reach
_GREY = ("1", "L", "LA")
_COLOUR = ("RGB", "RGBA", "P", "CMYK")
_MAX_PIXELS = 2**20  # of one image: a small file can claim billions
_THREADS = 4  # more do not help: half of a small image's decoding holds the interpreter lock

# What the libraries that read data sets raise when a file is missing, damaged or out of reach.
_READ_ERRORS = (
    OSError,
    ValueError,
    RuntimeError,
    AssertionError,
    SyntaxError,
    HTTPException,
    pa.ArrowException,
    Image.DecompressionBombError,
)


class DatasetError(ValueError):
    """A data set that is unknown, missing, damaged or too small; the message says what to do."""


@contextmanager
def reported(problem: str, remedy: str) -> Iterator[None]:
    """Turn what a library raises while it reads data into a DatasetError of one line."""
    try:
        yield
    except DatasetError:
        raise
    except _READ_ERRORS as error:
        reason, _, _ = str(error).partition("\n")
        raise DatasetError(f"{problem} ({type(error).__name__}: {reason}): {remedy}") from error


def decode(encoded: list[Encoded]) -> Images:
    """Decode at least one image; all must be as large as the first.

    Grey images give one channel; where any has colour, all get three. Transparency is dropped.
    Raises DatasetError, which names the image, for one that cannot be decoded, has another size,
    more than 2^20 pixels, or more than 8 bits a channel.
    """
    first, content = encoded[0]
    with _opened(first, content) as image:
        width, height = image.size
    with ThreadPool(_THREADS) as pool:
        decoded = pool.starmap(partial(_pixels, first, (width, height)), encoded)
    images = np.empty((len(encoded), max(map(len, decoded)), height, width), np.uint8)
    for slot, pixels in zip(images, decoded, strict=True):
        slot[:] = pixels  # repeats a grey channel where others have colour
    return images


def _pixels(
    first: str, size: tuple[int, int], name: str, content: Path | bytes | None
) -> npt.NDArray[np.uint8]:
    """One image as (1 or 3, h, w), once its header says that it is as large as the first."""
    with _opened(name, content) as image:
        if image.size != size:
            raise DatasetError(
                f"{name} is {image.width}x{image.height}, {first} is {size[0]}x{size[1]} "
                "(width x height): bring all images to one size"
            )
        with _decoding(name):
            pixels = np.asarray(image.convert("L" if image.mode in _GREY else "RGB"))
    return pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1)


@contextmanager
def _opened(name: str, content: Path | bytes | None) -> Iterator[Image.Image]:
    """An image of which only the header has been read, and found acceptable."""
    if content is None:
        raise DatasetError(f"{name} holds no image: store the encoded file itself")
    with _decoding(name):
        source = BytesIO(content) if isinstance(content, bytes) else content
        opened = Image.open(source, formats=_FORMATS)
    with opened as image:
        if image.width * image.height > _MAX_PIXELS:
            raise DatasetError(
                f"{name} claims {image.width}x{image.height} pixels, more than {_MAX_PIXELS}: "
                "scale the images down"
            )
        if image.mode not in _GREY + _COLOUR:
            raise DatasetError(f"{name} has mode {image.mode}: convert it to 8-bit grey or RGB")
        yield image


def _decoding(name: str) -> AbstractContextManager[None]:
    return reported(f"cannot decode {name} as PNG or JPEG", "replace or remove it")
