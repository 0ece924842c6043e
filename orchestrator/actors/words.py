"""Words: numbers and signs that two actors' hosts say to each other beside the tensors."""

from typing import Protocol

from torch import Tensor

from orchestrator.actors.transport import Transfer

WORD, TENSOR, READY = range(3)
"""Kinds of words, none of which waits for another: numbers; that a tensor is there or on its way, and its
size in bytes; that the inbox may be written to."""
N_KINDS = 3


class Words(Protocol):
    """The way of words between two processes.

    Attributes:
        bytes_sent: how much has been said so far.
    """

    bytes_sent: int

    def say(self, kind: int, *values: float) -> Transfer:
        """Start sending some numbers, or a mere sign."""

    def hear(self, kind: int, length: int = 0) -> list[float]:
        """Wait for a word of this kind with so many numbers, or for a sign.

        Raises:
            TransportError: the peer died, or kept silent longer than the link's timeout.
        """


class SpeakingLink:
    """What all links have in common: a name and words.

    Args:
        name: the link's name, for errors.
        words: its way of words.
    """

    inbox: Tensor | None = None

    def __init__(self, name: str, words: Words) -> None:
        self.name = name
        self._words = words
        self._tensor_bytes = 0

    @property
    def bytes_sent(self) -> int:
        """Tensors and words sent so far."""
        return self._tensor_bytes + self._words.bytes_sent

    def send_word(self, *values: float) -> Transfer:
        """See :meth:`Link.send_word`."""
        return self._words.say(WORD, *values)

    def receive_word(self, length: int) -> list[float]:
        """See :meth:`Link.receive_word`."""
        return self._words.hear(WORD, length)

    def _require_contiguous(self, out: Tensor) -> None:
        if not out.is_contiguous():
            raise ValueError(
                f"{self.name}: a tensor of shape {tuple(out.shape)} and strides {out.stride()} is scattered "
                "in memory; receive into a contiguous one"
            )
