"""DeviceLink: between two processes that compute on GPUs of one host, or both on one."""

from dataclasses import dataclass

import torch
from torch import Tensor

from orchestrator.actors.device_inbox import DeviceInbox
from orchestrator.actors.inbox_link import InboxLink
from orchestrator.actors.transport import Transfer
from orchestrator.actors.words import Words


class DeviceLink(InboxLink):
    """A :class:`Link` whose sender's GPU writes into the receiver's GPU memory.

    The words say what has been asked of the GPUs, not what they have done: READY that ``free`` is
    recorded after the last reading, TENSOR that ``written`` is recorded after the writing. Streams wait
    for these events; of the hosts, only the sender's waits, for READY. Each event is recorded anew only
    after the peer's stream has been told to wait for it, since the words alternate.

    Args:
        name: the link's name, for errors.
        words: the link's way of words.
        mine: this side's inbox.
        theirs: the peer's, as this side has opened it.
    """

    backend = "cuda ipc"

    def __init__(self, name: str, words: Words, mine: DeviceInbox, theirs: DeviceInbox) -> None:
        super().__init__(name, words, mine.memory, theirs.memory)
        self._free, self._written = mine.free, mine.written
        self._peer_free, self._peer_written = theirs.free, theirs.written
        self._device = mine.memory.device
        # Of its own: what is computed next does not wait for the peer's inbox. First in line: a peer waits.
        self._stream = torch.cuda.Stream(self._device, priority=-1)
        self._give_up()

    def _write(self, place: Tensor, tensor: Tensor) -> Transfer:
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        self._stream.wait_event(self._peer_free)
        with torch.cuda.stream(self._stream):
            place.copy_(tensor, non_blocking=True)
        self._written.record(self._stream)
        # An event of this transfer's own: it is not held up by the next.
        return _Copying(tensor, self._stream.record_event())

    def _see(self) -> None:
        torch.cuda.current_stream(self._device).wait_event(self._peer_written)

    def _give_up(self) -> None:
        self._free.record(torch.cuda.current_stream(self._device))
        super()._give_up()


@dataclass(frozen=True)
class _Copying:
    """A copy under way; holds the tensor, whose memory must not go to another meanwhile."""

    tensor: Tensor
    done: torch.cuda.Event

    def wait(self) -> None:
        torch.cuda.current_stream(self.tensor.device).wait_event(self.done)
