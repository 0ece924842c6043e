"""GroupLink: between any two processes, by Gloo; a GPU's tensors pass through its host's memory."""

from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import torch
from torch import Tensor
from torch import distributed as dist

from orchestrator.actors.gloo import TENSORS, GlooTransfer, GlooWords, gloo_group
from orchestrator.actors.pipes import Pipes
from orchestrator.actors.staging import Staging, host_memory
from orchestrator.actors.transport import Transfer, as_transport_error
from orchestrator.actors.words import SpeakingLink


class GroupLink(SpeakingLink):
    """A :class:`Link` by a group of two ranks.

    Arguments are those of :func:`orchestrator.actors.links.connect_link`, and:

    Args:
        pipes: the way of words where both sides are on one host; else these go by Gloo too.

    Raises:
        TransportError: the peer does not appear in time.
    """

    backend = "gloo"

    def __init__(
        self,
        store: dist.Store,
        *,
        name: str,
        rank: int,
        host: str,
        device: torch.device,
        timeout: float,
        pipes: Pipes | None = None,
    ) -> None:
        self._peer = 1 - rank
        self._timeout = timeout
        with as_transport_error(name):
            store = dist.PrefixStore(f"{name}/gloo", store)
            self._group = gloo_group(store, rank=rank, host=host, timeout=timeout)
        super().__init__(name, pipes or GlooWords(name, self._group, self._peer, timeout))
        self._staging: Staging | None = None
        if device.type == "cuda":
            self._staging = Staging(name, device, partial(_send, self._group, self._peer, timeout))

    def send(self, tensor: Tensor) -> Transfer:
        """See :meth:`Link.send`."""
        self._tensor_bytes += tensor.nbytes
        if self._staging is not None:
            return self._staging.send(tensor)
        tensor = tensor.contiguous()
        with as_transport_error(self.name):
            work = self._group.send([tensor], self._peer, TENSORS)
        return GlooTransfer(self.name, work, tensor, self._timeout)

    def receive(self, out: Tensor) -> Transfer:
        """See :meth:`Link.receive`."""
        self._require_contiguous(out)
        received = out if self._staging is None else host_memory(out)
        with as_transport_error(self.name):
            work = self._group.recv([received], self._peer, TENSORS)
        transfer = GlooTransfer(self.name, work, received, self._timeout)
        return transfer if received is out else _Unstaging(transfer, out)


def _send(group: dist.ProcessGroupGloo, peer: int, timeout: float, tensor: Tensor) -> None:
    """Send, and wait until it is over."""
    group.send([tensor], peer, TENSORS).wait(timedelta(seconds=timeout))


@dataclass(frozen=True)
class _Unstaging:
    """A tensor on its way through the host's memory to a GPU."""

    received: GlooTransfer
    out: Tensor

    def wait(self) -> None:
        self.received.wait()
        self.out.copy_(self.received.tensor, non_blocking=True)
