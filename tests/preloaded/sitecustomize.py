"""Every Python that is started below the tests runs this: workers of Ray are forked, the rest starts as ever.

A worker needs a second or two of processor time to import torch, a fork of a process that has it already a
tenth of that. Only the way in which it comes to its imports differs: it is a process of its own, with the
arguments, environment, folder, output and priority that Ray gave to the one that runs here, which stays until
the worker ends, and takes it along when Ray ends it.
"""

import os
import sys

FORKS = "PARAREAL_TEST_FORKS"
"""The environment's name of the socket at which ``forks.py`` listens."""

SCRIPT = next((argument for argument in sys.orig_argv if argument.endswith(".py")), "")

if FORKS in os.environ and SCRIPT.endswith("/default_worker.py"):
    import json
    import socket
    from pathlib import Path

    worker = {
        "argv": sys.orig_argv,
        "environ": dict(os.environ),
        "folder": str(Path.cwd()),
        "nice": os.nice(0),
    }
    message = json.dumps(worker).encode()
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(os.environ[FORKS])
        socket.send_fds(link, [len(message).to_bytes(8, "big")], [0, 1, 2])
        link.sendall(message)
        link.recv(1)  # its end
    os._exit(0)
