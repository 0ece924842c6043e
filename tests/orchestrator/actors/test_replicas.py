from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import distributed as dist
from torch import nn

from orchestrator.actors import replicas as module_of_replicas
from orchestrator.actors.replicas import GradientSums, Replicas
from orchestrator.actors.transport import open_store

HOST = "127.0.0.1"


@pytest.fixture(scope="module")
def together():
    """Calls a function in three threads, with the holders of one part in as many replicas."""
    _store, rendezvous = open_store(HOST, timeout=30)
    with ThreadPoolExecutor(3) as pool:

        def holder(replica):
            where = dist.PrefixStore("holders", rendezvous.join())
            options = {"host": HOST, "device": torch.device("cpu"), "timeout": 30.0}
            return Replicas(where, name="holders", replica=replica, size=3, **options)

        holders = list(pool.map(holder, (1, 2, 3)))
        yield lambda act: list(pool.map(act, holders, range(3)))


class Net(nn.Module):
    """Parameters of all kinds: used once, twice, never, now and then, complex."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)

        def parameter(*shape, dtype=torch.float64):
            return nn.Parameter(torch.randn(shape, dtype=dtype, generator=generator))

        self.first, self.again, self.never = parameter(4, 5), parameter(5, 5), parameter(3)
        self.sometimes, self.waves = parameter(5), parameter(5, dtype=torch.complex128)
        self.last = parameter(5, 2)

    def forward(self, x, sometimes):
        x = torch.tanh(torch.tanh(x @ self.first @ self.again) @ self.again)
        if sometimes:
            x = x * self.sometimes
        return (x * self.waves).abs() @ self.last


def loss_of(net, x, y, sometimes=True):
    return F.mse_loss(net(x, sometimes), y)


def test_sums_are_the_gradients_of_the_whole_batch_bit_for_bit_the_same_everywhere(together, monkeypatch):
    monkeypatch.setattr(module_of_replicas, "BUCKET_BYTES", 200)  # several buckets
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.randn(8, n, dtype=torch.float64, generator=generator) for n in (4, 2))
    rows = [slice(0, 3), slice(3, 6), slice(6, 8)]

    def train(holder, rank):
        net, found = Net(), []
        sums = GradientSums(holder, list(net.parameters()), completed_later=[net.first])
        for _ in range(3):
            net.zero_grad()
            part = rows[rank]
            (loss_of(net, x[part], y[part], rank == 1) * len(x[part]) / 8).backward()
            with torch.no_grad():
                net.first.grad += 1.0  # what comes from elsewhere
            sums.finish()
            found.append({n: None if p.grad is None else p.grad.clone() for n, p in net.named_parameters()})
        return found

    found = together(train)
    net = Net()
    sum(loss_of(net, x[part], y[part], i == 1) * len(x[part]) / 8 for i, part in enumerate(rows)).backward()
    net.first.grad += 3.0
    for of_replica in found:
        for gradients in of_replica:
            assert gradients["never"] is None
            for name, parameter in net.named_parameters():
                if parameter.grad is not None:
                    torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-12, atol=1e-14)
                    assert torch.equal(gradients[name], found[0][0][name])


def test_what_comes_first_is_summed_before_the_backward_pass_is_over(together, monkeypatch):
    monkeypatch.setattr(module_of_replicas, "BUCKET_BYTES", 1)

    def train(holder, rank):
        net = nn.Sequential(*(nn.Linear(3, 3) for _ in range(4)))
        sums = GradientSums(holder, list(net.parameters()))
        sent, of_steps = [], []
        net[0].weight.register_hook(lambda gradient: sent.append(holder.bytes_sent - before))
        for _ in range(2):
            before = holder.bytes_sent
            net(torch.ones(2, 3)).sum().backward()
            sums.finish()
            of_steps.append(holder.bytes_sent - before)
        # In the first step nothing, in the second all but the first layer.
        return sent[0], sent[1] / of_steps[1], of_steps

    for nothing, most, (first, second) in together(train):
        assert nothing == 0
        assert most >= 0.7
        assert first == second  # an epoch sends as much when it is the first after a loss


def test_running_statistics_become_the_first_replicas(together):
    def train(holder, rank):
        norm = nn.BatchNorm1d(2)
        norm(torch.full((3, 2), float(rank)))
        holder.share_buffers(norm)
        return norm.state_dict()

    first, *others = together(train)
    assert first["running_mean"].tolist() == [0.0, 0.0]
    for other in others:
        for name, value in first.items():
            assert torch.equal(other[name], value), name
