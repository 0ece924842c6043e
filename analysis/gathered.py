"""The files of a folder of the store, read as if they were few.

Beside very many files a sweep leaves, under hidden names, Parquet files with the rows of all of them, which
say what the content of each was (:func:`gathered_parquet`). A file that still has that content, by its
checksum, need not be taken apart again: its rows are taken from there. Nothing hangs on these hidden files.
Each row is read once, whatever they hold; one that is damaged, old or gone makes reading slower.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from analysis.reading import (
    DamagedError,
    UnreadableError,
    entries,
    parquet_files,
    read_bytes,
    read_table,
    sealed_parquet,
    table_of,
)

NAME = ".gathered-{}.parquet"
_FILES = "files"  # the key of the metadata that says what is in it: names, checksums, numbers of rows
_TOGETHER = 256  # tables of a row are larger than the row


class Part(NamedTuple):
    """Files that follow one another in a folder.

    Attributes:
        files: the files.
        counts: how many rows each has.
        table: their rows, in order; none where there is an error, and then there is one file.
        checksums: of each file's content.
        error: why it was not read.
        known: whether the rows are from a gathered file.
    """

    files: list[Path]
    counts: list[int]
    table: pa.Table
    checksums: list[str]
    error: DamagedError | UnreadableError | None = None
    known: bool = False


def parts(folder: Path, files: Sequence[Path] | None = None) -> Iterator[Part]:
    """All Parquet files of a folder, or these; what has gone meanwhile is left out."""
    known = _known(folder)
    part: Part | None = None
    tables: list[pa.Table] = []  # of the part, unless it is known
    whole, start, stop = None, 0, 0  # where the part is, if it is known
    for path in parquet_files(folder) if files is None else files:
        error: DamagedError | UnreadableError
        try:
            data = read_bytes(path)
            checksum = hashlib.sha256(data).hexdigest()
            found = known.get((path.name, checksum))
            table, first, n = found or (table_of(path, data), 0, 0)
        except FileNotFoundError:
            continue
        except (DamagedError, UnreadableError) as caught:
            error = caught
            if part:
                yield _closed(part, tables, whole, start)
            part, tables = None, []
            yield Part([path], [], None, [], error)
            continue
        if part and not (
            (whole is table and first == stop)
            if found
            else (tables and tables[0].schema.equals(table.schema) and len(tables) < _TOGETHER)
        ):
            yield _closed(part, tables, whole, start)
            part, tables = None, []
        if part is None:
            part = Part([], [], None, [], known=found is not None)
            whole, start = (table, first) if found else (None, 0)
        stop = first + n
        if not found:
            tables.append(table)
        part.files.append(path)
        part.counts.append(n if found else table.num_rows)
        part.checksums.append(checksum)
    if part:
        yield _closed(part, tables, whole, start)


def _closed(part: Part, tables: list[pa.Table], whole: pa.Table, start: int) -> Part:
    if tables:
        return part._replace(table=pa.concat_tables(tables).combine_chunks())
    return part._replace(table=whole.slice(start, sum(part.counts)))


def _known(folder: Path) -> dict[tuple[str, str], tuple[pa.Table, int, int]]:
    """By name and checksum of a file: where its rows are, from which on, and how many."""
    known = {}
    for path in entries(folder, hidden=True):
        if not fnmatch(path.name, NAME.format("*")):
            continue
        try:
            table = read_table(path)
            said = json.loads((table.schema.metadata or {})[_FILES.encode()])
        except (FileNotFoundError, UnreadableError, DamagedError, KeyError, ValueError):
            continue  # it can be done without, and the next sweep makes another
        table, start = table.replace_schema_metadata(), 0
        for name, checksum, n in said:
            known[name, checksum] = table, start, n
            start += n
    return known


def gathered_parquet(found: Sequence[Part]) -> bytes:
    """What is to be in a gathered file of these parts, whose tables have one schema."""
    table = pa.concat_tables([part.table.replace_schema_metadata() for part in found])
    said = [
        (file.name, checksum, n)
        for part in found
        for file, checksum, n in zip(part.files, part.checksums, part.counts, strict=True)
    ]
    return sealed_parquet(table, {_FILES: json.dumps(said)})
