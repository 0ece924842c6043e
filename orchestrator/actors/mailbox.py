"""A process's memory and pipes that another process of the same host can open, and no other host can.

    owner                                  peer
    offer ── address, by any way ───────▶  attach
    memory ◀─────────── tensors ─────────  the same memory
    pipes  ◀──── a few bytes, by kind ───  their other ends

Neither is a file: both go with the last process that has them open, however it ends, and a pipe whose
other end is gone tells so at once. Who may attach is the kernel's decision: processes of the same user.
"""

import mmap
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mailbox:
    """The owner's side, or the peer's.

    Attributes:
        memory: a vector of bytes, the same for both.
        pipes: by kind of message; the owner reads, the peer writes.
    """

    memory: Tensor
    pipes: tuple[FileIO, ...]


@contextmanager
def offer(n_bytes: int, *, n_pipes: int) -> Iterator[tuple[Mailbox, str]]:
    """A new mailbox, and the address by which a process can attach to it while the block lasts.

    Args:
        n_bytes: size of its memory.
        n_pipes: kinds of messages.

    Raises:
        AttributeError: the system has no such memory; Linux has.
    """
    name = f"parareal-{uuid.uuid4().hex}"  # of all processes on all hosts, only this one has it
    memory = os.memfd_create(name)
    files = [memory]
    try:
        os.ftruncate(memory, max(1, n_bytes))
        readers = []
        for _ in range(n_pipes):
            reader, writer = os.pipe()
            readers.append(FileIO(reader, "r"))
            files.append(writer)
        address = " ".join(map(str, (os.getpid(), name, *files)))
        yield Mailbox(_map(memory)[:n_bytes], tuple(readers)), address
    finally:
        for file in files:  # the peer has its own by now, and a pipe ends with its last writer
            os.close(file)


def attach(address: str) -> Mailbox | None:
    """The mailbox at the address; None if that is empty, on another host, or hidden from this process."""
    if not address:
        return None
    pid, name, *files = address.split()
    memory, *pipes = (f"/proc/{pid}/fd/{file}" for file in files)
    try:
        # Before anything is opened: on another host, these paths may lead anywhere.
        if str(Path(memory).readlink()) != f"/memfd:{name} (deleted)":
            return None
        writers = tuple(FileIO(os.open(pipe, os.O_WRONLY), "w") for pipe in pipes)
        with FileIO(memory, "r+") as file:
            return Mailbox(_map(file.fileno()), writers)
    except OSError:
        return None


def _map(file: int) -> Tensor:
    """All of a file as a vector of bytes."""
    return torch.frombuffer(mmap.mmap(file, 0), dtype=torch.uint8)
