"""Checkpoints of a trial: one folder an epoch, one file an actor, a manifest of checksums.

checkpoints/<trial_id>/epoch-0007/{driver,subnetwork-1,…}.pt, manifest.json
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from analysis.reading import DamagedError, entries, read_bytes, read_json
from orchestrator.storage.files import remove, write_atomically

KEPT = 2
"""How many checkpoints of a trial are kept: should the last be damaged, the one before serves."""

_MANIFEST = "manifest.json"


def save(folder: Path, epoch: int, states: dict[str, bytes]) -> None:
    """Write the actors' states after ``epoch``, whole or not at all, and drop what is of no more use.

    Raises:
        WriteError: such as on a full disk; the checkpoints that were there are there still.
    """

    def write(temporary: Path) -> None:
        temporary.mkdir()
        for part, state in states.items():
            (temporary / f"{part}.pt").write_bytes(state)
        checksums = {part: hashlib.sha256(state).hexdigest() for part, state in states.items()}
        (temporary / _MANIFEST).write_text(json.dumps(checksums, indent=1), encoding="utf-8")

    write_atomically(folder / f"epoch-{epoch:04d}", write)
    # A later epoch's is one that training had to go back from.
    useful = [path for path in _newest_first(folder) if _epoch(path) <= epoch][:KEPT]
    for path in _newest_first(folder):
        if path not in useful:
            remove(path)


def load_latest(folder: Path, *, tell: Callable[[str], None]) -> tuple[int, dict[str, bytes]]:
    """The newest checkpoint that is whole: its epoch, and the state of each actor by part.

    A damaged one is passed over, and ``tell`` is called with what is wrong with it; (0, {}) if there
    is none.

    Raises:
        UnreadableError: one cannot be read just now, damaged or not.
    """
    for path in _newest_first(folder):
        try:
            checksums = read_json(path / _MANIFEST)
            states = {part: read_bytes(path / f"{part}.pt") for part in checksums}
        except (FileNotFoundError, DamagedError) as error:
            tell(f"checkpoint {path} is damaged ({error}): using the one before")
            continue
        damaged = [p for p, s in states.items() if hashlib.sha256(s).hexdigest() != checksums[p]]
        if not damaged:
            return _epoch(path), states
        tell(f"checkpoint {path} is damaged ({damaged[0]}.pt): using the one before")
    return 0, {}


def _newest_first(folder: Path) -> list[Path]:
    return sorted((e for e in entries(folder) if e.name.startswith("epoch-")), key=_epoch, reverse=True)


def _epoch(path: Path) -> int:
    return int(path.name.removeprefix("epoch-"))
