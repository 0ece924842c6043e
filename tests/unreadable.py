"""Files that cannot be read, whoever runs the tests."""

from pathlib import Path


def make_unreadable(path: Path) -> Path:
    """Put a link to itself in the place of a file or folder, which stays under a hidden name."""
    if path.exists():
        path.rename(hidden(path))
    path.symlink_to(path)
    return path


def make_readable(path: Path) -> None:
    """Put back what was there."""
    path.unlink()
    hidden(path).rename(path)


def hidden(path: Path) -> Path:
    """Where it is meanwhile."""
    return path.with_name(f".{path.name}.hidden")
