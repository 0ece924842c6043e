from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
import torch
from torch import distributed as dist

from models.mlp import mlp
from models.tearing import plan_tearing
from orchestrator.actors.metrics import Totals
from orchestrator.actors.process_group import ProcessGroupActor
from orchestrator.actors.transport import TransportError, open_store
from orchestrator.config import Sweep
from orchestrator.data.datasets import load_dataset
from orchestrator.devices import GangResources


class Member(ProcessGroupActor):
    """A member of a group, without a network."""

    def build(self):
        self.module = torch.nn.Identity()

    def train_step(self, epoch, step, rate, total):
        return torch.tensor(0.0)

    def validate(self):
        return Totals(self.task, self.device)


@pytest.fixture
def member():
    config = Sweep(
        n_subnetworks=(2,), seed=(0,), dataset=("synthetic:1x4x4x3x24",), batch_size=(8,)
    ).trials()[0]
    data = load_dataset(config.dataset)
    tearing = plan_tearing(mlp(input_shape=(1, 4, 4), n_classes=3), 2)
    return Member(
        replace(config, strategy="gpipe"), tearing, 2, data, GangResources(2, "cpu", 0.1, 0.0), name="stage"
    )


def wait_for_a_silent_peer():
    """What torch itself raises."""
    store, rendezvous = open_store("127.0.0.1", timeout=30)
    timeout = timedelta(seconds=0.2)
    with ThreadPoolExecutor(1) as pool:
        peer = pool.submit(dist.ProcessGroupGloo, rendezvous.join(), 1, 2, timeout)
        group = dist.ProcessGroupGloo(store, 0, 2, timeout)
        peer.result()
    group.recv([torch.empty(1)], 1, 0).wait()


def test_a_silent_peer_is_told_by_its_actor(member):
    with pytest.raises(TransportError, match=r"^stage-2: .*Timed out"), member.lost_peers():
        wait_for_a_silent_peer()


def test_a_store_that_nobody_serves_is_a_lost_peer(member):
    with pytest.raises(TransportError, match=r"^stage-2: "), member.lost_peers():
        dist.TCPStore("127.0.0.1", 1, is_master=False, timeout=timedelta(seconds=0.2))


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ValueError("batch"), MemoryError()])
def test_an_actors_own_errors_stay_what_they_are(member, error):
    with pytest.raises(type(error)) as raised, member.lost_peers():
        raise error
    assert raised.value is error
