"""What is wrong with a data set, in a line."""

import struct
import unicodedata
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.client import HTTPException

import pyarrow as pa
from PIL import Image

from orchestrator.storage.files import WriteError

# What the libraries that read data sets raise when a file is missing, damaged or out of reach.
READ_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    AssertionError,
    SyntaxError,
    struct.error,
    zlib.error,
    HTTPException,
    pa.ArrowException,
    Image.DecompressionBombError,
)

ANY_ERROR = (Exception, SystemExit)
"""What a user's code may raise."""


NO_THREAD = ("can't start new thread", "Failed to launch worker thread")
"""What Python and Arrow say where a process may have no more threads."""


class DatasetError(ValueError):
    """A data set that is unknown, missing, damaged or too small; the message says what to do."""


@contextmanager
def reported(
    problem: str, remedy: str, errors: tuple[type[BaseException], ...] = READ_ERRORS
) -> Iterator[None]:
    """Turn what a library, or a user's code, raises while it reads data into a DatasetError of one line."""
    try:
        yield
    except (DatasetError, WriteError):
        raise
    except MemoryError as error:  # Arrow's too: nothing is wrong with the file
        raise DatasetError(
            f"{problem}: memory does not suffice ({reason(error)}): use --train-subset and "
            "--validation-subset, a smaller --image-size, or a machine with more"
        ) from error
    except errors as error:
        if any(words in str(error) for words in NO_THREAD):
            remedy = "raise the limits of processes or of memory (ulimit -u, ulimit -v)"
        raise DatasetError(f"{problem} ({type(error).__name__}: {reason(error)}): {remedy}") from error


def reason(error: BaseException) -> str:
    """The first line of an error's text."""
    return str(error).partition("\n")[0]


def exact(name: object) -> str:
    """A name for a reader, words in quotes: spaces show, and so do accents that are letters themselves."""
    if not isinstance(name, str):
        return str(name)
    return repr(name) if unicodedata.is_normalized("NFC", name) else ascii(name)


def alike(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of names that differ in spaces, case or the form of Unicode alone."""
    pairs, known = [], dict[str, str]()
    for name in names:
        key = "".join(unicodedata.normalize("NFKC", name).casefold().split())
        if key in known:
            pairs.append((known[key], name))
        known.setdefault(key, name)
    return pairs


def shown(names: list[str], most: int = 20) -> str:
    """Names for a reader, the last ones counted where there are many."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
