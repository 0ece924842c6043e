"""How tensors travel between two actors: NCCL between GPUs, Gloo elsewhere.

Each pair of actors that talk has a two-rank process group of its own, so that a dead peer spoils
nothing but its own link.

    driver ◀──▶ subnetwork j         activations forth, gradients back, the driver's word
    subnetwork j ◀──▶ j + 1          the (tiny) C^{j+1} that both hold
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import torch
from torch import Tensor
from torch import distributed as dist

from orchestrator.reason import reason


class TransportError(RuntimeError):
    """The peer of a link is gone or silent."""


class Transfer(Protocol):
    """A transfer under way."""

    def wait(self) -> None:
        """Return once the tensor may be read (received) or changed (sent) on the current stream.

        Raises:
            TransportError: the peer died, or kept silent longer than the link's timeout.
        """


@dataclass(frozen=True)
class Rendezvous:
    """Where actors find each other: a TCP store of the process that watches them.

    Attributes:
        host: address of the machine that holds the store.
        port: its port.
        timeout: seconds to wait for a peer, when connecting and in every transfer.
    """

    host: str
    port: int
    timeout: float

    def join(self) -> dist.Store:
        """Connect to the store as a client.

        Raises:
            TransportError: nobody answers.
        """
        with _as_transport_error(f"the store at {self.host}:{self.port}"):
            return dist.TCPStore(
                self.host, self.port, is_master=False, timeout=timedelta(seconds=self.timeout)
            )


def open_store(host: str, timeout: float) -> tuple[dist.Store, Rendezvous]:
    """Open a TCP store on a free port of this machine; it lives as long as the returned object."""
    store = dist.TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=timeout))
    return store, Rendezvous(host, store.port, timeout)


class Link:
    """A connection to one peer.

    Args:
        store: where the two find each other.
        name: the link's name, the same on both sides.
        rank: 0 on one side, 1 on the other.
        host: this machine's address, as the peer can reach it.
        device: where this side's tensors live.
        timeout: seconds to wait for the peer.

    Attributes:
        bytes_sent: how much this side has sent so far.

    Raises:
        TransportError: the peer does not appear in time.
    """

    def __init__(
        self, store: dist.Store, *, name: str, rank: int, host: str, device: torch.device, timeout: float
    ) -> None:
        self.name = name
        self.bytes_sent = 0
        self._peer = 1 - rank
        self._device = device
        self._timeout = timedelta(seconds=timeout)
        with _as_transport_error(name):
            store = dist.PrefixStore(name, store)
            # The words and all CPU tensors go by Gloo, also where tensors go by NCCL.
            options = dist.ProcessGroupGloo._Options()
            options._timeout = self._timeout
            options._devices = [dist.ProcessGroupGloo.create_device(hostname=host)]
            self._gloo = dist.ProcessGroupGloo(dist.PrefixStore("gloo", store), rank, 2, options)
            store.set(f"device-{rank}", _identity(device))
            ours, theirs = _identity(device), store.get(f"device-{self._peer}").decode()
            self._nccl: dict[int, dist.ProcessGroupNCCL] = {}
            # NCCL refuses two ranks on one GPU; such a pair goes through host memory.
            if ours.startswith("cuda") and theirs.startswith("cuda") and ours != theirs:
                # A group for each direction, by its sender: what one group is given runs in that order
                # on one stream, and a receive posted ahead must not hold up what is sent meanwhile.
                for sender in (0, 1):
                    nccl_options = dist.ProcessGroupNCCL.Options()
                    nccl_options._timeout = self._timeout
                    self._nccl[sender] = dist.ProcessGroupNCCL(
                        dist.PrefixStore(f"nccl-{sender}", store), rank, 2, nccl_options
                    )

    @property
    def backend(self) -> str:
        """``"nccl"`` or ``"gloo"``."""
        return "nccl" if self._nccl else "gloo"

    def send(self, tensor: Tensor) -> Transfer:
        """Start sending; leave the tensor unchanged until the transfer's ``wait`` returns."""
        with _as_transport_error(self.name):
            tensor = tensor.contiguous()
            self.bytes_sent += tensor.nbytes
            if self._nccl:
                return _Pending(self, self._nccl[1 - self._peer].send([tensor], self._peer, 0), tensor)
            staged = tensor.cpu()  # the tensor itself where it is on the CPU already
            return _Pending(self, self._gloo.send([staged], self._peer, _TENSOR), staged)

    def receive(self, out: Tensor) -> Transfer:
        """Start receiving into ``out``, of the shape and type that the peer sends.

        Raises:
            ValueError: ``out`` is not contiguous.
        """
        if not out.is_contiguous():
            raise ValueError(f"{self.name}: a tensor can only be received into contiguous memory")
        with _as_transport_error(self.name):
            if self._nccl:
                return _Pending(self, self._nccl[self._peer].recv([out], self._peer, 0), out)
            if out.device.type == "cpu":
                return _Pending(self, self._gloo.recv([out], self._peer, _TENSOR), out)
            staged = torch.empty_like(out, device="cpu", pin_memory=True)
            return _Pending(self, self._gloo.recv([staged], self._peer, _TENSOR), staged, copy_to=out)

    def send_word(self, *values: float) -> Transfer:
        """Start sending a few numbers, host to host."""
        word = torch.tensor(values, dtype=torch.float64)
        self.bytes_sent += word.nbytes
        with _as_transport_error(self.name):
            return _Pending(self, self._gloo.send([word], self._peer, _WORD), word)

    def receive_word(self, length: int) -> list[float]:
        """Wait for ``length`` numbers from the peer."""
        word = torch.empty(length, dtype=torch.float64)
        with _as_transport_error(self.name):
            self._gloo.recv([word], self._peer, _WORD).wait(self._timeout)
        return word.tolist()


_TENSOR, _WORD = 0, 1  # Gloo's tags: words and tensors of one link do not wait for each other


@dataclass(frozen=True)
class _Pending:
    """A transfer under way; holds the tensor, which must outlive it."""

    link: Link
    work: dist.Work
    tensor: Tensor
    copy_to: Tensor | None = None

    def wait(self) -> None:
        with _as_transport_error(self.link.name):
            self.work.wait(self.link._timeout)
        if self.copy_to is not None:
            self.copy_to.copy_(self.tensor)


@contextmanager
def _as_transport_error(name: str) -> Iterator[None]:
    """Name the link in what torch raises when a peer is gone."""
    try:
        yield
    except RuntimeError as error:
        raise TransportError(f"{name}: {reason(error)}") from error


def _identity(device: torch.device) -> str:
    """A name that two actors share only if they use the same device."""
    if device.type != "cuda":
        return f"cpu of {socket.gethostname()}"
    return f"cuda {torch.cuda.get_device_properties(device).uuid}"
