"""Pipes: words between two processes of one host, with no thread between and no library."""

import select
import struct
from collections.abc import Sequence
from io import FileIO

from orchestrator.actors.transport import DONE, Transfer, TransportError


class Pipes:
    """The :class:`Words` of two processes that have each other's mailbox.

    Args:
        name: the link's name, for errors.
        mine: what this side reads from, a pipe for each kind of words.
        theirs: what it writes to, likewise.
        timeout: seconds to wait for the peer.
    """

    def __init__(
        self, name: str, mine: Sequence[FileIO], theirs: Sequence[FileIO], *, timeout: float
    ) -> None:
        self.name = name
        self.bytes_sent = 0
        self._mine, self._theirs = mine, theirs
        self._timeout = timeout

    def say(self, kind: int, *values: float) -> Transfer:
        """See :meth:`Words.say`; there is always room for so little in a pipe.

        Raises:
            TransportError: the peer is gone.
        """
        message = struct.pack(f"{len(values)}d", *values) or b"."
        try:
            self._theirs[kind].write(message)
        except BrokenPipeError:
            raise self._gone() from None
        self.bytes_sent += len(message)
        return DONE

    def hear(self, kind: int, length: int = 0) -> list[float]:
        """See :meth:`Words.hear`."""
        pipe, message = self._mine[kind], b""
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
