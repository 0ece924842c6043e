"""Published files that torchvision downloads or finds: what is wrong where it can do neither."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from orchestrator.data.errors import DatasetError, reported, shown


@contextmanager
def fetching(what: str, data_dir: Path, published: Mapping[str, str | None]) -> Iterator[None]:
    """Say of files that cannot be had which of those in DIR is not the published one, or lies elsewhere.

    Args:
        what: the files, for a reader.
        data_dir: DIR.
        published: where in DIR each file is looked for, and its MD5 sum in hexadecimal; None for a file of
            the MNIST format, which says itself how long it is.

    Raises:
        DatasetError: the block has raised what libraries do when a file is damaged or out of reach.
    """
    remedy = f"place intact files in {data_dir}, or use parquet:DIR or digits"
    try:
        with reported(f"cannot read or download {what}", ""):
            yield
    except DatasetError as error:
        problem = str(error).removesuffix(": ")
        with reported(problem, remedy):  # a file that may not be read
            found = _found(data_dir, published)
        raise DatasetError(f"{problem}; {found}: {remedy}") from error


def _found(data_dir: Path, published: Mapping[str, str | None]) -> str:
    """What there is of the files, in words."""
    places = {data_dir / name: md5 for name, md5 in published.items()}
    others = [file for file, md5 in places.items() if not _sound(file, md5)]
    wrong = [file for file in others if file.is_file()]
    if wrong:
        md5 = places[wrong[0]]
        sums = f", MD5 {_md5(wrong[0])}, not {md5}" if md5 else ""
        more = f", nor are {len(wrong) - 1} more" if wrong[1:] else ""
        return f"{wrong[0]} is not the published file ({wrong[0].stat().st_size:,} bytes{sums}){more}"
    for place in others:
        for folder in dict.fromkeys([data_dir, *(file.parent for file in places)]):
            for name in (place.name, place.name.replace("-idx", ".idx")):  # as some programs unpack it
                if (folder / name).is_file():
                    return f"{folder / name} is there, but looked for at {place}"
    if len(others) == len(places):
        return f"{data_dir} holds none of its files"
    archives = {
        file for file in others if file.suffix and file.with_suffix("") in places
    }  # of what is listed
    lacking = [str(file.relative_to(data_dir)) for file in others if file not in archives]
    return f"{data_dir} lacks {shown(lacking, 5)}"


def _sound(file: Path, md5: str | None) -> bool:
    if not file.is_file():
        return False
    return _is_whole(file) if md5 is None else _md5(file) == md5


def _md5(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, partial(hashlib.md5, usedforsecurity=False)).hexdigest()


def _is_whole(file: Path) -> bool:
    """Whether a file of bytes is as long as its header says (https://yann.lecun.org/exdb/mnist)."""
    with file.open("rb") as opened:
        start, n_dimensions = opened.read(3), opened.read(1)[:1]
        sizes = opened.read(4 * sum(n_dimensions))
    n_values = math.prod(int.from_bytes(sizes[i : i + 4], "big") for i in range(0, len(sizes), 4))
    return start == b"\0\0\x08" and file.stat().st_size == 4 + 4 * sum(n_dimensions) + n_values
