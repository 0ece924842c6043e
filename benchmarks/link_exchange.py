"""Two processes that pass tensors to and fro by a link, each checked to the bit: on processors or one GPU.

exchange(torch.device("cuda", 0), cuda_ipc=True, n_rounds=200, n_bytes=2**22)
"""

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from statistics import median

import torch
from torch import Tensor

from orchestrator.actors.links import connect_link
from orchestrator.actors.transport import Link, Rendezvous, open_store

HOST = "127.0.0.1"
TIMEOUT = 60.0  # seconds
PARTS = (1, 7, 2, 3)
"""The tensors' sizes in turn, as parts of the largest; in even rounds each side receives into its inbox."""


def exchange(device: torch.device, *, cuda_ipc: bool, n_rounds: int, n_bytes: int) -> dict[str, float]:
    """Send tensors to a peer process, which returns them changed.

    Args:
        device: where both sides' tensors are.
        cuda_ipc: ask for GPU memory that both sides reach; else they go through the hosts'.
        n_rounds: how often.
        n_bytes: size of the largest tensor.

    Returns:
        Of the rounds with the largest tensor, the median "round_trip_seconds", until the GPU has it; and
        how many tensors were "checked".

    Raises:
        ValueError: a tensor came back with other values than expected.
        TransportError: the peer is gone or silent.
    """
    sizes = round_sizes(n_rounds, n_bytes)
    seconds = []
    with peer(device, cuda_ipc=cuda_ipc, sizes=sizes) as (link, _):
        for i, size in enumerate(sizes):
            tensor = _contents(i, size, device)
            out = _place(link, i, size, device)
            _synchronize(device)
            start = time.perf_counter()
            arriving = link.receive(out)
            sent = link.send(tensor)
            arriving.wait()
            sent.wait()
            _synchronize(device)
            seconds.append(time.perf_counter() - start)
            wrong = (out != tensor + 1).sum().item()
            if wrong:
                raise ValueError(
                    f"round {i}: {wrong:g} of {size} values came back wrong by {link.backend}; "
                    "sender and receiver are not in order"
                )
        link.send_word(1.0).wait()  # the peer may go
    largest = [time for time, size in zip(seconds, sizes, strict=True) if size == sizes[0]]
    return {"round_trip_seconds": median(largest), "checked": float(len(sizes))}


def round_sizes(n_rounds: int, n_bytes: int) -> list[int]:
    """How many values of 4 bytes each round's tensor has."""
    return [max(1, n_bytes // 4 // PARTS[i % len(PARTS)]) for i in range(n_rounds)]


@contextmanager
def peer(device: torch.device, *, cuda_ipc: bool, sizes: list[int]) -> Iterator[tuple[Link, BaseProcess]]:
    """A link to a new process that returns tensors of these sizes, each value raised by 1; ends it."""
    store, rendezvous = open_store(HOST, TIMEOUT)
    process = multiprocessing.get_context("spawn").Process(
        target=_answer, args=(rendezvous, device, cuda_ipc, sizes), daemon=True
    )
    process.start()
    try:
        yield _connect(store, 0, device, cuda_ipc, sizes), process
        process.join(TIMEOUT)
    finally:
        process.kill()
        process.join()


def _answer(rendezvous: Rendezvous, device: torch.device, cuda_ipc: bool, sizes: list[int]) -> None:
    """What the peer does."""
    link = _connect(rendezvous.join(), 1, device, cuda_ipc, sizes)
    sent = None
    for i, size in enumerate(sizes):
        out = _place(link, i, size, device)
        link.receive(out).wait()
        if sent is not None:
            sent.wait()
        sent = link.send(out + 1)
    if sent is not None:
        sent.wait()
    link.receive_word(1)


def _connect(store: object, rank: int, device: torch.device, cuda_ipc: bool, sizes: list[int]) -> Link:
    return connect_link(
        store,
        name="exchange",
        rank=rank,
        host=HOST,
        device=device,
        timeout=TIMEOUT,
        inbox_bytes=4 * max(sizes, default=1),
        cuda_ipc=cuda_ipc,
    )


def _contents(i: int, size: int, device: torch.device) -> Tensor:
    """Other values in every place and every round."""
    return torch.arange(size, dtype=torch.int32, device=device) + 1_000_003 * i


def _place(link: Link, i: int, size: int, device: torch.device) -> Tensor:
    """Where a round's tensor is received."""
    if link.inbox is not None and i % 2 == 0:
        return link.inbox.view(torch.int32)[:size]
    return torch.zeros(size, dtype=torch.int32, device=device)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
