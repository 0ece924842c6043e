"""Gloo: groups of processes that reach each other by address alone, and words by them."""

from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor
from torch import distributed as dist

from orchestrator.actors.transport import Transfer, as_transport_error
from orchestrator.actors.words import N_KINDS

TENSORS = N_KINDS
"""Gloo's tag of tensors; words have their kind's. What has another tag is not waited for."""


def gloo_group(
    store: dist.Store, *, rank: int, host: str, timeout: float, size: int = 2
) -> dist.ProcessGroupGloo:
    """A group of two ranks, or more.

    Args:
        store: where they meet; nobody else uses it.
        rank: 0 on one side, 1 on the other, and so on.
        host: this machine's address, as the peer can reach it.
        timeout: seconds to wait for a peer.
        size: how many ranks.

    Raises:
        RuntimeError: the peer does not appear in time.
    """
    options = dist.ProcessGroupGloo._Options()
    options._timeout = timedelta(seconds=timeout)
    options._devices = [dist.ProcessGroupGloo.create_device(hostname=host)]
    return dist.ProcessGroupGloo(store, rank, size, options)


@dataclass
class GlooWords:
    """The :class:`Words` of two processes on different hosts.

    Attributes:
        name: the link's name, for errors.
        group: the two.
        peer: the other's rank.
        timeout: seconds to wait for it.
    """

    name: str
    group: dist.ProcessGroupGloo
    peer: int
    timeout: float
    bytes_sent: int = 0

    def say(self, kind: int, *values: float) -> Transfer:
        """See :meth:`Words.say`; the transfer is over when the peer has heard it."""
        word = torch.tensor(values or (0.0,), dtype=torch.float64)
        self.bytes_sent += word.nbytes
        with as_transport_error(self.name):
            return GlooTransfer(self.name, self.group.send([word], self.peer, kind), word, self.timeout)

    def hear(self, kind: int, length: int = 0) -> list[float]:
        """See :meth:`Words.hear`."""
        word = torch.empty(length or 1, dtype=torch.float64)
        with as_transport_error(self.name):
            self.group.recv([word], self.peer, kind).wait(timedelta(seconds=self.timeout))
        return word.tolist()[:length]


@dataclass(frozen=True)
class GlooTransfer:
    """A transfer under way between two hosts' memory; holds the tensor, which must outlive it."""

    name: str
    work: dist.Work
    tensor: Tensor
    timeout: float

    def wait(self) -> None:
        """See :meth:`Transfer.wait`."""
        with as_transport_error(self.name):
            self.work.wait(timedelta(seconds=self.timeout))
