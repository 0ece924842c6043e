import io
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models.mlp import mlp
from models.tearing import plan_tearing
from orchestrator.actors import actor as module_of_actor
from orchestrator.actors.actor import Actor
from orchestrator.actors.learning_rate import learning_rate
from orchestrator.actors.metrics import Totals
from orchestrator.config import Sweep
from orchestrator.data.datasets import load_dataset
from orchestrator.devices import GangResources

CONFIG = replace(
    Sweep(n_subnetworks=(2,), seed=(0,)).trials()[0],
    dataset="synthetic:1x4x4x3x24",
    batch_size=8,
    epochs=4,
    milestones=(2,),
)
DATA = load_dataset(CONFIG.dataset)
TEARING = plan_tearing(mlp(input_shape=(1, 4, 4), n_classes=3), 2)


def module():
    torch.manual_seed(5)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 3))


class Whole(Actor):
    def validate(self, images):
        return None


def make_actor(part="subnetwork-1", **options):
    actor = Whole(
        replace(CONFIG, **options), TEARING, DATA, GangResources(3, "cpu", cpus=0.1, gpus=0.0), part=part
    )
    actor.own(module())
    return actor


def train(actor, epochs):
    for epoch in epochs:
        actor.start_epoch(epoch)
        actor.module.train()
        for step in range(actor.batches.n_train_steps):
            images, labels = actor.batches.train(epoch, step)
            actor.optimizer.zero_grad()
            F.cross_entropy(actor.module(images), labels).backward()
            actor.take_step(step, component="network")


def test_an_actor_restored_from_a_state_goes_on_bit_for_bit():
    """Weights, BatchNorm statistics, momentum and random draws, although no generator is saved."""
    undisturbed = make_actor()
    train(undisturbed, (1, 2, 3, 4))
    first = make_actor()
    train(first, (1, 2))
    torch.rand(7)  # a new process's generator stands elsewhere
    second = make_actor()
    second.restore(first.state())
    train(second, (3, 4))
    expected = undisturbed.module.state_dict()
    assert not torch.equal(expected["1.weight"], module()[1].weight)
    for name, value in second.module.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_a_state_is_plain_tensors():
    actor = make_actor()
    train(actor, (1,))
    state = torch.load(io.BytesIO(actor.state()), weights_only=True)
    assert state["module"].keys() == actor.module.state_dict().keys()
    assert state["optimizer"].keys() == dict(actor.module.named_parameters()).keys()


def test_a_state_of_another_network_is_refused():
    state = make_actor().state()
    other = make_actor()
    other.own(nn.Linear(2, 2))
    with pytest.raises(RuntimeError, match="Missing key"):
        other.restore(state)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_weights_and_images_have_the_precision_asked_for(precision):
    actor = make_actor(precision=precision)
    dtype = getattr(torch, precision)
    assert {p.dtype for p in actor.module.parameters()} == {actor.batches.train(1, 0)[0].dtype} == {dtype}


def test_gradients_are_those_of_the_last_step_by_name():
    actor = make_actor()
    assert actor.gradients() == {}
    train(actor, (1,))
    gradients = actor.gradients()
    assert gradients.keys() == dict(actor.module.named_parameters()).keys()
    for name, gradient in gradients.items():
        assert torch.equal(gradient, actor.module.get_parameter(name).grad)


def test_random_draws_belong_to_seed_actor_and_epoch():
    def draw(epoch=3, **options):
        make_actor(**options).start_epoch(epoch)
        return torch.rand(4).tolist()

    assert draw() == draw()
    draws = [draw(), draw(epoch=4), draw(part="subnetwork-2"), draw(seed=1)]
    assert len({tuple(values) for values in draws}) == 4


def test_every_actor_derives_the_same_batches():
    images, labels = make_actor("driver").batches.train(2, 1)
    others, same = make_actor("subnetwork-2").batches.train(2, 1)
    assert torch.equal(images, others)
    assert torch.equal(labels, same)


def test_an_epoch_starts_with_a_new_clock():
    actor = make_actor()
    actor.start_epoch(1)
    with actor.clock("subnetwork.forward"):
        pass
    actor.start_epoch(2)
    assert not actor.clock.seconds()


def test_the_rate_of_an_epochs_last_step_is_reported():
    actor = make_actor(schedule="cosine_by_step", warmup=1.0)
    actor.start_epoch(2)
    for step in range(3):
        actor.take_step(step, component="network")
    expected = learning_rate(actor.config, 2, 2, 3)
    total = Totals(actor.task, actor.device)
    total.add(torch.tensor(1.0), torch.eye(3), torch.arange(3))
    assert actor.report(True, 2.0, total).metrics["learning_rate"] == expected


def test_only_the_actor_that_computes_the_loss_reports_metrics():
    actor = make_actor()
    actor.start_epoch(1)
    actor.take_step(0, component="network")
    report = actor.report(True, 2.0)
    assert report.metrics == {}
    assert (report.completed, report.seconds) == (True, 2.0)

    training, validation = Totals(actor.task, actor.device), Totals(actor.task, actor.device)
    training.add(torch.tensor(1.5), torch.eye(3), torch.tensor([0, 1, 0]))
    validation.add(torch.tensor(0.5), torch.eye(3), torch.tensor([0, 1, 2]))
    assert actor.report(True, 2.0, training, validation).metrics == {
        "learning_rate": 0.1,
        "train_loss": 1.5,
        "train_error": pytest.approx(100 / 3),
        "validation_loss": 0.5,
        "validation_error": 0.0,
    }


def test_activities_are_means_over_the_steps_taken():
    actor = make_actor()
    actor.start_epoch(1)
    inside = []
    for _ in range(2):  # of 3: such as where the loss was not finite
        with actor.training_step(), actor.clock("subnetwork.forward"):
            start = time.perf_counter()
            torch.randn(300, 300) @ torch.randn(300, 300)
            inside.append(time.perf_counter() - start)
    report = actor.report(False, 2.0)
    assert len(report.step_seconds) == 2
    # What lies within another cannot take longer, whatever else the machine does meanwhile.
    assert sum(inside) <= 2 * report.activities["subnetwork.forward"] <= sum(report.step_seconds)
    assert 2 * report.activities["subnetwork.forward"] == actor.clock.seconds()["subnetwork.forward"]
    seconds, of_processor = (
        activities["subnetwork.forward"] for activities in (report.activities, report.processor_activities)
    )
    assert 0 < of_processor <= seconds + 1e-4  # of two clocks
    assert of_processor <= report.processor_seconds + 1e-4


_PEAK = """
import sys
from pathlib import Path
import numpy as np
from tests.orchestrator.actors.test_actor import make_actor
actor = make_actor()
actor.start_epoch(1)
few = actor.report(True, 1.0).peak_memory_bytes
np.ones(202 * 2**17)  # 202 MiB, for a moment; some 0.1 of them may lie in what has become free meanwhile
many = actor.report(True, 1.0).peak_memory_bytes
file = Path(sys.argv[1])
file.write_bytes(bytes(400 * 2**20))
pages = np.memmap(file)
assert not pages.any()  # all are resident now, and could be any other process's as well
print(few, many, actor.report(True, 1.0).peak_memory_bytes)
"""


def test_peak_memory_is_what_training_took_for_itself_in_bytes(tmp_path):
    # In a process of its own: the peak of this one has been reached by other tests.
    command = [sys.executable, "-c", _PEAK, str(tmp_path / "file")]
    output = subprocess.run(command, capture_output=True, text=True, check=True)
    few, many, with_a_file = map(int, output.stdout.split())
    assert 0 <= few < 100 * 2**20
    assert 200 * 2**20 <= many < 300 * 2**20
    assert with_a_file < 300 * 2**20


def test_memory_that_a_peer_writes_to_counts(monkeypatch):
    actor = make_actor()

    class WithInbox:
        inbox = torch.zeros(3 * 2**20, dtype=torch.uint8)

    class WithoutInbox:
        inbox = None

    # The process's own comes and goes meanwhile; here it stands still.
    monkeypatch.setattr(module_of_actor, "private_memory", lambda *, peak: actor._memory_before + 7)
    assert actor._peak_memory_bytes() == 7
    monkeypatch.setattr(actor, "links", lambda: [WithInbox(), WithoutInbox()])
    assert actor._peak_memory_bytes() == 3 * 2**20 + 7
