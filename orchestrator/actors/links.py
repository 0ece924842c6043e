"""How two actors get a link: through memory where they share a host, else by NCCL or Gloo."""

import os
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import distributed as dist

from orchestrator.actors.group_link import GroupLink
from orchestrator.actors.local_link import N_KINDS, LocalLink
from orchestrator.actors.mailbox import Mailbox, attach, offer
from orchestrator.actors.transport import Link, as_transport_error


def connect_link(
    store: dist.Store,
    *,
    name: str,
    rank: int,
    host: str,
    device: torch.device,
    timeout: float,
    inbox_bytes: int,
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

    Raises:
        TransportError: the peer does not appear in time.
    """
    with as_transport_error(name):
        local = _connect_locally(dist.PrefixStore(name, store), name, rank, device, timeout, inbox_bytes)
    return local or GroupLink(store, name=name, rank=rank, host=host, device=device, timeout=timeout)


def _connect_locally(
    store: dist.Store, name: str, rank: int, device: torch.device, timeout: float, inbox_bytes: int
) -> LocalLink | None:
    """A link through memory, if each side computes on a processor and can attach to the other's mailbox."""
    able = device.type == "cpu" and hasattr(os, "memfd_create")
    offered: AbstractContextManager[tuple[Mailbox | None, str]] = (
        offer(inbox_bytes, n_pipes=N_KINDS) if able else nullcontext((None, ""))
    )
    peer = 1 - rank
    with offered as (mine, address):
        store.set(f"mailbox-{rank}", address)
        theirs = attach(store.get(f"mailbox-{peer}").decode())
        store.set(f"attached-{rank}", str(theirs is not None))
        attached = store.get(f"attached-{peer}") == b"True"
    if mine is None or theirs is None or not attached:
        return None
    return LocalLink(name, mine, theirs, timeout=timeout)
