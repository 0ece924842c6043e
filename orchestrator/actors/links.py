"""How two actors get a link: which kind, by what each of them is and reaches of the other."""

import json
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import distributed as dist

from orchestrator.actors.device_inbox import open_shared, share
from orchestrator.actors.device_link import DeviceLink
from orchestrator.actors.group_link import GroupLink
from orchestrator.actors.local_link import LocalLink
from orchestrator.actors.mailbox import Mailbox, attach, offer
from orchestrator.actors.nccl_link import NcclLink
from orchestrator.actors.pipes import Pipes
from orchestrator.actors.transport import Link, as_transport_error
from orchestrator.actors.words import N_KINDS


@dataclass(frozen=True)
class Side:
    """What one side of a link has to say of itself.

    Attributes:
        gpu: a name that two sides share only if NCCL takes their GPUs for one; empty on a processor.
        cuda_ipc: whether it was asked for.
    """

    gpu: str
    cuda_ipc: bool


def connect_link(
    store: dist.Store,
    *,
    name: str,
    rank: int,
    host: str,
    device: torch.device,
    timeout: float,
    inbox_bytes: int,
    cuda_ipc: bool = False,
) -> Link:
    """Connect to one peer; both sides get the same kind of link.

    Args:
        store: where the two find each other.
        name: the link's name, the same on both sides.
        rank: 0 on one side, 1 on the other.
        host: this machine's address, as the peer can reach it.
        device: where this side's tensors live.
        timeout: seconds to wait for the peer.
        inbox_bytes: size of the largest tensor that this side receives.
        cuda_ipc: let GPUs of one host write into each other's memory, if the peer asks for it as well.

    Raises:
        TransportError: the peer does not appear in time.
    """
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    with as_transport_error(name):
        meeting = _Meeting(dist.PrefixStore(name, store), rank)
        ours = Side(gpu_name(device, host), cuda_ipc)
        theirs = Side(**json.loads(meeting.swap("side", json.dumps(asdict(ours)))))
        boxes = _swap_mailboxes(meeting, inbox_bytes if device.type == "cpu" else 0)
        pipes = None
        if boxes is not None:
            pipes = Pipes(name, *(box.pipes for box in boxes), timeout=timeout)
        kind = kind_of_link(ours, theirs, one_host=boxes is not None)
        if kind == "shared memory" and boxes is not None:
            return LocalLink(name, *boxes, timeout=timeout)
        if kind == "cuda ipc" and pipes is not None:
            link = _device_link(meeting, name, pipes, device, inbox_bytes)
            if link is not None:
                return link
            kind = kind_of_link(Side(ours.gpu, cuda_ipc=False), theirs, one_host=True)
        between = NcclLink if kind == "nccl" else GroupLink
        return between(store, name=name, rank=rank, host=host, device=device, timeout=timeout, pipes=pipes)


def kind_of_link(
    ours: Side, theirs: Side, *, one_host: bool
) -> Literal["shared memory", "cuda ipc", "nccl", "gloo"]:
    """What tensors travel by; the same whichever side asks.

    Args:
        ours: this side.
        theirs: the peer.
        one_host: whether each can attach to the other's mailbox.
    """
    if not ours.gpu and not theirs.gpu:
        return "shared memory" if one_host else "gloo"
    if ours.gpu and theirs.gpu:
        if one_host and ours.cuda_ipc and theirs.cuda_ipc:
            return "cuda ipc"
        if ours.gpu != theirs.gpu:
            return "nccl"
    return "gloo"


def gpu_name(device: torch.device, host: str) -> str:
    """The GPU's place, as NCCL sees it: host and PCI address, which slices of one GPU share (MIG).

    NCCL refuses two ranks on one GPU. Empty for a processor.
    """
    if device.type != "cuda":
        return ""
    gpu = torch.cuda.get_device_properties(device)
    parts = ("pci_domain_id", "pci_bus_id", "pci_device_id")
    if not all(hasattr(gpu, part) for part in parts):  # in some torch
        return f"{host} {gpu.uuid}"
    return f"{host} {':'.join(f'{getattr(gpu, part):x}' for part in parts)}"


@dataclass(frozen=True)
class _Meeting:
    """Where two ranks tell each other what they need to know before they have a link."""

    store: dist.Store
    rank: int

    def swap(self, what: str, value: str) -> str:
        """Say this, and wait for what the peer has to say of it."""
        self.store.set(f"{what}-{self.rank}", value)
        said: bytes = self.store.get(f"{what}-{1 - self.rank}")
        return said.decode()

    def agree(self, what: str, able: bool) -> bool:
        """Whether both sides are able."""
        return self.swap(what, str(able)) == str(True) and able


def _swap_mailboxes(meeting: _Meeting, n_bytes: int) -> tuple[Mailbox, Mailbox] | None:
    """This side's and the peer's, if both can attach to the other's."""
    offered: AbstractContextManager[tuple[Mailbox | None, str]] = nullcontext((None, ""))
    if hasattr(os, "memfd_create"):
        offered = offer(n_bytes, n_pipes=N_KINDS)
    with offered as (mine, address):
        theirs = attach(meeting.swap("mailbox", address))
        attached = meeting.agree("attached", mine is not None and theirs is not None)
    return (mine, theirs) if attached and mine is not None and theirs is not None else None


def _device_link(
    meeting: _Meeting, name: str, pipes: Pipes, device: torch.device, n_bytes: int
) -> DeviceLink | None:
    """A link through the GPUs' memory, if each reaches the other's."""
    mine, address = share(device, n_bytes)
    theirs = open_shared(meeting.swap("inbox", address), device)
    opened = meeting.agree("opened", theirs is not None)
    return DeviceLink(name, pipes, mine, theirs) if opened and theirs is not None else None
