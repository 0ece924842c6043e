"""InboxLink: a link whose sender writes into the receiver's memory."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from orchestrator.actors.transport import Transfer, TransportError
from orchestrator.actors.words import READY, TENSOR, SpeakingLink, Words


class InboxLink(SpeakingLink, ABC):
    """Base of the links through memory that both sides reach, with no thread and no copy between.

        sender                          receiver
                  ◀── READY ──          the inbox is free
        writes    ── TENSOR, size ──▶   reads the inbox, or copies out of it

    A sender waits until the receiver is done with what it got before. A subclass calls
    :meth:`_give_up` once when it is complete: now the peer may write.

    Args:
        name: the link's name, for errors.
        words: the link's way of words.
        mine: the bytes that the peer writes to.
        theirs: the bytes that this side writes to.
    """

    def __init__(self, name: str, words: Words, mine: Tensor, theirs: Tensor) -> None:
        super().__init__(name, words)
        self.inbox: Tensor | None = mine
        self._mine, self._theirs = mine, theirs
        self._in_use = False

    @property
    def bytes_sent(self) -> int:
        """Tensors and words sent so far, with the one READY that is owed for the tensor in the inbox.

        It comes with the next tensor that is asked for, maybe in the next epoch; or never, at the end.
        """
        return super().bytes_sent + self._in_use

    @abstractmethod
    def _write(self, place: Tensor, tensor: Tensor) -> Transfer:
        """Write into the peer's inbox, which it has given up; before TENSOR is said."""

    def _see(self) -> None:
        """Make sure that what is in the inbox can be read; after TENSOR is heard."""

    def _give_up(self) -> None:
        """Let the peer write into the inbox again, once all that was asked for so far has read it."""
        self._words.say(READY)

    def send(self, tensor: Tensor) -> Transfer:
        """Write into the peer's inbox, as soon as that is free.

        Raises:
            ValueError: the tensor is larger than the inbox.
            TransportError: the peer is gone or silent.
        """
        room = self._theirs.nbytes
        if tensor.nbytes > room:
            raise ValueError(f"{self.name}: the peer has room for {room} bytes, not for {tensor.nbytes}")
        self._words.hear(READY)
        transfer = self._write(_tensor_in(self._theirs, like=tensor), tensor)
        self._words.say(TENSOR, tensor.nbytes)
        self._tensor_bytes += tensor.nbytes
        return transfer

    def receive(self, out: Tensor) -> Transfer:
        """See :meth:`Link.receive`."""
        self._require_contiguous(out)
        if self._in_use:
            self._in_use = False
            self._give_up()
        return _Arrival(self, out)

    def take(self, out: Tensor) -> None:
        """Wait for what is received into ``out``."""
        (size,) = self._words.hear(TENSOR, 1)
        if size != out.nbytes:
            raise TransportError(f"{self.name}: the peer sent {size:g} bytes instead of {out.nbytes}")
        self._see()
        self._in_use = out.data_ptr() == self._mine.data_ptr()
        if not self._in_use:
            out.copy_(_tensor_in(self._mine, like=out))
            self._give_up()


def _tensor_in(memory: Tensor, *, like: Tensor) -> Tensor:
    """A tensor of the same shape and type at the beginning of a vector of bytes."""
    return memory[: like.nbytes].view(like.dtype).view(like.shape)


@dataclass(frozen=True)
class _Arrival:
    """A tensor that is waited for."""

    link: InboxLink
    out: Tensor

    def wait(self) -> None:
        self.link.take(self.out)
