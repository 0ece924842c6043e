"""NcclLink: between two GPUs, of one host or of two, by NCCL."""

from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor
from torch import distributed as dist

from orchestrator.actors.gloo import GlooWords, gloo_group
from orchestrator.actors.pipes import Pipes
from orchestrator.actors.transport import Transfer, TransportError, as_transport_error
from orchestrator.actors.words import TENSOR, SpeakingLink

MOST_CTAS = 4
"""Blocks of threads that a transfer takes from what is computed meanwhile; enough for an activation."""


class NcclLink(SpeakingLink):
    """A :class:`Link` by two groups of two ranks, one for each direction.

    What a group is given runs in that order on one stream, so that what is received must not be in the
    way of what is sent. A receive in NCCL is a kernel that keeps its share of the GPU busy until the
    tensor comes: it is not asked for before the sender's host has said that the tensor is on its way.

    Arguments are those of :func:`orchestrator.actors.links.connect_link`, and:

    Args:
        pipes: the way of words where both sides are on one host; else these go by Gloo.

    Raises:
        TransportError: the peer does not appear in time.
    """

    backend = "nccl"

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
        with as_transport_error(name):
            store = dist.PrefixStore(name, store)
            words = pipes or GlooWords(
                name,
                gloo_group(dist.PrefixStore("gloo", store), rank=rank, host=host, timeout=timeout),
                self._peer,
                timeout,
            )
            groups = [
                dist.ProcessGroupNCCL(dist.PrefixStore(f"nccl-{sender}", store), rank, 2, options(timeout))
                for sender in (0, 1)
            ]
            self._out, self._in = groups[rank], groups[self._peer]
            # Communicators come with the first transfer, which takes seconds: not in a step, then.
            greeting = torch.zeros(1, device=device)
            for group in groups:
                act = group.send if group is self._out else group.recv
                act([greeting], self._peer, 0).wait(timedelta(seconds=timeout))
            torch.cuda.synchronize(device)
        super().__init__(name, words)

    def send(self, tensor: Tensor) -> Transfer:
        """See :meth:`Link.send`."""
        tensor = tensor.contiguous()
        with as_transport_error(self.name):
            work = self._out.send([tensor], self._peer, 0)
        self._tensor_bytes += tensor.nbytes
        return _Sending(self.name, tensor, work, self._words.say(TENSOR, tensor.nbytes))

    def receive(self, out: Tensor) -> Transfer:
        """See :meth:`Link.receive`."""
        self._require_contiguous(out)
        return _Arrival(self, out)

    def take(self, out: Tensor) -> None:
        """Wait until what is received into ``out`` is on its way, and have the current stream wait for it."""
        (size,) = self._words.hear(TENSOR, 1)
        if size != out.nbytes:
            raise TransportError(f"{self.name}: the peer sent {size:g} bytes instead of {out.nbytes}")
        with as_transport_error(self.name):
            self._in.recv([out], self._peer, 0).wait()  # given a timeout, the host would wait


def options(timeout: float) -> "dist.ProcessGroupNCCL.Options":  # not in every build of torch
    """What the groups of a link have in common: a few blocks of threads each, first in line."""
    options = dist.ProcessGroupNCCL.Options()
    options._timeout = timedelta(seconds=timeout)
    options.is_high_priority_stream = True
    options.config.min_ctas = 1
    options.config.max_ctas = MOST_CTAS
    return options


@dataclass(frozen=True)
class _Sending:
    """A tensor on its way, and the word that says so."""

    name: str
    tensor: Tensor
    work: dist.Work
    word: Transfer

    def wait(self) -> None:
        self.word.wait()  # here a silent peer is noticed
        with as_transport_error(self.name):
            self.work.wait()


@dataclass(frozen=True)
class _Arrival:
    """A tensor that is waited for."""

    link: NcclLink
    out: Tensor

    def wait(self) -> None:
        self.link.take(self.out)
