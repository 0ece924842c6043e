"""parquet:DIR: files of encoded images and labels, as image hubs publish them."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.data.blocks import BYTES
from orchestrator.data.decoding import LFS, Encoded
from orchestrator.data.errors import DatasetError, exact, reported, shown
from orchestrator.data.labels import Values, whole
from orchestrator.data.listed import Listed, Listing
from orchestrator.data.source import Rows
from orchestrator.data.splits import SPLITS, split_of

_LABELS = ("label", "labels", "fine_label", "class", "target")
_IMAGES = ("image", "img")
_BATCH = 256  # rows that are read at a time at most: a row group may hold gigabytes
_BUFFER = 1 << 20  # bytes of a column that are read at a time, not all of a row group's
_LONGEST = 255  # characters of a class's name, as of a file's
_INDEX = "__index_level_0__"  # what pandas calls the row numbers that it adds


def list_images(folder: Path, label_column: str | None) -> Listing:
    """The images of every split in DIR or one folder below it.

    A file belongs to the split that its name begins with, ``train-00000-of-00002.parquet``, or that its
    folder is called, ``default/train/0000.parquet`` or, as Spark writes it, ``train.parquet/part-0.parquet``.

    Args:
        folder: DIR.
        label_column: the column with the labels; None: the one with a customary name.

    Raises:
        DatasetError: files are missing, damaged or of several sets, or it is not clear which columns to read.
    """
    with reported(f"cannot read {folder}", "give it the rights to be read"):
        splits, strangers = _files(folder)
    for name, files in splits.items():
        _check_shards(folder, name, files)
    first = next((name for name in splits if name.lower() in SPLITS["train"]), next(iter(splits)))
    schema = _schema(splits[first][0])
    image, label = _columns(splits[first][0], schema, label_column)
    remarks = [f"labels are its column {label}"]
    if strangers:
        remarks.append(f"left out, of no known split: {shown(strangers, 5)}")
    listed = {}
    names = _class_names(schema, label)
    for name, files in splits.items():
        for file in files:
            others = _class_names(_schema(file), label)
            if None not in (names, others) and others != names:
                raise DatasetError(
                    f"{file} numbers the classes otherwise than {splits[first][0]}: write both with the "
                    "same names"
                )
        there = _schema(files[0]).names
        named = [column for column in there if column in _LABELS]
        if label not in there and label_column is None and len(named) == 1:
            listed[name] = _listed(files, image, named[0])
        elif label not in there and name.lower() in SPLITS["test"]:
            remarks.append(f"its split {name} has no labels (no column {label}): no test error")
        else:
            listed[name] = _listed(files, image, label)
    return Listing(listed, tuple(remarks), names)


def _files(folder: Path) -> tuple[dict[str, list[Path]], list[str]]:
    """The files of each split, and those of none."""
    groups: dict[Path, dict[str, list[Path]]] = {}
    strangers = []
    for file in sorted(folder.rglob("*.parquet")):
        within = file.relative_to(folder)
        if file.is_dir() or any(part.startswith(".") for part in within.parts):
            continue
        of_folder = file.parent.name.removesuffix(".parquet")
        split = split_of(of_folder) if split_of(of_folder) == of_folder else None
        if split is not None and file.parent != folder:
            groups.setdefault(file.parent.parent, {}).setdefault(split, []).append(file)
        elif (split := split_of(file.name)) is not None:
            groups.setdefault(file.parent, {}).setdefault(split, []).append(file)
        else:
            strangers.append(str(within))
    if len(groups) > 1:
        raise DatasetError(
            f"{folder} holds {len(groups)} sets, in {shown([str(group) for group in groups], 5)}: give one "
            "of these folders"
        )
    if not groups:
        raise DatasetError(
            f"{folder} has 0 files train-*.parquet and {len(strangers)} others of no known split: provide "
            "train-*.parquet and validation-*.parquet, or folders of these names"
        )
    return next(iter(groups.values())), strangers


def _check_shards(folder: Path, split: str, files: list[Path]) -> None:
    """See that a split lies in one place; that files whose names say how many there are, are all there, and
    of one version."""
    if len(places := sorted({str(file.parent) for file in files})) > 1:
        raise DatasetError(
            f"{folder}: {split} lies in {len(places)} places, {shown(places, 5)}: remove all but one"
        )
    versions: dict[tuple[str, str], set[int]] = {}
    for file in files:
        match = re.search(r"-(\d+)-of-(\d+)(?:-([0-9a-zA-Z]+))?$", file.stem)
        number, total, version = match.groups(default="") if match else ("0", "", "")
        versions.setdefault((total, version), set()).add(int(number))
    if len(versions) > 1:
        kinds = [
            (f"of {total}" if total else "of no number") + f" ({version})" * bool(version)
            for total, version in versions
        ]
        raise DatasetError(
            f"{folder}: {split} has files of {len(versions)} versions, {shown(kinds)}: remove all but one"
        )
    for (total, _), there in versions.items():
        missing = sorted(set(range(int(total or 0))) - there)
        if missing:
            raise DatasetError(
                f"{folder}: {split} has {len(there)} of {int(total)} files, without number "
                f"{shown([*map(str, missing)], 5)}: fetch the others"
            )


def _schema(file: Path) -> pa.Schema:
    with _reading(file), pq.ParquetFile(file) as parquet:
        return parquet.schema_arrow


def _columns(file: Path, schema: pa.Schema, label_column: str | None) -> tuple[str, str]:
    """The columns of the images and of the labels."""
    images = [field.name for field in schema if _holds_bytes(field.type)]
    image = _only(file, "column of encoded images", images, _IMAGES)
    others = [field.name for field in schema if field.name not in (image, _INDEX)]
    there = ", ".join(map(exact, others)) or "none"
    if label_column is not None:
        if label_column not in others:
            raise DatasetError(
                f"--label-column {exact(label_column)}: {file} has the columns {there}: name one of these"
            )
        return image, label_column
    named = [name for name in others if name in _LABELS]
    if len(named) == 1 or len(others) == 1:
        return image, (named or others)[0]
    raise DatasetError(
        f"{file} needs one column of labels called {' or '.join(_LABELS)}, and has {there}: say which it is "
        "with --label-column"
    )


def _listed(files: list[Path], image: str, label: str) -> Listed:
    parts = [_labels(file, label) for file in files]
    kinds = {part.dtype.kind for part in parts}
    if len({"i" if kind == "u" else kind for kind in kinds}) > 1:
        raise DatasetError(f"{files[0].parent}: {label!r} is of several types among its files: write it anew")
    labels = np.concatenate(parts)
    if label not in _LABELS and len(labels) > 2 and len(np.unique(labels)) == len(labels):
        raise DatasetError(
            f"{files[0]}: each of {len(labels)} rows has a {label!r} of its own, so it is no label: name the "
            "column with --label-column"
        )
    return Listed(files, labels, lambda rows: _encoded(files, image, rows))


def _labels(file: Path, name: str) -> Values:
    with _reading(file), pq.ParquetFile(file) as parquet:
        if name not in parquet.schema_arrow.names:
            raise DatasetError(f"{file} has no column {name!r}, as other files have: fetch it again")
        column = parquet.read(columns=[name])[name].combine_chunks()
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        kind = column.type
        if column.null_count:
            raise DatasetError(f"{file}: {column.null_count} rows of {name!r} are empty: drop them")
        if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
            return whole(column.to_numpy(zero_copy_only=False))
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            words = column.cast(pa.large_string())
            if n_empty := pc.sum(pc.equal(pc.utf8_trim_whitespace(words), "")).as_py():
                raise DatasetError(f"{file}: {n_empty} rows of {name!r} are empty: drop them")
            longest = pc.max(pc.utf8_length(words)).as_py() or 0
            # An array of words takes as much memory for each as for the longest, and drops a last "\0".
            if longest > _LONGEST or pc.any(pc.ends_with(words, "\0")).as_py():
                raise DatasetError(
                    f"{file}: {name!r} has words of {longest} characters, or one that ends in a zero: a "
                    f"class has {_LONGEST} at most, so name another column with --label-column"
                )
            return np.array(words.to_pylist(), dtype=str)
        raise DatasetError(
            f"{file}: {name!r} is of type {kind}: a label is a whole number, a word or a boolean: name "
            "another column with --label-column, or write classes into one"
        )


def _class_names(schema: pa.Schema, label: str) -> dict[int, str] | None:
    """What hubs write beside the columns: the classes' names, where labels are numbers."""
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        return dict(enumerate(map(str, features[label]["names"])))
    except (KeyError, TypeError, ValueError):
        return None


def _encoded(files: list[Path], name: str, rows: Rows) -> Iterator[Encoded]:
    """The images of ``rows``, which count through all files, a few at a time and in order."""
    start = 0
    for file in files:
        first = start  # of the file
        with _reading(file), pq.ParquetFile(file, buffer_size=_BUFFER) as parquet:
            column = (
                name if not pa.types.is_struct(parquet.schema_arrow.field(name).type) else f"{name}.bytes"
            )
            for group in range(parquet.num_row_groups):
                of_group = parquet.metadata.row_group(group)
                n = of_group.num_rows
                if not _between(rows, start, n).size:
                    start += n
                    continue
                n_together = max(1, min(_BATCH, BYTES * n // max(1, of_group.total_byte_size)))
                for batch in parquet.iter_batches(n_together, row_groups=[group], columns=[column]):
                    inside = _between(rows, start, len(batch))
                    contents = batch.column(0)
                    if pa.types.is_struct(contents.type):
                        contents = pc.struct_field(contents, "bytes")
                    for row in inside:
                        yield f"{file}, row {row - first}", contents[int(row - start)].as_py()
                    start += len(batch)


def _between(rows: Rows, start: int, n: int) -> Rows:
    low, high = np.searchsorted(rows, (start, start + n))
    return rows[low:high]


def _reading(file: Path) -> AbstractContextManager[None]:
    with reported(f"cannot read {file}", "fetch it again"), file.open("rb") as opened:
        if opened.read(len(LFS)) == LFS:
            raise DatasetError(f"{file} is a Git LFS pointer, not the file itself: run git lfs pull there")
    return reported(f"cannot read {file} as Parquet", "fetch it again")


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    tests = "is_binary", "is_large_binary", "is_binary_view", "is_fixed_size_binary"
    return any(getattr(pa.types, test)(kind) for test in tests)


def _only(file: Path, kind: str, columns: Sequence[str], customary: Sequence[str]) -> str:
    """The one of ``columns``, or the one of them with a customary name."""
    found = columns if len(columns) == 1 else [name for name in columns if name in customary]
    if len(found) != 1:
        raise DatasetError(
            f"{file} needs one {kind}, or just one called {' or '.join(customary)}, and has "
            f"{', '.join(map(exact, columns)) or 'none'}: rename or drop columns"
        )
    return found[0]
