"""Imports what takes long once, and becomes every process that its socket is asked for: see the package.

Usage: ``python forks.py FOLDER MODULE…``, ended by the end of its standard input. The folder gets the socket,
and for every process a file with its id as name and its environment as content: /proc shows this one's.
"""

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any


def _receive(link: socket.socket, n_bytes: int) -> bytes:
    data = b""
    while len(data) < n_bytes:
        part = link.recv(n_bytes - len(data))
        if not part:
            raise EOFError("ended before it was forked")
        data += part
    return data


def _end_with(link: socket.socket) -> None:
    """Who has asked for this process may be known in its place, and ended."""
    link.recv(1)
    os.kill(os.getpid(), signal.SIGKILL)


def _report(link: socket.socket) -> None:
    """Fork once more, and stay to say how it ended; returns in the new process alone."""
    if process := os.fork():
        link.sendall(process.to_bytes(8, "big"))
        _, status = os.waitpid(process, 0)
        link.sendall(status.to_bytes(8, "big"))
        os._exit(0)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as from a terminal
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


def _become(link: socket.socket, descriptors: list[int], asked: dict[str, Any], folder: Path) -> None:
    """In the fork: what was asked for."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if asked["reported"]:
        _report(link)
    os.setsid()  # Ray ends the process group of a worker that it has lost
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(asked["environ"])
    os.chdir(asked["folder"])
    os.nice(asked["nice"] - os.nice(0))
    if "ray" in sys.modules:  # it has read another environment while it was imported
        sys.modules["ray"]._raylet.Config.initialize("")
    (folder / str(os.getpid())).write_text(json.dumps(asked["environ"]))
    threading.Thread(target=_end_with, args=(link,), daemon=True).start()
    sys.orig_argv = asked["argv"]


def _serve(folder: Path) -> dict[str, Any] | None:
    """Fork a process for each that is asked for: in it what was asked, here None at the end of the input."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket"))
        server.listen(64)
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select([server, sys.stdin], [], [])
            if sys.stdin in ready:
                return None
            link, _ = server.accept()
            try:
                size, descriptors, _, _ = socket.recv_fds(link, 8, 3)
                asked = json.loads(_receive(link, int.from_bytes(size, "big")))
            except (EOFError, ConnectionError):
                link.close()
                continue
            if os.fork() == 0:
                _become(link, descriptors, asked, folder)
                return asked
            link.close()
            for descriptor in descriptors:
                os.close(descriptor)


for module in sys.argv[2:]:
    importlib.import_module(module)
gc.collect()
gc.freeze()  # collections in the forks would touch, and so copy, all of it
if asked := _serve(Path(sys.argv[1])):
    words = asked["argv"]
    if words[1] == "-m":
        sys.argv, sys.path[0] = words[2:], asked["folder"]
        runpy.run_module(words[2], run_name="__main__", alter_sys=True)
    else:
        script = next(n for n, word in enumerate(words) if word.endswith(".py"))
        sys.argv, sys.path[0] = words[script:], str(Path(words[script]).parent)
        runpy.run_path(words[script], run_name="__main__")
