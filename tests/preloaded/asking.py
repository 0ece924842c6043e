"""How a process is asked for; imports little, since every Python below the tests may do so."""

import json
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path


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
