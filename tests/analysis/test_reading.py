"""Damaged is told from unreadable, and every damage is noticed."""

import random

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from analysis.reading import (
    SEAL,
    DamagedError,
    UnreadableError,
    entries,
    parquet_files,
    read_json,
    read_table,
    sealed,
    sealed_parquet,
)
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


def test_another_columns_pages_are_not_taken_for_a_columns_own(tmp_path):
    """Which pages are whose stands in the footer, which checksums of pages do not cover."""
    table = pa.table({"a": [1, 2, 3], "b": [4, 5, 6]})
    swapped = table.select(["b", "a"]).rename_columns(["a", "b"])
    good, other = sealed_parquet(table), sealed_parquet(swapped)
    footer = -8 - int.from_bytes(good[-8:-4], "little")
    assert len(good[footer:]) == len(other[footer:])
    (tmp_path / "a.parquet").write_bytes(other[:footer] + good[footer:])
    with pytest.raises(DamagedError, match="its checksum is another"):
        read_table(tmp_path / "a.parquet")


def test_every_flipped_bit_of_a_sealed_file_is_noticed(tmp_path):
    good, chance = sealed_parquet(pa.table({"a": [1, 2, None], "b": ["x", "y", "z"]})), random.Random(0)
    path = tmp_path / "a.parquet"
    for _ in range(N_FLIPS):
        flipped = bytearray(good)
        flipped[chance.randrange(len(good))] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        try:
            rows = read_table(path).to_pylist()
        except DamagedError:
            continue
        assert rows == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}, {"a": None, "b": "z"}]  # the seal's own name


def test_a_sealed_object_that_has_lost_its_seal_is_damaged(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(sealed({"n": 1}))
    assert read_json(path) == {"n": 1}
    path.write_text(sealed({"n": 1}).replace(SEAL, "sha257").replace('"n": 1', '"n": 7'))
    with pytest.raises(DamagedError, match="its checksum is another"):
        read_json(path)


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
    assert [path.name for path in entries(tmp_path, hidden=True)] == [".hidden.parquet"]
    assert [path.name for path in parquet_files(tmp_path)] == ["a.parquet", "b.parquet"]
    assert entries(tmp_path / "nothing") == entries(tmp_path / "c.txt") == []
    make_unreadable(tmp_path / "folder")
    for hidden in (False, True):
        with pytest.raises(UnreadableError):
            entries(tmp_path / "folder", hidden=hidden)
