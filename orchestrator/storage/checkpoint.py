"""Checkpoints of a trial: one folder an epoch, one file an actor, a manifest of checksums.

checkpoints/<trial_id>/epoch-0007/{driver,subnetwork-1,…}.pt, manifest.json
"""

import hashlib
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from analysis.reading import DamagedError, entries, read_bytes, read_json, sealed
from orchestrator.storage.files import remove, write_atomically

KEPT = 2
"""How many checkpoints of a trial are kept: should the last be damaged, the one before serves."""

_PREFIX, _MANIFEST = "epoch-", "manifest.json"


def save(folder: Path, epoch: int, states: dict[str, bytes], *, best: int | None = None) -> None:
    """Write the actors' states after ``epoch``, whole or not at all, and drop what is of no more use.

    The checkpoint of the epoch that is the ``best`` so far is kept, if that is given.

    Raises:
        WriteError: such as on a full disk; the checkpoints that were there are there still.
    """

    def write(temporary: Path) -> None:
        temporary.mkdir()
        for part, state in states.items():
            (temporary / f"{part}.pt").write_bytes(state)
        checksums = {part: hashlib.sha256(state).hexdigest() for part, state in states.items()}
        (temporary / _MANIFEST).write_text(sealed(checksums), encoding="utf-8")

    write_atomically(folder / _name(epoch), write)
    there = epochs(folder)
    # A later epoch's is one that training had to go back from.
    useful = {best, *[e for e in there if e <= epoch][-KEPT:]}
    for other in there:
        if other not in useful:
            remove(folder / _name(other))


def copy(folder: Path, to: Path) -> None:
    """Copy all checkpoints of a trial, the oldest first, to another's folder."""
    for epoch in epochs(folder):
        write_atomically(to / _name(epoch), partial(shutil.copytree, folder / _name(epoch)))


def load_latest(folder: Path, *, tell: Callable[[str], None]) -> tuple[int, dict[str, bytes]]:
    """The newest checkpoint that is whole: its epoch, and the state of each actor by part.

    A damaged one is passed over, and ``tell`` is called with what is wrong with it; (0, {}) if there
    is none.

    Raises:
        UnreadableError: one cannot be read just now, damaged or not.
    """
    for epoch in reversed(epochs(folder)):
        try:
            return epoch, load(folder, epoch)
        except DamagedError as error:
            tell(f"{error}: using the one before")
    return 0, {}


def load(folder: Path, epoch: int) -> dict[str, bytes]:
    """The state of each actor after ``epoch``, by part.

    Raises:
        DamagedError: the checkpoint is not there as it was written.
        UnreadableError: it cannot be read just now.
    """
    path = folder / _name(epoch)
    try:
        checksums = read_json(path / _MANIFEST)
        if not isinstance(checksums, dict) or not checksums:
            raise DamagedError(f"{_MANIFEST} names no file")
        states = {part: read_bytes(path / f"{part}.pt") for part in checksums}
    except (FileNotFoundError, DamagedError) as error:
        raise DamagedError(f"checkpoint {path} is damaged ({error})") from error
    for part, state in states.items():
        if hashlib.sha256(state).hexdigest() != checksums[part]:
            raise DamagedError(f"checkpoint {path} is damaged ({part}.pt)")
    return states


def epochs(folder: Path) -> list[int]:
    """The epochs that there are checkpoints of, in order."""
    names = (entry.name for entry in entries(folder))
    return sorted(int(name.removeprefix(_PREFIX)) for name in names if name.startswith(_PREFIX))


def _name(epoch: int) -> str:
    return f"{_PREFIX}{epoch:04d}"
