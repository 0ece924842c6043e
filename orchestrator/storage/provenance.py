"""What a result was made with: versions and commit."""

import platform
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

DISTRIBUTION = "parareal-networks"


def versions() -> dict[str, str]:
    """Versions of Python, torch, Ray and this project, its commit ("" outside a checkout), the host.

    A version that cannot be found out is "".
    """
    return {
        "python": platform.python_version(),
        "torch": _version("torch"),
        "ray": _version("ray"),
        "project": _version(DISTRIBUTION) or _source_version(),
        "commit": _commit(),
        "host": platform.node(),
    }


def _version(distribution: str) -> str:
    """As installed; of what is not, as the module of that name says, if it is imported."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return str(getattr(sys.modules.get(distribution), "__version__", ""))


def _source_version() -> str:
    """The version in the source tree's pyproject.toml."""
    try:
        text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
        return str(tomllib.loads(text)["project"]["version"])
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return ""


def _commit() -> str:
    """The checkout's commit, with a + where files differ from it."""
    try:
        # Installed into somebody's repository, this file lies in their checkout without being part of it.
        _git("ls-files", "--error-unmatch", Path(__file__).name)
        return _git("describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*arguments: str) -> str:
    """What git says in this file's folder."""
    return subprocess.run(
        ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    ).stdout.strip()
