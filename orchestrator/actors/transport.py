"""What actors know of the way between them: links, transfers, where they meet, and how it fails.

    driver ◀──▶ subnetwork j         activations forth, gradients back, the driver's word
    subnetwork j ◀──▶ j + 1          the (tiny) C^{j+1} that both hold

Each pair of actors that talk has a link of its own, so that a dead peer spoils nothing else.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

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


class _Done:
    """A transfer that is over."""

    def wait(self) -> None:
        pass


DONE: Transfer = _Done()


class Link(Protocol):
    """A connection to one peer.

    Attributes:
        backend: what tensors travel by.
        inbox: the bytes where the peer puts what it sends, if it can reach this side's memory: a tensor
            that is received into their beginning is not copied. None if it cannot.
    """

    backend: str
    inbox: Tensor | None

    @property
    def bytes_sent(self) -> int:
        """How much this side has sent so far."""

    def send(self, tensor: Tensor) -> Transfer:
        """Start sending, in the order of the current stream.

        Leave the tensor unchanged until the transfer's ``wait`` returns.
        """

    def receive(self, out: Tensor) -> Transfer:
        """Start receiving into ``out``, of the shape and type that the peer sends; one at a time.

        What was received before into the inbox is given up.

        Raises:
            ValueError: ``out`` is not contiguous.
        """

    def send_word(self, *values: float) -> Transfer:
        """Start sending a few numbers, host to host."""

    def receive_word(self, length: int) -> list[float]:
        """Wait for ``length`` numbers from the peer.

        Raises:
            TransportError: as for a transfer.
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
        with as_transport_error(f"the store at {self.host}:{self.port}"):
            return dist.TCPStore(
                self.host, self.port, is_master=False, timeout=timedelta(seconds=self.timeout)
            )


def open_store(host: str, timeout: float) -> tuple[dist.Store, Rendezvous]:
    """Open a TCP store on a free port of this machine; it lives as long as the returned object."""
    store = dist.TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=timeout))
    return store, Rendezvous(host, store.port, timeout)


@contextmanager
def as_transport_error(name: str) -> Iterator[None]:
    """Name the link in what is raised when a peer is gone, where that does not name it already."""
    try:
        yield
    except TransportError:
        raise
    except (RuntimeError, OSError) as error:
        raise TransportError(f"{name}: {reason(error)}") from error
