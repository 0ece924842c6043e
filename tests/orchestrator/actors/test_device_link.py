"""Links between two processes of one host; those of GPUs where there is one."""

import time

import pytest
import torch

from benchmarks.link_exchange import exchange, peer, round_sizes
from orchestrator.actors.transport import TransportError

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
WAYS = [
    pytest.param("cpu", False, "shared memory"),
    pytest.param("cuda", True, "cuda ipc", marks=gpu),
    pytest.param("cuda", False, "gloo", marks=gpu),  # two processes on one GPU, through the host
]


@pytest.mark.parametrize(("device", "cuda_ipc", "backend"), WAYS)
def test_tensors_of_changing_sizes_come_back_as_they_should(device, cuda_ipc, backend):
    n_rounds = 40 if device == "cpu" else 200
    result = exchange(torch.device(device), cuda_ipc=cuda_ipc, n_rounds=n_rounds, n_bytes=2**20)
    assert result["checked"] == n_rounds
    assert 0 < result["round_trip_seconds"] < 1


def test_rounds_differ_in_size():
    assert round_sizes(5, 84) == [21, 3, 10, 7, 21]
    assert round_sizes(2, 4) == [1, 1]


@pytest.mark.parametrize(("device", "cuda_ipc", "backend"), WAYS)
def test_a_killed_peer_is_noticed_at_once(device, cuda_ipc, backend):
    sizes = round_sizes(10, 2**12)
    with peer(torch.device(device), cuda_ipc=cuda_ipc, sizes=sizes) as (link, process):
        assert link.backend == backend
        tensor = torch.ones(sizes[0], dtype=torch.int32, device=device)
        out = torch.empty_like(tensor)
        sent = link.send(tensor)
        link.receive(out).wait()
        sent.wait()
        assert torch.equal(out, tensor + 1)
        process.kill()
        process.join()
        start = time.monotonic()
        with pytest.raises(TransportError, match=r"^exchange: "):
            link.receive(out).wait()
        assert time.monotonic() - start < 5


@gpu
@pytest.mark.parametrize("cuda_ipc", [True, False])
def test_what_is_computed_before_is_sent_and_what_comes_after_waits(cuda_ipc):
    """A long computation, its result sent, received and read, with no host waiting for any of it."""
    size = 2**20
    with peer(torch.device("cuda"), cuda_ipc=cuda_ipc, sizes=[size] * 20) as (link, _):
        matrix = torch.eye(4096, device="cuda")
        out = torch.zeros(size, dtype=torch.int32, device="cuda")
        for i in range(20):
            product = matrix
            for _ in range(10):
                product = product @ matrix
            tensor = product.flatten()[:size].int() + i
            arriving, sent = link.receive(out), link.send(tensor)
            arriving.wait()
            sent.wait()
            expected = tensor + 1
            tensor.zero_()  # in the order of the stream: after it was copied
            assert torch.equal(out, expected)
        link.send_word(1.0).wait()
