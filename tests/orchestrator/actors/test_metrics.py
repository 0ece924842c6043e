"""Loss and metric over batches of any size, and whether a loss was finite."""

import math

import pytest
import torch
from torch.nn import functional as F

from models.task import Classification
from orchestrator.actors.metrics import FiniteWatch, Totals

CPU, TASK = torch.device("cpu"), Classification()


@pytest.mark.parametrize("sizes", [(12,), (5, 7), (1, 2, 9)])
def test_totals_do_not_depend_on_how_images_are_cut_into_batches(sizes):
    torch.manual_seed(0)
    logits, labels = torch.randn(12, 4), torch.arange(12) % 4
    total = Totals(TASK, CPU)
    for some, theirs in zip(logits.split(sizes), labels.split(sizes), strict=True):
        total.add(F.cross_entropy(some, theirs), some, theirs)
    assert total.loss == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-6)
    assert total.metric == pytest.approx(100 * float((logits.argmax(dim=1) != labels).float().mean()))


def test_sums_of_several_processes_add_up():
    logits, labels = torch.eye(4), torch.tensor([0, 1, 2, 0])
    whole, first, second = Totals(TASK, CPU), Totals(TASK, CPU), Totals(TASK, CPU)
    for total, part in ((whole, slice(4)), (first, slice(3)), (second, slice(3, 4))):
        total.add(F.cross_entropy(logits[part], labels[part]), logits[part], labels[part])
    assert whole.metric == 25.0
    assert torch.allclose(first.sums + second.sums, whole.sums)


def test_a_total_keeps_no_graph():
    logits = torch.randn(2, 3, requires_grad=True)
    total = Totals(TASK, CPU)
    total.add(logits.sum(), logits, torch.tensor([0, 1]))
    assert not total.sums.requires_grad


def test_a_total_stays_where_it_is():
    logits, labels = torch.eye(3), torch.tensor([0, 1, 0])
    total = Totals(TASK, CPU)
    sums = total.sums
    total.add(torch.tensor(1.5), logits, labels)
    assert total.sums is sums
    assert sums.dtype == torch.float64
    assert sums.tolist() == [4.5, 3, 1, 3]


@pytest.mark.parametrize(("loss", "finite"), [(1.5, True), (math.inf, False), (math.nan, False)])
def test_the_watch_tells_what_it_looked_at_last(loss, finite):
    watch = FiniteWatch(CPU)
    assert watch.finite()
    watch.look(torch.tensor(loss, requires_grad=True))
    assert watch.finite() is finite
    watch.look(torch.tensor(0.0))
    assert watch.finite()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_adding_and_looking_do_not_wait_for_a_gpu():
    device = torch.device("cuda")
    loss, logits, labels = (x.to(device) for x in (torch.ones(()), torch.eye(3), torch.arange(3)))
    total, watch = Totals(TASK, device), FiniteWatch(device)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(2):
            total.add(loss, logits, labels)
            watch.look(loss)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert watch.finite()
    assert total.sums.tolist() == [6, 6, 0, 6]
