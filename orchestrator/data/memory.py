"""How much memory is free, asked before images are made rather than found out by being killed."""

import resource
from collections.abc import Iterator
from math import prod
from pathlib import Path

from orchestrator.data.errors import DatasetError


def require(n_images: int, shape: tuple[int, ...]) -> None:
    """See that so many images of this shape (c, h, w) fit, a byte a value.

    Raises:
        DatasetError: they do not.
    """
    needed, free = n_images * prod(shape), free_memory()
    size = "×".join(map(str, shape))
    if needed > free:
        raise DatasetError(
            f"{n_images:,} images of {size} take {_gib(needed)} of memory, and {_gib(free)} are "
            "free: use --train-subset and --validation-subset, or a machine with more"
        )


def free_memory() -> int:
    """Bytes that this process can still take: of the machine, of its control groups, of its own limit."""
    return max(0, min(_free()))


def _free() -> Iterator[int]:
    yield _entries("/proc/meminfo")["MemAvailable"] * 1024
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY:
        yield most - _entries("/proc/self/status")["VmSize"] * 1024
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):  # version 2, version 1
            root = Path("/sys/fs/cgroup", controllers)
            group = root / path.lstrip("/")
            for folder in (group, *group.parents):  # a group has no more than those around it
                if folder.is_relative_to(root):
                    yield from _free_in_group(folder)


def _free_in_group(folder: Path) -> Iterator[int]:
    """What a control group may still take; nothing where it has no limit."""
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        if (folder / limit).exists() and (most := (folder / limit).read_text().strip()) != "max":
            # Files that were read count as used until the memory is needed.
            cached = _entries(str(folder / "memory.stat")).get("inactive_file", 0)
            yield int(most) - int((folder / used).read_text()) + cached


def _entries(file: str) -> dict[str, int]:
    """The whole numbers of a file with a name and a value a line."""
    pairs = [line.replace(":", " ").split()[:2] for line in Path(file).read_text().splitlines()]
    return {name: int(value) for name, value in (p for p in pairs if len(p) == 2) if value.isdigit()}


def _gib(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:,.1f} GiB"
