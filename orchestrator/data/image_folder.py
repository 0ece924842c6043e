"""image_folder:DIR: a folder for each split, in it one for each class, in that the images."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from orchestrator.data.decoding import EXTENSIONS, Encoded
from orchestrator.data.errors import DatasetError, exact, reported, shown
from orchestrator.data.listed import Listed, Listing
from orchestrator.data.source import Rows
from orchestrator.data.splits import SPLITS, split_of


def list_images(folder: Path) -> Listing:
    """The images of every split in DIR or DIR/data; DIR is the training split itself where there is none.

    Raises:
        DatasetError: there are no images, or not where they are looked for.
    """
    with reported(f"cannot read {folder}", "give it the rights to be read"):
        root = next((r for r in (folder, folder / "data") if r.is_dir() and _splits(r)), folder)
        splits = _splits(root)
        if not splits:
            deeper = [sub for sub in _folders(root) if _splits(sub)]
            if deeper:
                raise DatasetError(
                    f"{folder} has no folder train, but {deeper[0]} has: give image_folder:{deeper[0]}"
                )
            splits = {"train": root}
        left_out, remarks = Counter[str](), list[str]()
        strangers = [sub.name for sub in _folders(root) if sub not in splits.values()]
        if root not in splits.values() and strangers:
            remarks.append(f"left out, of no known split: {shown(strangers, 5)}")
        listed = {}
        for name, split in splits.items():
            if name.lower() in SPLITS["test"] and not _folders(split):
                remarks.append(f"its split {name} has no labels (no folders of classes): no test error")
                continue
            around = {_identity(path) for path in (folder, root, split)}
            listed[name] = _list_split(name, split, left_out, remarks, around)
    if left_out:
        kinds = ", ".join(f"{n} {kind}" for kind, n in left_out.most_common())
        remarks.append(f"left out: {kinds}")
    return Listing(listed, tuple(remarks))


def _list_split(
    name: str, folder: Path, left_out: Counter[str], remarks: list[str], around: set[tuple[int, int]]
) -> Listed:
    """The images of a split, by class and path."""
    files: list[Path] = []
    labels: list[str] = []
    empty, seen = [], set(around)
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            left_out["hidden"] += 1
        elif not entry.is_dir():
            left_out[f"in no class's folder of {folder.name}"] += 1
        else:
            images = sorted(_images(entry, left_out, remarks, seen))
            files += images
            labels += [entry.name] * len(images)
            empty += [] if images else [entry.name]
    if not files:
        raise DatasetError(f"{folder} holds no images: provide {folder}/CLASS/IMAGE.png, or another format")
    if empty and name.lower() in SPLITS["train"]:
        raise DatasetError(
            f"{folder} has class folders without images, {shown([*map(exact, empty)])}: remove them, or "
            f"bring their images to one of the formats {' '.join(EXTENSIONS)}"
        )

    def encoded(rows: Rows) -> Iterator[Encoded]:
        return ((str(files[row]), files[row]) for row in rows)

    return Listed(files, np.array(labels), encoded)


def _images(
    folder: Path, left_out: Counter[str], remarks: list[str], seen: set[tuple[int, int]]
) -> Iterator[Path]:
    """All images below a folder, through links too, but no folder twice."""
    if _identity(folder) in seen:
        remarks.append(f"{folder} is a link to a folder that is read already: left out")
        return
    seen.add(_identity(folder))
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            left_out["hidden"] += 1
        elif entry.is_dir():
            yield from _images(entry, left_out, remarks, seen)
        elif entry.suffix.lower() in EXTENSIONS:
            yield entry
        else:
            left_out[entry.suffix or "without an ending"] += 1


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _folders(folder: Path) -> list[Path]:
    return [entry for entry in sorted(folder.iterdir()) if entry.is_dir() and entry.name[0] != "."]


def _splits(folder: Path) -> dict[str, Path]:
    """Folders that stand for a split, by name."""
    return {sub.name: sub for sub in _folders(folder) if split_of(sub.name) == sub.name}
