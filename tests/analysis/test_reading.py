"""Damaged is told from unreadable, and every damage is noticed."""

import random

import numpy as np
import pandas as pd
import pytest

from analysis.reading import DamagedError, UnreadableError, entries, parquet_files, read_json, read_table
from analysis.schema import SCHEMAS
from tests.unreadable import make_unreadable

VALUES = {"string": "text", "int64": 7, "double": 1 / 3, "bool": True}
N_FLIPS = 200


@pytest.fixture(params=SCHEMAS)
def table(request, tmp_path):
    """A file as the store writes them, with a value in every column."""
    schema = SCHEMAS[request.param]
    row = {field.name: VALUES.get(str(field.type), pd.Timestamp("2026-03-01", tz="UTC")) for field in schema}
    path = tmp_path / "a.parquet"
    frame = pd.DataFrame([row] * 3, columns=schema.names, dtype=object)
    frame.to_parquet(path, index=False, schema=schema, write_page_checksum=True)
    return path


def test_no_flipped_bit_is_read_as_another_value(table):
    good, rows = table.read_bytes(), read_table(table).to_pylist()
    chance = random.Random(0)
    n_noticed = 0
    for _ in range(N_FLIPS):
        flipped = bytearray(good)
        flipped[chance.randrange(len(good))] ^= 1 << chance.randrange(8)
        table.write_bytes(flipped)
        try:
            read = read_table(table).to_pylist()
        except DamagedError:
            n_noticed += 1
        else:
            assert read == rows  # it was in what no reader looks at
    assert n_noticed > N_FLIPS / 4


def test_files_without_checksums_are_read_too(tmp_path):
    frame = pd.DataFrame({"epoch": np.arange(3), "tag": ["a", None, "c"], "when": pd.Timestamp("2026-03-01")})
    frame.to_parquet(tmp_path / "old.parquet")
    assert read_table(tmp_path / "old.parquet").num_rows == 3


@pytest.mark.parametrize("read", [read_table, read_json])
def test_what_cannot_be_read_is_not_damaged(tmp_path, read):
    path = make_unreadable(tmp_path / "file")
    with pytest.raises(UnreadableError, match=rf"^{path} cannot be read \(Too many levels .*\): give access"):
        read(path)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "nothing")


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": "\xff"}', b"PAR1"])
@pytest.mark.parametrize("read", [read_table, read_json])
def test_what_holds_something_else_is_damaged(tmp_path, read, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DamagedError, match=rf"^{tmp_path / 'file'} is damaged \(.*\)$"):
        read(tmp_path / "file")


def test_a_folder_that_cannot_be_read_is_not_empty(tmp_path):
    for name in ("b.parquet", "a.parquet", ".hidden.parquet", "c.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in entries(tmp_path)] == ["a.parquet", "b.parquet", "c.txt"]
    assert [path.name for path in parquet_files(tmp_path)] == ["a.parquet", "b.parquet"]
    assert entries(tmp_path / "nothing") == entries(tmp_path / "c.txt") == []
    with pytest.raises(UnreadableError):
        entries(make_unreadable(tmp_path / "folder"))
