"""LocalLink: between two processes of one host, through memory that both see."""

import select
import struct
from dataclasses import dataclass

from torch import Tensor

from orchestrator.actors.mailbox import Mailbox
from orchestrator.actors.transport import Transfer, TransportError

WORD, TENSOR, READY = range(3)
"""Kinds of messages, each with a pipe of its own, so that none waits for another: numbers; that a tensor
is in the inbox, and its size; that the inbox may be written to."""
N_KINDS = 3


class LocalLink:
    """A :class:`Link` whose sender writes into the receiver's memory, with no thread and no copy between.

    A sender waits until the receiver is done with what it got before.

    Args:
        name: the link's name, for errors.
        mine: this side's mailbox.
        theirs: the peer's.
        timeout: seconds to wait for the peer.
    """

    backend = "shared memory"

    def __init__(self, name: str, mine: Mailbox, theirs: Mailbox, *, timeout: float) -> None:
        self.name = name
        self.bytes_sent = 0
        self.inbox: Tensor | None = mine.memory
        self._mine, self._theirs = mine, theirs
        self._timeout = timeout
        self._in_use = False
        self._say(READY)

    def send(self, tensor: Tensor) -> Transfer:
        """Write into the peer's inbox, as soon as that is free.

        Raises:
            ValueError: the tensor is larger than the inbox.
            TransportError: the peer is gone or silent.
        """
        room = self._theirs.memory.nbytes
        if tensor.nbytes > room:
            raise ValueError(f"{self.name}: the peer has room for {room} bytes, not for {tensor.nbytes}")
        self._hear(READY)
        self._theirs.memory[: tensor.nbytes].view(tensor.dtype).view(tensor.shape).copy_(tensor)
        self._say(TENSOR, tensor.nbytes)
        self.bytes_sent += tensor.nbytes
        return _DONE

    def receive(self, out: Tensor) -> Transfer:
        """See :meth:`Link.receive`."""
        if not out.is_contiguous():
            raise ValueError(f"{self.name}: a tensor can only be received into contiguous memory")
        if self._in_use:
            self._say(READY)
            self._in_use = False
        return _Arrival(self, out)

    def take(self, out: Tensor) -> None:
        """Wait for what is received into ``out``."""
        (size,) = self._hear(TENSOR, 1)
        if size != out.nbytes:
            raise TransportError(f"{self.name}: the peer sent {size:g} bytes instead of {out.nbytes}")
        self._in_use = out.data_ptr() == self._mine.memory.data_ptr()
        if not self._in_use:
            out.copy_(self._mine.memory[: out.nbytes].view(out.dtype).view(out.shape))
            self._say(READY)

    def send_word(self, *values: float) -> Transfer:
        """Send a few numbers."""
        self._say(WORD, *values)
        return _DONE

    def receive_word(self, length: int) -> list[float]:
        """Wait for ``length`` numbers from the peer."""
        return self._hear(WORD, length)

    def _say(self, kind: int, *values: float) -> None:
        """Send some numbers, or a mere sign; there is always room for so little in a pipe."""
        message = struct.pack(f"{len(values)}d", *values) or b"."
        try:
            self._theirs.pipes[kind].write(message)
        except BrokenPipeError:
            raise self._gone() from None
        self.bytes_sent += len(message)

    def _hear(self, kind: int, length: int = 0) -> list[float]:
        """Wait for a message with so many numbers, or for a sign."""
        pipe, message = self._mine.pipes[kind], b""
        left = 8 * length or 1
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        while left:
            if not poll.poll(1e3 * self._timeout):
                raise TransportError(f"{self.name}: the peer has been silent for {self._timeout:g} s")
            part = pipe.read(left)
            if not part:
                raise self._gone()
            message += part
            left -= len(part)
        return list(struct.unpack(f"{length}d", message)) if length else []

    def _gone(self) -> TransportError:
        return TransportError(f"{self.name}: the peer is gone")


class _Done:
    """A transfer that is over."""

    def wait(self) -> None:
        pass


_DONE = _Done()


@dataclass(frozen=True)
class _Arrival:
    """A tensor that is waited for."""

    link: LocalLink
    out: Tensor

    def wait(self) -> None:
        self.link.take(self.out)
