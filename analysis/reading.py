"""Reads the files of a result store, and tells one that is damaged from one that cannot be read just now.

What is damaged stays so, and may be set aside and made again. What a disk, a network or a missing permission
withholds for the moment is most likely whole: nothing may be taken for lost because of it.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.pandas_compat import get_logical_type


class UnreadableError(OSError):
    """A file or folder is there and cannot be read at this moment; says why, and what to do."""


class DamagedError(ValueError):
    """A file holds something else than what was written to it."""


def entries(folder: Path, *, hidden: bool = False) -> list[Path]:
    """What lies in a folder, in order, the hidden names or the others; nothing if it is not there.

    Raises:
        UnreadableError: the folder cannot be read, of which ``Path.glob`` says nothing or not what to do.
    """
    try:
        return sorted(entry for entry in folder.iterdir() if entry.name.startswith(".") == hidden)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise unreadable(folder, error) from error


def parquet_files(folder: Path) -> list[Path]:
    """The Parquet files among the folder's :func:`entries`."""
    return [entry for entry in entries(folder) if entry.suffix == ".parquet"]


def read_bytes(path: Path) -> bytes:
    """All of a file.

    Raises:
        FileNotFoundError: it is not there.
        UnreadableError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unreadable(path, error) from error


def read_table(path: Path) -> pa.Table:
    """The rows of a Parquet file, every value of which can be used.

    Raises:
        FileNotFoundError: it is not there.
        UnreadableError: it cannot be read.
        DamagedError: it is no Parquet file, or its checksums, names or types are not those written.
    """
    return table_of(path, read_bytes(path))


def table_of(path: Path, data: bytes) -> pa.Table:
    """The rows of a Parquet file with this content.

    Raises:
        DamagedError: see :func:`read_table`.
    """
    place = _place_of_seal(data)
    if place is not None and _checksum_of_file(data, place) != data[place : place + _DIGITS]:
        raise _damaged(path, DamagedError("its checksum is another"))
    try:
        # Small files all: starting threads takes longer than reading.
        table = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).read(use_threads=False)
        if place is not None:
            return table
        # Earlier versions wrote no checksum of the whole file.
        table.validate(full=True)
        for column in table.columns:
            if pa.types.is_timestamp(column.type):
                column.to_pylist()  # some are no time of any calendar
        # Checksums are of pages and cover neither names nor types; but those stand in the file a second time.
        described = table.schema.pandas_metadata or {"columns": []}
        columns = [(column["field_name"], column["pandas_type"]) for column in described["columns"]]
        if columns and columns != [(field.name, get_logical_type(field.type)) for field in table.schema]:
            raise DamagedError("what it says of its columns contradicts itself")
    except Exception as error:
        raise _damaged(path, error) from error
    return table


_DIGITS = 64
_SEALED_BY = "sha256 of this file with zeros here"
# Before the digits, as Thrift has it: the key, the next field, a text of 64 bytes.
_BEFORE = _SEALED_BY.encode() + b"\x18\x40"


def sealed_parquet(table: pa.Table, said: Mapping[str, str] | None = None) -> bytes:
    """A Parquet file of a table, with a checksum of all of it by which :func:`read_table` sees any change.

    Checksums of pages do not say whose they are: where the footer is damaged, a column may be read from
    another's.

    Args:
        table: the rows.
        said: texts by name, to be kept in the file's metadata.
    """
    file = io.BytesIO()
    with pq.ParquetWriter(file, table.schema, write_page_checksum=True) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({**(said or {}), _SEALED_BY: "0" * _DIGITS})
    data = file.getvalue()
    place = _place_of_seal(data)
    assert place is not None
    return data[:place] + _checksum_of_file(data, place) + data[place + _DIGITS :]


def _place_of_seal(data: bytes) -> int | None:
    """Where in a file its checksum is."""
    place = data.rfind(_BEFORE)
    return None if place < 0 else place + len(_BEFORE)


def _checksum_of_file(data: bytes, place: int) -> bytes:
    digest = hashlib.sha256(memoryview(data)[:place])
    digest.update(b"0" * _DIGITS)
    digest.update(memoryview(data)[place + _DIGITS :])
    return digest.hexdigest().encode()


SEAL = "sha256"
"""The key of a JSON object's checksum of itself."""

_SEALED = "sealed"  # the key that says that there is one, should damage befall the other


def sealed(content: dict[str, Any]) -> str:
    """JSON of an object, with a checksum by which :func:`read_json` sees whether it is what was written."""
    return json.dumps({_SEALED: True, **content, SEAL: _checksum(content)}, indent=1)


def read_json(path: Path) -> Any:
    """What a JSON file holds, without its checksum if it has one: earlier versions wrote none.

    Raises:
        FileNotFoundError: it is not there.
        UnreadableError: it cannot be read.
        DamagedError: it is no JSON, or not what was written.
    """
    data = read_bytes(path)
    try:
        content = json.loads(data)
        if isinstance(content, dict) and content.keys() & {_SEALED, SEAL}:
            content.pop(_SEALED, None)
            if content.pop(SEAL, None) != _checksum(content):
                raise DamagedError("its checksum is another")
    except (ValueError, RecursionError) as error:
        raise _damaged(path, error) from error
    return content


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def unreadable(path: Path, error: OSError) -> UnreadableError:
    """What to raise of a path that an operation of the system has failed on."""
    return UnreadableError(
        f"{path} cannot be read ({error.strerror}): give access, or wait until its disk answers, then run "
        "the same command again"
    )


def _damaged(path: Path, error: Exception) -> DamagedError:
    said = (str(error).splitlines() or [type(error).__name__])[0]
    return DamagedError(f"{path} is damaged ({said})")
