from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
import torch

from orchestrator.actors.group_link import GroupLink
from orchestrator.actors.mailbox import attach, offer
from orchestrator.actors.pipes import Pipes
from orchestrator.actors.transport import open_store
from orchestrator.actors.words import N_KINDS

HOST = "127.0.0.1"


@pytest.fixture
def ends():
    """Both ends of a link."""
    store, rendezvous = open_store(HOST, timeout=30)
    options = {"name": "link", "host": HOST, "device": torch.device("cpu"), "timeout": 30}
    with ThreadPoolExecutor(1) as pool:
        there = pool.submit(GroupLink, rendezvous.join(), rank=1, **options)
        return GroupLink(store, rank=0, **options), there.result()


def test_nobody_waits_for_a_receiver(ends):
    here, there = ends
    tensors = [torch.full((300_000,), float(i)) for i in range(5)]
    sent = [here.send(tensor) for tensor in tensors]
    outs = [torch.empty_like(tensor) for tensor in tensors]
    for transfer in (*[there.receive(out) for out in outs], *sent):
        transfer.wait()
    assert all(map(torch.equal, outs, tensors))


def test_there_is_no_inbox(ends):
    assert [link.inbox for link in ends] == [None, None]
    assert [link.backend for link in ends] == ["gloo", "gloo"]


def test_words_go_by_pipes_where_there_are_any():
    store, rendezvous = open_store(HOST, timeout=30)
    options = {"name": "link", "host": HOST, "device": torch.device("cpu"), "timeout": 30}
    with ExitStack() as stack, ThreadPoolExecutor(1) as pool:
        boxes = [stack.enter_context(offer(0, n_pipes=N_KINDS)) for _ in range(2)]
        pipes = [
            Pipes("link", mine.pipes, attach(address).pipes, timeout=30)
            for (mine, _), (_, address) in zip(boxes, reversed(boxes), strict=True)
        ]
        there = pool.submit(GroupLink, rendezvous.join(), rank=1, pipes=pipes[1], **options)
        here, there = GroupLink(store, rank=0, pipes=pipes[0], **options), there.result()
    out = torch.empty(3)
    sent = here.send(torch.arange(3.0)), here.send_word(5.0, 7.0)
    assert pipes[0].bytes_sent == 16
    assert here.bytes_sent == 28
    there.receive(out).wait()
    assert out.tolist() == [0, 1, 2]
    assert there.receive_word(2) == [5, 7]
    for transfer in sent:
        transfer.wait()
