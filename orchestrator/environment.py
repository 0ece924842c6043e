"""What a machine must offer before Ray starts on it: Ray itself would end in a traceback, or hang."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from ray._common.utils import get_default_ray_temp_dir

LONGEST_SOCKET = 107
"""Bytes of a path that the kernel takes for a socket."""

_ROOM = 1 << 20  # bytes that Ray's folder must take; its logs need far more in time


def check_names(arguments: Iterable[str]) -> None:
    """See that everything that has to be told to other processes has a name in UTF-8.

    Raises:
        ValueError: an argument or the current folder has not, or there is no current folder.
    """
    try:
        here = str(Path.cwd())
    except FileNotFoundError as error:
        raise ValueError("the current folder has been removed: change to another") from error
    for name in (*arguments, here):
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{name!r} is not UTF-8: rename it, or link to it by another name") from error


def check_folders(address: str | None) -> None:
    """See that Ray finds the folders that it needs.

    Args:
        address: of a cluster, which brings most of them along; None starts Ray here.

    Raises:
        ValueError: one is missing, too long, full or not to be written; says which variable names another.
    """
    try:
        home = Path.home()
    except RuntimeError as error:
        raise ValueError("this user has no home folder: set HOME to a folder that may be written") from error
    if address is not None:
        return
    try:
        tempfile.gettempdir()
    except OSError as error:
        raise ValueError(f"{error.strerror}: set TMPDIR to one that may be written") from error
    if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        _check_token(home / ".ray" / "auth_token")
    _check_ray_folder(Path(get_default_ray_temp_dir()))


def _check_token(token: Path) -> None:
    """See that Ray can read its token, or make one where there is none."""
    if os.environ.get("RAY_AUTH_MODE") == "disabled":
        return
    try:
        if token.exists():
            token.read_bytes()
        else:
            _write_something(token.parent, 1)
    except OSError as error:
        raise ValueError(
            f"Ray cannot keep its token in {token} ({error.strerror}): set HOME to a folder "
            "that may be written"
        ) from error


def _check_ray_folder(folder: Path) -> None:
    """See that the folder of Ray's logs and sockets can be used."""
    if not folder.is_absolute():
        raise ValueError(f"Ray's folder {folder} is no absolute path: set RAY_TMPDIR to one, such as /tmp")
    socket = f"{folder}/session_2026-01-01_00-00-00_000000_{os.getpid()}/sockets/plasma_store"
    if (excess := len(socket.encode(errors="replace")) - LONGEST_SOCKET) > 0:
        raise ValueError(
            f"Ray's folder {folder} is {excess} characters too long for its sockets: set RAY_TMPDIR to a "
            "shorter path, such as /tmp"
        )
    try:
        _write_something(folder, _ROOM)
    except OSError as error:
        raise ValueError(
            f"Ray's folder {folder} cannot be written ({error.strerror}): set RAY_TMPDIR to a folder that "
            "may be written and has room"
        ) from error


def _write_something(folder: Path, n_bytes: int) -> None:
    """Write so much into the folder, which is made if need be, and leave nothing there.

    Raises:
        OSError: it cannot be made or written, or has no room.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(n_bytes))
