"""Formats that networks are written in, by the file's suffix, and what each needs."""

from importlib.util import find_spec
from pathlib import Path

PACKAGES: dict[str, tuple[str, ...]] = {
    ".safetensors": ("safetensors",),
    ".pt2": (),
    ".onnx": ("onnx", "onnxscript"),
}
"""By suffix, what a format needs beside torch."""


def check_format(file: Path) -> None:
    """See that there is a format of that suffix, and what it needs.

    Raises:
        ValueError: there is not.
    """
    if file.suffix not in PACKAGES:
        raise ValueError(f"{file} is of no known format: give {', '.join(PACKAGES)}")
    if missing := [package for package in PACKAGES[file.suffix] if find_spec(package) is None]:
        raise ValueError(f"{file.suffix} needs what is not installed: pip install {' '.join(missing)}")
