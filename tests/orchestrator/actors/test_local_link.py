from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Event

import pytest
import torch

from orchestrator.actors.local_link import LocalLink
from orchestrator.actors.mailbox import attach, offer
from orchestrator.actors.transport import TransportError
from orchestrator.actors.words import N_KINDS


def connect(room=64, timeout=30.0):
    """Both ends of a link, with room for so many bytes each."""
    with ExitStack() as stack:
        boxes = [stack.enter_context(offer(room, n_pipes=N_KINDS)) for _ in range(2)]
        theirs = [attach(address) for _, address in reversed(boxes)]
    pairs = zip(boxes, theirs, strict=True)
    return [LocalLink("link", mine, box, timeout=timeout) for (mine, _), box in pairs]


def place(link, n, dtype=torch.float32):
    """So many values at the beginning of the inbox."""
    return link.inbox.view(dtype)[:n]


def test_what_is_received_into_the_inbox_is_not_copied():
    here, there = connect()
    out = place(there, 4)
    arriving = there.receive(out)
    here.send(torch.arange(4.0)).wait()
    assert out.tolist() == [0, 1, 2, 3]  # the sender has written it there
    arriving.wait()
    assert out.tolist() == [0, 1, 2, 3]


def test_it_stays_until_the_next_is_received():
    here, there = connect(timeout=0.1)
    out = place(there, 2)
    here.send(torch.ones(2))
    there.receive(out).wait()
    with pytest.raises(TransportError, match=r"^link: the peer has been silent for 0\.1 s$"):
        here.send(torch.zeros(2))
    assert out.tolist() == [1, 1]
    arriving = there.receive(out)
    here.send(torch.zeros(2))
    arriving.wait()
    assert out.tolist() == [0, 0]


def test_every_exchange_counts_as_many_bytes_as_the_first():
    here, there = connect()
    counted = []
    for _ in range(3):
        before = here.bytes_sent + there.bytes_sent
        arriving = there.receive(place(there, 2))
        here.send(torch.ones(2)).wait()
        arriving.wait()
        counted.append(here.bytes_sent + there.bytes_sent - before)
    assert counted == [8 + 8 + 1] * 3  # the tensor, its size, and the word that the inbox is free again


def test_a_sender_waits_until_the_receiver_is_ready():
    here, there = connect()
    out = place(there, 2)
    here.send(torch.ones(2))
    there.receive(out).wait()
    begun = Event()

    def send():
        begun.set()
        here.send(torch.zeros(2))

    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(send)
        begun.wait()
        assert out.sum() == 2
        there.receive(out).wait()
        sent.result()
    assert out.sum() == 0


def test_a_copy_leaves_the_inbox_to_the_next():
    here, there = connect(timeout=0.1)
    outs = [torch.empty(2), torch.empty(2)]
    for i, out in enumerate(outs):
        here.send(torch.full((2,), float(i)))
        there.receive(out).wait()
    assert [out.tolist() for out in outs] == [[0, 0], [1, 1]]


def test_a_tensor_in_any_order_of_memory_and_type_arrives_as_it_looks():
    here, there = connect()
    for tensor in (torch.randn(2, 3).t(), torch.randn(3, dtype=torch.bfloat16), torch.tensor(7.0)):
        out = torch.empty(tensor.shape, dtype=tensor.dtype)
        here.send(tensor)
        there.receive(out).wait()
        assert torch.equal(out, tensor)


def test_a_tensor_that_finds_no_room_is_refused_at_once():
    here, there = connect(room=8)
    with pytest.raises(ValueError, match=r"^link: the peer has room for 8 bytes, not for 12$"):
        here.send(torch.zeros(3))
    here.send(torch.ones(2))
    out = torch.empty(2)
    there.receive(out).wait()
    assert out.sum() == 2


def test_another_size_than_expected_is_no_number():
    here, there = connect()
    here.send(torch.ones(3))
    with pytest.raises(TransportError, match=r"^link: the peer sent 12 bytes instead of 8$"):
        there.receive(torch.empty(2)).wait()


def test_receiving_into_scattered_memory_is_refused():
    here, _ = connect()
    with pytest.raises(ValueError, match="contiguous"):
        here.receive(torch.empty(4, 4).t()[::2])


def test_bytes_sent_are_the_tensors_and_little_more():
    here, there = connect(room=4000)
    before = here.bytes_sent
    here.send(torch.ones(1000))
    here.send_word(1.0, 2.0)
    assert 4016 <= here.bytes_sent - before <= 4030
    assert there.receive_word(2) == [1, 2]


def test_a_peer_that_is_gone_is_an_error_at_once():
    here, there = connect()
    out = place(there, 2)
    here.send(torch.ones(2))
    here.send_word(3.0)
    del here
    there.receive(out).wait()  # what it sent before is not lost
    assert out.sum() == 2
    assert there.receive_word(1) == [3]
    for act in (lambda: there.receive(out), lambda: there.receive_word(1), lambda: there.send_word(1.0)):
        with pytest.raises(TransportError, match=r"^link: the peer is gone$"):
            act()
