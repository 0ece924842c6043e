"""A process's GPU memory and events that another process of the same host can open (CUDA IPC)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class DeviceInbox:
    """The owner's side, or the peer's.

    Attributes:
        memory: a vector of bytes on the GPU, the same for both; the peer writes, the owner reads.
        free: recorded by the owner when it has read what is in there.
        written: recorded by the owner when it has written to the peer's memory.
    """

    memory: Tensor
    free: torch.cuda.Event
    written: torch.cuda.Event


def share(device: torch.device, n_bytes: int) -> tuple[DeviceInbox, str]:
    """A new inbox, and the address by which a process can open it as long as the inbox lives.

    Args:
        device: a GPU, by its index.
        n_bytes: size of the memory.
    """
    with torch.cuda.device(device):
        memory = torch.empty(max(1, n_bytes), dtype=torch.uint8, device=device)
        free, written = (torch.cuda.Event(interprocess=True) for _ in range(2))
        handles = [free.ipc_handle(), written.ipc_handle(), *memory.untyped_storage()._share_cuda_()]
    return DeviceInbox(memory, free, written), encode(handles)


def open_shared(address: str, device: torch.device) -> DeviceInbox | None:
    """The inbox at the address; None if this process's GPU cannot reach it.

    Args:
        address: what :func:`share` returned to the owner, a process of this host that still lives.
        device: this process's GPU, by its index; the owner's may be another.
    """
    free, written, _, *storage = decode(address)
    try:
        with torch.cuda.device(device):
            # The owner's GPU has the number that the owner sees, or none here: it is reached from this one.
            memory = torch.UntypedStorage._new_shared_cuda(device.index, *storage)
            return DeviceInbox(
                torch.empty(0, dtype=torch.uint8, device=device).set_(memory),
                torch.cuda.Event.from_ipc_handle(device, free),
                torch.cuda.Event.from_ipc_handle(device, written),
            )
    except RuntimeError:  # such as slices of one GPU, or GPUs without a way between them
        return None


def encode(handles: Sequence[Any]) -> str:
    """Handles, which are bytes, and numbers as text."""
    return json.dumps([value.hex() if isinstance(value, bytes) else value for value in handles])


def decode(text: str) -> list[Any]:
    """The inverse of :func:`encode`."""
    return [bytes.fromhex(value) if isinstance(value, str) else value for value in json.loads(text)]
