"""A copy of the result store elsewhere: s3://bucket/folder, gs://bucket/folder, file:///folder.

    store ── every few seconds, what has changed ──▶ mirror
          ◀── at the start, if the store is empty ──

A head node that was lost takes its disk with it; another one goes on from the mirror.
"""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
from pyarrow.fs import FileSelector, FileSystem, FileType

from analysis.reading import DamagedError, entries, read_json, sealed
from orchestrator.storage.files import WriteError, write_atomically

PERIOD = 10.0
"""Seconds between two looks at what has changed."""


class MirrorError(ValueError):
    """The mirror cannot be read or written; says what to do."""


class Mirror:
    """The copy of a folder at a URL, made when it is not there.

    Args:
        folder: the store.
        url: where its copy is, as pyarrow's file systems understand it; credentials come from the
            environment, as is usual for each.

    Raises:
        MirrorError: nothing can be written at the URL.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._url = url
        try:
            self._files, self._root = FileSystem.from_uri(url)
            self._files.create_dir(self._root)
            there = self._files.get_file_info(FileSelector(self._root, recursive=True))
        except (OSError, pa.ArrowInvalid) as error:
            raise MirrorError(
                f"--mirror {url}: {error}: give a URL such as s3://bucket/folder or file:///folder that you "
                "may write to"
            ) from error
        files = [info for info in there if info.type == FileType.File]
        self._sizes = {info.path.removeprefix(f"{self._root}/"): info.size for info in files}
        # An earlier run's notes; clocks differ, so times there say nothing about times here.
        self._notes = folder / ".mirror.json"
        try:
            notes = read_json(self._notes)
            copied = {name: (int(time), size) for name, (time, size) in notes.get(url, {}).items()}
        except (FileNotFoundError, DamagedError, AttributeError, TypeError, ValueError):
            copied = {}  # all is copied once more
        # Of what is there alone: what is noted and not here is removed there.
        self._copied = {
            name: changed for name, changed in copied.items() if self._sizes.get(name, -1) == changed[1]
        }

    def pull(self) -> None:
        """Fill the folder from the mirror, if nothing is in it.

        Raises:
            MirrorError: the mirror cannot be read.
            UnreadableError: the folder cannot be read.
        """
        if self._changes():
            return
        for name in self._sizes:

            def fetch(path: Path, name: str = name) -> None:
                with self._files.open_input_stream(f"{self._root}/{name}") as source, path.open("wb") as file:
                    shutil.copyfileobj(source, file)

            try:
                write_atomically(self._folder / name, fetch)
            except OSError as error:
                raise MirrorError(f"--mirror {self._url}: {error}: run the same command again") from error
        self._copied = self._changes()
        self._note()

    def push(self) -> None:
        """Copy what is new or has changed, remove what is gone.

        Raises:
            MirrorError: the mirror cannot be written; what is missing there is copied the next time.
        """
        try:
            here = self._changes()
            if here == self._copied:
                return
            for name in sorted(here.keys() | self._copied.keys()):
                if name not in here:
                    with suppress(FileNotFoundError):
                        self._files.delete_file(f"{self._root}/{name}")
                    del self._copied[name]
                elif self._copied.get(name) != here[name]:
                    self._copy(name)
                    self._copied[name] = here[name]
        except OSError as error:
            raise MirrorError(
                f"--mirror {self._url}: {error}: the results are in {self._folder}; the same command copies "
                "what is missing"
            ) from error
        self._note()

    def _note(self) -> None:
        """Remember what has been copied, for the next run."""

        def write(path: Path) -> None:
            path.write_text(sealed({self._url: self._copied}), encoding="utf-8")

        if self._copied:
            write_atomically(self._notes, write)

    def _copy(self, name: str) -> None:
        try:
            file = (self._folder / name).open("rb")
        except FileNotFoundError:  # removed meanwhile, as old checkpoints are
            return
        with file:
            target = f"{self._root}/{name}"
            self._files.create_dir(target.rpartition("/")[0])
            with self._files.open_output_stream(target) as copy:
                shutil.copyfileobj(file, copy)

    def _changes(self) -> dict[str, tuple[int, int]]:
        """When each file of the folder was changed (ns), and its size; no hidden ones."""
        found = {}
        for path in _files(self._folder):
            try:
                status = path.stat()
            except FileNotFoundError:  # removed meanwhile
                continue
            found[path.relative_to(self._folder).as_posix()] = (status.st_mtime_ns, status.st_size)
        return found


def _files(folder: Path) -> Iterator[Path]:
    """All files below the folder, without hidden ones; what cannot be read is an error, lest it seem gone."""
    for entry in entries(folder):
        if entry.is_dir():
            yield from _files(entry)
        else:
            yield entry


@contextmanager
def following(mirror: Mirror | None, say: Callable[[str], None], *, period: float = PERIOD) -> Iterator[None]:
    """Keep the mirror up to date as long as the block runs; ``say`` is told of what goes wrong meanwhile.

    Raises:
        MirrorError: at the end of the block the mirror could not be brought up to date.
    """
    if mirror is None:
        yield
        return
    over = threading.Event()

    def follow() -> None:
        while not over.wait(period):
            try:
                mirror.push()
            except (MirrorError, WriteError) as error:
                say(str(error))

    thread = threading.Thread(target=follow, name="mirror", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        mirror.push()
