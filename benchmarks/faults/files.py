"""Faults of files: the store without access, on a full disk, damaged; Ray's own folder gone."""

import errno
import os
import re
import shutil
import signal
from pathlib import Path
from random import Random

import psutil

from benchmarks.faults.fault import DEAR, Fault, NotNowError, Undo, nothing
from benchmarks.faults.processes import AT_WORK, RAYLET, victim
from benchmarks.faults.running import Running

_FILLER = ".filler"


def _folders(store: Path) -> list[Path]:
    return [store, *(path for path in store.rglob("*") if path.is_dir())]


def _without(bits: int) -> Fault:
    """The store and its folders without these permissions for a while."""

    def strike(running: Running, rng: Random) -> Undo:
        folders = _folders(running.store)
        for folder in reversed(folders):
            if folder.exists():  # a checkpoint of earlier
                folder.chmod(0o755 & ~bits)

        def give_back() -> None:
            for folder in folders:
                if folder.exists():
                    folder.chmod(0o755)

        return give_back

    return Fault(strike, 4, DEAR)


def _fill(running: Running, rng: Random) -> Undo:
    """The store's disk is full: every sweep has a small one of its own."""
    if not running.store.parent.is_mount() or not running.store.exists():
        raise NotNowError("needs a disk of its own, which root alone can mount")
    filler = running.store / _FILLER
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 12))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    return filler.unlink


def _file(running: Running, rng: Random) -> Path:
    """A file of the store, of every kind alike."""
    kinds: dict[tuple[str, str], list[Path]] = {}
    for path in running.store.rglob("*"):
        below = path.relative_to(running.store).parts
        if path.is_file() and not any(part.startswith(".") for part in below):
            kinds.setdefault((below[0], path.suffix), []).append(path)
    if not kinds:
        raise NotNowError("the store is empty")
    return rng.choice(kinds[rng.choice(sorted(kinds))])


def _truncate(file: Path, rng: Random) -> None:
    os.truncate(file, file.stat().st_size // 2)


def _empty(file: Path, rng: Random) -> None:
    os.truncate(file, 0)


def _flip(file: Path, rng: Random) -> None:
    with file.open("r+b") as opened:
        content = bytearray(opened.read())
        if not content:
            raise NotNowError("empty")
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        opened.seek(0)
        opened.write(content)


def _remove(file: Path, rng: Random) -> None:
    file.unlink()


def _damage(how: object) -> Fault:
    def strike(running: Running, rng: Random) -> Undo:
        try:
            how(_file(running, rng), rng)  # type: ignore[operator]
        except OSError as error:  # replaced by a newer one, or on a disk that is full
            raise NotNowError(str(error)) from error
        return nothing

    return Fault(strike)


def _truncate_checkpoint(running: Running, rng: Random) -> Undo:
    """Cut the newest checkpoint's largest file in half, and have it needed."""
    try:
        newest = max(running.store.glob("checkpoints/*/epoch-*"), key=lambda path: path.stat().st_mtime)
        _truncate(max(newest.glob("*.pt"), key=lambda path: path.stat().st_size), rng)
        victim(running, rng, AT_WORK).send_signal(signal.SIGKILL)
    except (OSError, ValueError, psutil.NoSuchProcess) as error:
        raise NotNowError(str(error)) from error
    return nothing


def _remove_session(running: Running, rng: Random) -> Undo:
    """Remove the folder of Ray's sockets and logs, as those do who clean /tmp."""
    (option,) = re.findall(r"--raylet_socket_name=(\S+)", " ".join(victim(running, rng, RAYLET).cmdline()))
    shutil.rmtree(Path(option).parents[1], ignore_errors=True)
    return nothing


OF_FILES: dict[str, Fault] = {
    "store not to be written for 4 s": _without(0o222),
    "store not to be read for 4 s": _without(0o777),
    "store's disk full for 4 s": Fault(_fill, 4, DEAR),
    "file of the store truncated": _damage(_truncate),
    "file of the store emptied": _damage(_empty),
    "bit of a file of the store flipped": _damage(_flip),
    "file of the store removed": _damage(_remove),
    "newest checkpoint truncated, actor killed": Fault(_truncate_checkpoint),
    "Ray's session folder removed": Fault(_remove_session, weight=DEAR),
}
"""By name."""
