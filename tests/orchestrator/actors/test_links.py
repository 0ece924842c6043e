"""What every link does, whichever kind the two sides get."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from orchestrator.actors import links
from orchestrator.actors.links import Side, connect_link, gpu_name, kind_of_link
from orchestrator.actors.transport import TransportError, open_store

HOST = "127.0.0.1"
CPU = torch.device("cpu")


ROOM = 16_000_000  # bytes


@pytest.fixture(params=["shared memory", "gloo", "gloo, words by pipes", "gloo, no Linux"])
def way(request, monkeypatch):
    """How the two sides are to be linked; as on two hosts, where the peer's memory is out of reach."""
    if request.param == "gloo":
        monkeypatch.setattr(links, "attach", lambda address: None)
    if request.param == "gloo, words by pipes":  # as two actors on one GPU
        monkeypatch.setattr(links, "kind_of_link", lambda *sides, one_host: "gloo")
    if request.param == "gloo, no Linux":
        monkeypatch.delattr(os, "memfd_create")
    return request.param


@pytest.fixture
def backend(way):
    """What tensors travel by."""
    return way.split(",")[0]


@pytest.fixture
def connect(backend):
    """Makes both ends of a link; the other end meets the store as a client, like a subnetwork."""
    store, rendezvous = open_store(HOST, timeout=30)
    client = rendezvous.join()

    def connect(name, timeout=30.0):
        options = {"name": name, "host": HOST, "device": CPU, "timeout": timeout, "inbox_bytes": ROOM}
        with ThreadPoolExecutor(1) as pool:
            there = pool.submit(connect_link, client, rank=1, **options)
            here = connect_link(store, rank=0, **options)
            assert here.backend == there.result().backend == backend
            return here, there.result()

    return connect


def receive(link, like):
    out = torch.empty(like.shape, dtype=like.dtype)
    link.receive(out).wait()
    return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_arrive_bit_for_bit_both_ways(connect, dtype):
    here, there = connect("link")
    tensor = torch.randn(4, 3, 5, 2, dtype=dtype)
    for sender, receiver in ((here, there), (there, here)):
        sent = sender.send(tensor)
        assert torch.equal(receive(receiver, tensor), tensor)
        sent.wait()


def test_a_tensor_of_many_megabytes_and_one_of_a_single_value(connect):
    here, there = connect("link")
    for tensor in (torch.randn(3_000_000), torch.randn(1)):
        with ThreadPoolExecutor(1) as pool:
            arrived = pool.submit(receive, there, tensor)
            here.send(tensor).wait()
            assert torch.equal(arrived.result(), tensor)


def test_tensors_of_one_link_arrive_in_the_order_sent(connect):
    here, there = connect("link")
    tensors = [torch.full((10,), float(i)) for i in range(20)]
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(lambda: [here.send(tensor).wait() for tensor in tensors])
        assert [receive(there, tensor).tolist() for tensor in tensors] == [t.tolist() for t in tensors]
        sent.result()


def test_a_tensor_that_is_no_block_of_memory_is_sent_as_it_looks(connect):
    here, there = connect("link")
    tensor = torch.randn(6, 4).t()[::2]
    sent = here.send(tensor)
    assert torch.equal(receive(there, tensor), tensor)
    sent.wait()


def test_words_are_exact(connect):
    here, there = connect("link")
    sent = here.send_word(0.1, True, 1e-300)
    assert there.receive_word(3) == [0.1, 1.0, 1e-300]
    sent.wait()


@pytest.mark.parametrize("word_first", [True, False])
def test_words_and_tensors_do_not_wait_for_each_other(connect, word_first):
    """The driver's word may come before or after a gradient: neither is taken for the other."""
    here, there = connect("link")
    tensor = torch.randn(2, dtype=torch.float64)  # as long as the word
    if word_first:
        sent = [here.send_word(1.0, 2.0), here.send(tensor)]
        assert torch.equal(receive(there, tensor), tensor)
        assert there.receive_word(2) == [1.0, 2.0]
    else:
        sent = [here.send(tensor), here.send_word(1.0, 2.0)]
        assert there.receive_word(2) == [1.0, 2.0]
        assert torch.equal(receive(there, tensor), tensor)
    for transfer in sent:
        transfer.wait()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_links_are_received_from_in_any_order(connect, order):
    """The driver needs r_1 first, whichever subnetwork is done first."""
    links = [connect(f"link {j}") for j in range(3)]
    outs = [torch.empty(4) for _ in links]
    arriving = [here.receive(out) for (here, _), out in zip(links, outs, strict=True)]
    sent = [links[j][1].send(torch.full((4,), float(j))) for j in order]
    for j, transfer in enumerate(arriving):
        transfer.wait()
        assert outs[j].tolist() == [j] * 4
    for transfer in sent:
        transfer.wait()


def test_both_ends_may_send_before_they_receive(connect):
    """Neighbouring subnetworks do: weights one way, gradients the other."""
    here, there = connect("link")
    a, b = torch.randn(300_000), torch.randn(300_000)
    sent = [here.send(a), there.send(b)]
    assert torch.equal(receive(there, a), a)
    assert torch.equal(receive(here, b), b)
    for transfer in sent:
        transfer.wait()


@pytest.mark.parametrize("what", ["tensor", "word"])
def test_a_silent_peer_is_an_error_after_the_timeout(connect, what):
    here, _there = connect("driver to subnetwork 7", timeout=0.3)
    start = time.monotonic()
    with pytest.raises(TransportError, match=r"^driver to subnetwork 7: .*(0.3 s|300ms)"):
        here.receive(torch.empty(3)).wait() if what == "tensor" else here.receive_word(2)
    assert 0.3 <= time.monotonic() - start < 5


def test_a_peer_that_never_comes_is_an_error_after_the_timeout(capfd):
    store, _ = open_store(HOST, timeout=0.3)
    options = {"host": HOST, "device": CPU, "timeout": 0.3, "inbox_bytes": 0}
    with pytest.raises(TransportError, match=r"^subnetwork 1 to 2: "):
        connect_link(store, name="subnetwork 1 to 2", rank=0, **options)


PEER = """
import sys
import torch
from orchestrator.actors import links
from orchestrator.actors.transport import Rendezvous

if sys.argv[2] == "gloo":
    links.attach = lambda address: None
if sys.argv[2] == "gloo, words by pipes":
    links.kind_of_link = lambda *sides, one_host: "gloo"
rendezvous = Rendezvous("127.0.0.1", int(sys.argv[1]), 60)
options = {"host": "127.0.0.1", "device": torch.device("cpu"), "timeout": 60, "inbox_bytes": 12}
link = links.connect_link(rendezvous.join(), name="doomed", rank=1, **options)
link.send(torch.arange(3.0)).wait()
sys.stdin.read()
"""


def test_a_dead_peer_is_an_error_at_once_on_its_own_link_only(connect, way):
    store, rendezvous = open_store(HOST, timeout=60)
    command = [sys.executable, "-c", PEER, str(rendezvous.port), way]
    peer = subprocess.Popen(command, stdin=subprocess.PIPE)
    try:
        options = {"host": HOST, "device": CPU, "timeout": 60, "inbox_bytes": 12}
        doomed = connect_link(store, name="doomed", rank=0, **options)
        assert receive(doomed, torch.empty(3)).tolist() == [0, 1, 2]
        threading.Timer(0.1, peer.kill).start()  # while it is waited for
        start = time.monotonic()
        with pytest.raises(TransportError, match=r"^doomed: "):
            receive(doomed, torch.empty(3))
        assert time.monotonic() - start < 5
        peer.wait()  # the kernel closes what it had open one after the other
        with pytest.raises(TransportError, match=r"^doomed: "):
            doomed.send_word(0.1, 1.0).wait()
    finally:
        peer.kill()
        peer.communicate()

    here, there = connect("sound")
    sent = here.send(torch.ones(2))
    assert receive(there, torch.empty(2)).tolist() == [1, 1]
    sent.wait()


PROCESSOR = Side(gpu="", cuda_ipc=False)
GPUS = {
    (gpu, cuda_ipc): Side(gpu=gpu, cuda_ipc=cuda_ipc)
    for gpu in ("a 0:1:0", "a 0:2:0", "b 0:1:0")
    for cuda_ipc in (False, True)
}


@pytest.mark.parametrize(
    ("ours", "theirs", "one_host", "kind"),
    [
        (PROCESSOR, PROCESSOR, True, "shared memory"),
        (PROCESSOR, PROCESSOR, False, "gloo"),
        (PROCESSOR, GPUS["a 0:1:0", True], True, "gloo"),
        (GPUS["a 0:1:0", True], GPUS["a 0:1:0", True], True, "cuda ipc"),
        (GPUS["a 0:1:0", True], GPUS["a 0:2:0", True], True, "cuda ipc"),
        (GPUS["a 0:1:0", True], GPUS["a 0:1:0", False], True, "gloo"),  # NCCL refuses them
        (GPUS["a 0:1:0", False], GPUS["a 0:2:0", True], True, "nccl"),
        (GPUS["a 0:1:0", False], GPUS["b 0:1:0", False], False, "nccl"),
        (GPUS["a 0:1:0", True], GPUS["a 0:2:0", True], False, "nccl"),  # in containers, say
        (GPUS["a 0:1:0", True], GPUS["a 0:1:0", True], False, "gloo"),
    ],
)
def test_the_kind_of_link_is_the_same_from_both_sides(ours, theirs, one_host, kind):
    assert kind_of_link(ours, theirs, one_host=one_host) == kind
    assert kind_of_link(theirs, ours, one_host=one_host) == kind


def test_sides_that_ask_for_different_things_get_the_same_link():
    store, rendezvous = open_store(HOST, timeout=30)
    options = {"name": "link", "host": HOST, "device": CPU, "timeout": 30, "inbox_bytes": 8}
    with ThreadPoolExecutor(1) as pool:
        there = pool.submit(connect_link, rendezvous.join(), rank=1, cuda_ipc=True, **options)
        here = connect_link(store, rank=0, **options)
        assert here.backend == there.result().backend == "shared memory"


def test_a_processor_has_no_gpus_name():
    assert gpu_name(CPU, HOST) == ""


def test_a_gpu_is_named_by_its_place(monkeypatch):
    """Slices of one GPU have it in common, GPUs of two hosts do not."""

    class Gpu:
        pci_domain_id, pci_bus_id, pci_device_id = 0, 0x1A, 0
        uuid = "GPU-1"

    class OfOlderTorch:
        uuid = "GPU-1"

    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Gpu)
    assert gpu_name(gpu, HOST) == f"{HOST} 0:1a:0"
    assert gpu_name(gpu, HOST) != gpu_name(gpu, "10.0.0.2")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: OfOlderTorch)
    assert gpu_name(gpu, HOST) == f"{HOST} GPU-1"
