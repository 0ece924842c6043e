"""LocalLink: between two processes that compute on processors of one host, through memory both see."""

from torch import Tensor

from orchestrator.actors.inbox_link import InboxLink
from orchestrator.actors.mailbox import Mailbox
from orchestrator.actors.pipes import Pipes
from orchestrator.actors.transport import DONE, Transfer


class LocalLink(InboxLink):
    """A :class:`Link` through a mailbox of each side.

    Args:
        name: the link's name, for errors.
        mine: this side's mailbox.
        theirs: the peer's.
        timeout: seconds to wait for the peer.
    """

    backend = "shared memory"

    def __init__(self, name: str, mine: Mailbox, theirs: Mailbox, *, timeout: float) -> None:
        pipes = Pipes(name, mine.pipes, theirs.pipes, timeout=timeout)
        super().__init__(name, pipes, mine.memory, theirs.memory)
        self._give_up()

    def _write(self, place: Tensor, tensor: Tensor) -> Transfer:
        place.copy_(tensor)
        return DONE
