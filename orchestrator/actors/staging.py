"""Staging: what a GPU sends through its host's memory, without keeping the host."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from orchestrator.actors.transport import Transfer, as_transport_error


class Staging:
    """Copies tensors to the host and has them sent from there, in order, by a thread of its own.

    Sending begins when the copy is done, whether or not the sender ever waits for it: a peer that waits
    for the tensor may be what the sender waits for first.

    Args:
        name: the link's name, for errors.
        device: where the tensors are.
        send: sends a tensor in the host's memory; returns when that is over.
    """

    def __init__(self, name: str, device: torch.device, send: Callable[[Tensor], None]) -> None:
        self.name = name
        self._device = device
        self._send = send
        self._stream = torch.cuda.Stream(device, priority=-1)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    def send(self, tensor: Tensor) -> Transfer:
        """Start sending, in the order of the current stream."""
        staged = host_memory(tensor)
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            staged.copy_(tensor, non_blocking=True)
        copied = torch.cuda.Event(blocking=True)  # the thread sleeps meanwhile
        copied.record(self._stream)
        return _Sending(self.name, tensor, self._thread.submit(_pass_on, self._send, staged, copied))


def host_memory(tensor: Tensor) -> Tensor:
    """Pinned memory for a tensor of the same shape and type.

    Torch keeps what is given back for the next of its size, and until all copies are done that streams
    were asked for: only the first steps ask the system for any.
    """
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)


def _pass_on(send: Callable[[Tensor], None], staged: Tensor, copied: torch.cuda.Event) -> None:
    copied.synchronize()
    send(staged)


@dataclass(frozen=True)
class _Sending:
    """A tensor on its way; held, since its memory must not go to another meanwhile."""

    name: str
    tensor: Tensor
    sent: Future[None]

    def wait(self) -> None:
        with as_transport_error(self.name):
            self.sent.result()
