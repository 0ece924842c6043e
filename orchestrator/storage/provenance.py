"""What a result was made with: versions and commit."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

DISTRIBUTION = "parareal-networks"


def versions() -> dict[str, str]:
    """Versions of Python, torch, Ray and this project, its commit ("" outside a checkout), the host."""
    return {
        "python": platform.python_version(),
        "torch": version("torch"),
        "ray": version("ray"),
        "project": version(DISTRIBUTION),
        "commit": _commit(),
        "host": platform.node(),
    }


def _commit() -> str:
    """The checkout's commit, with a + where files differ from it."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return described.stdout.strip()
