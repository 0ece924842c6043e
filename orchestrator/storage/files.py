"""Files that are whole or not there."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.reason import reason

NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}
"""What a file system says that has no locks."""


class WriteError(OSError):
    """A file or folder could not be written, such as on a full disk; says what to do."""


def expanded(path: str | Path) -> Path:
    """The path, its beginning ``~`` or ``~user`` replaced by that user's home folder.

    Raises:
        ValueError: there is no such folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{path} begins with no user's home folder: write it out") from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what goes wrong while ``path`` is written into a :class:`WriteError`.

    What a file in a folder that is written says of itself stays as it is.
    """
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        said = os.strerror(error.errno) if error.errno else reason(error)
        remedy = ": make room or give access"
        if error.errno == errno.ENOMEM:  # a file that is mapped counts for a process's limit
            remedy = ": raise the limit of memory (ulimit -v), or take a machine with more"
        raise WriteError(
            f"{path} cannot be written ({said}){remedy}, then run the same command again"
        ) from error


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` make a file or folder under a temporary name, then rename it to ``path``.

    A reader sees the old file or the new, never a part; a folder that is there is removed before the
    new one appears. The temporary name begins with a dot, which Parquet readers pass over.

    Raises:
        WriteError: the disk is full or not to be written; what was at ``path`` is there still.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove(temporary)  # left by a process of the same number that was killed
        try:
            write(temporary)
            for file in [temporary, *temporary.glob("*")]:
                _sync(file)
            if path.is_dir():
                shutil.rmtree(path)
            temporary.replace(path)
        finally:
            remove(temporary)
        _sync(path.parent)


def remove(path: Path) -> None:
    """Remove a file or folder if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Have the file or folder on the disk before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
