"""How a process is asked for; imports little, since every Python below the tests may do so."""

import json
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

CONTEXT = "--serialized-runtime-env-context="
"""What ``setup_worker.py`` is to see to before it becomes the worker; Ray imports all of itself for that."""


def as_set_up(
    arguments: Sequence[str], environ: Mapping[str, str]
) -> tuple[list[str], dict[str, str]] | None:
    """Command line and environment of a worker of Ray's.

    Args:
        arguments: of ``default_worker.py``, or of ``setup_worker.py`` with the former behind it.
        environ: that it is started with.

    Returns:
        None where Ray's own script has to see to more than variables of the environment.
    """
    words = [word for word in arguments if not word.endswith("/setup_worker.py")]
    if len(words) == len(arguments):
        return words, dict(environ)
    context = next((json.loads(word.removeprefix(CONTEXT)) for word in words if word.startswith(CONTEXT)), {})
    variables = context.pop("env_vars", {})
    python = context.pop("py_executable", arguments[0])
    if python != arguments[0] or "--language=PYTHON" not in words or any(context.values()):
        return None
    if any("$" in value for value in variables.values()):
        return None
    words = [word for word in words if word != "--language=PYTHON" and not word.startswith(CONTEXT)]
    return words, {**environ, **variables}


def ask(
    forks: str,
    arguments: Sequence[str],
    environ: Mapping[str, str],
    folder: Path,
    descriptors: Sequence[int],
    *,
    reported: bool = False,
) -> socket.socket:
    """Ask ``forks.py`` for a process, with this one's priority.

    Args:
        forks: its folder.
        arguments: command line, Python's own name first.
        environ: environment.
        folder: that it is to work in.
        descriptors: of this process's files, for standard input, output and errors.
        reported: whether its id and, when it has ended, its status are to come back, 8 bytes each.

    Returns:
        What ends when the process does, and ends the process when it is closed here.
    """
    asked = {
        "argv": list(arguments),
        "environ": dict(environ),
        "folder": str(folder),
        "nice": os.nice(0),
        "reported": reported,
    }
    message = json.dumps(asked).encode()
    link = socket.socket(socket.AF_UNIX)
    link.connect(f"{forks}/socket")
    socket.send_fds(link, [len(message).to_bytes(8, "big")], descriptors)
    link.sendall(message)
    return link
