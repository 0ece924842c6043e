from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from orchestrator.actors.group_link import GroupLink
from orchestrator.actors.transport import open_store

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
