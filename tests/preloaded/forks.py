"""Imports torch once, and becomes every worker of Ray that its socket is asked for: see ``sitecustomize.py``.

Usage: ``python forks.py FOLDER``, ended by the end of its standard input. In the folder are the socket, and
for every worker a file with its process id as name and its environment as content: /proc shows this one's.
"""

import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
from pathlib import Path

import torch  # noqa: F401  # not Ray, which reads a worker's environment while it is imported


def _receive(link: socket.socket, n_bytes: int) -> bytes:
    data = b""
    while len(data) < n_bytes:
        part = link.recv(n_bytes - len(data))
        if not part:
            raise EOFError("a worker was ended before it was forked")
        data += part
    return data


def _end_with(link: socket.socket) -> None:
    """Ray knows this worker by another process too, and may end that one."""
    link.recv(1)
    os.kill(os.getpid(), signal.SIGKILL)


def _become(link: socket.socket, descriptors: list[int], worker: dict, folder: Path) -> None:
    """In the fork: what the process at the other end of the link was started as."""
    os.setsid()  # Ray ends the process group of a worker that it has lost
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(worker["environ"])
    os.chdir(worker["folder"])
    os.nice(worker["nice"] - os.nice(0))
    (folder / str(os.getpid())).write_text(json.dumps(worker["environ"]))
    threading.Thread(target=_end_with, args=(link,), daemon=True).start()
    script = next(n for n, argument in enumerate(worker["argv"]) if argument.endswith("/default_worker.py"))
    sys.orig_argv = worker["argv"]
    sys.argv = worker["argv"][script:]
    sys.path[0] = str(Path(sys.argv[0]).parent)


def _serve(folder: Path) -> bool:
    """Fork a worker for each that asks; true in the fork, false at the end of the standard input."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket"))
        server.listen(64)
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select([server, sys.stdin], [], [])
            if sys.stdin in ready:
                return False
            link, _ = server.accept()
            try:
                size, descriptors, _, _ = socket.recv_fds(link, 8, 3)
                worker = json.loads(_receive(link, int.from_bytes(size, "big")))
            except (EOFError, ConnectionError):
                link.close()
                continue
            if os.fork() == 0:
                _become(link, descriptors, worker, folder)
                return True
            link.close()
            for descriptor in descriptors:
                os.close(descriptor)


if _serve(Path(sys.argv[1])):
    runpy.run_path(sys.argv[0], run_name="__main__")
