"""Losses and metrics: what they are, and that they add up."""

import math

import pytest
import torch
from torch.nn import functional as F

from models.task import TASKS, Classification, NextToken, Regression, Task, build_task


def batch(task: Task) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs and targets of ten samples."""
    generator = torch.Generator().manual_seed(1)
    if isinstance(task, Classification):
        return torch.randn(10, 4, generator=generator), torch.randint(4, (10,), generator=generator)
    if isinstance(task, NextToken):
        return torch.randn(10, 3, 5, generator=generator), torch.randint(5, (10, 3), generator=generator)
    return torch.randn(10, 2, generator=generator), torch.randn(10, 2, generator=generator)


EXPECTED = {
    "classification": lambda o, t: 100 * float((o.argmax(1) != t).float().mean()),
    "regression": lambda o, t: float((o - t).square().mean().sqrt()),
    "next_token": lambda o, t: math.exp(F.cross_entropy(o.flatten(0, 1), t.flatten())),
}


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("sizes", [(10,), (3, 7), (1, 1, 8)])
def test_a_metric_does_not_depend_on_how_samples_are_cut_into_batches(
    name: str, sizes: tuple[int, ...]
) -> None:
    task = build_task(name)
    outputs, targets = batch(task)
    parts = [task.sums(o, t) for o, t in zip(outputs.split(sizes), targets.split(sizes), strict=True)]
    assert all(part.shape == (task.n_sums,) for part in parts)
    sums = torch.stack(parts).double().sum(dim=0).tolist()
    assert task.value(sums) == pytest.approx(EXPECTED[name](outputs, targets), rel=1e-6)


@pytest.mark.parametrize("name", TASKS)
def test_the_built_in_losses_are_means_over_samples_and_pass_their_check(name: str) -> None:
    task = build_task(name)
    outputs, targets = batch(task)
    task.check(tuple(outputs.shape[1:]), targets)
    assert task.is_mean(tuple(outputs.shape[1:]), targets)


def test_label_smoothing_is_torchs() -> None:
    outputs, targets = batch(Classification())
    smoothed = build_task("classification", label_smoothing=0.1).loss(outputs, targets)
    assert smoothed == F.cross_entropy(outputs, targets, label_smoothing=0.1)
    tokens, following = batch(NextToken())
    smooth = NextToken(0.1)
    assert smooth.loss(tokens, following) != NextToken().loss(tokens, following)
    assert torch.equal(smooth.sums(tokens, following), NextToken().sums(tokens, following))


def test_a_regression_of_one_number_takes_targets_with_and_without_a_dimension_for_it() -> None:
    outputs = torch.randn(6, 1)
    for targets in (outputs[:, 0] + 2, outputs + 2):
        assert Regression().loss(outputs, targets) == pytest.approx(4)  # not of each with each
        assert Regression().value(Regression().sums(outputs, targets).tolist()) == pytest.approx(2)


@pytest.mark.parametrize("shape", [(6,), (3, 2), (3, 1, 2), (1, 6)])
def test_a_regression_of_several_numbers_takes_them_in_a_row_or_as_targets_lie(
    shape: tuple[int, ...],
) -> None:
    Regression().check(shape, torch.zeros(5, 3, 2))


def test_a_hopeless_perplexity_is_infinite() -> None:
    assert NextToken().value([1e6, 1]) == math.inf


@pytest.mark.parametrize(
    ("task", "shape", "targets", "message"),
    [
        (Classification(), (3,), torch.tensor([0, 3]), r"shape \(3,\) for a sample, the data have 4 classes"),
        (Classification(), (3, 2), torch.tensor([0, 1]), "have 2 classes: the postprocess must return"),
        (Classification(), (3,), torch.tensor([0.5]), "takes targets .* of whole numbers"),
        (Regression(), (3,), torch.zeros(5, 2), "Regression: no loss of outputs of shape"),
        (
            Regression(),
            (2, 3),
            torch.zeros(5, 3, 2),
            r"outputs of the targets' shape \(3, 2\).* returns \(2, 3\)",
        ),
        (Regression(), (2, 3), torch.zeros(5, 6), r"outputs of the targets' shape \(6,\)"),
        (NextToken(), (4, 9), torch.zeros(2, 5, dtype=torch.long), "for a sample of 5 tokens of 1"),
        (NextToken(), (5, 9), torch.zeros(2, dtype=torch.long), "takes targets .*samples, tokens"),
    ],
)
def test_what_does_not_fit_is_refused(
    task: Task, shape: tuple[int, ...], targets: torch.Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as error:
        task.check(shape, targets)
    assert "\n" not in str(error.value)


class Own(Regression):
    """To be spoilt."""


@pytest.mark.parametrize(
    ("name", "method", "message"),
    [
        (
            "loss",
            lambda self, o, t: (o - t) ** 2,
            r"loss of .* is \(4, 2\): return a tensor of shape \(\)",
        ),
        ("loss", lambda self, o, t: 1.0, "is float: return a tensor"),
        ("loss", lambda self, o, t: o.detach().mean(), "does not depend on the outputs"),
        ("sums", lambda self, o, t: o.sum(), r"return a tensor of shape \(2,\)"),
        ("value", lambda self, sums: torch.tensor(1.0), "value is a Tensor: return a float"),
        ("value", lambda self, sums: 1 / 0, "no value of the sums .* return a float of any sums"),
        ("loss", lambda self, o, t: F.l1_loss(o, t[:, 0]), "no loss .*Using a target size"),
        ("sums", lambda self, o, t: (o - t[:, :1]).new_ones(2), "in all .*: return sums over samples"),
        ("metric", "", "metric is '': give a word"),
        ("unit", None, "unit is None: give a word"),
        ("better", "more", "better is 'more': give 'lower' or 'higher'"),
    ],
)
def test_a_task_of_ones_own_that_breaks_the_rules_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, method: object, message: str
) -> None:
    monkeypatch.setattr(Own, name, method)
    with pytest.raises(ValueError, match=message):
        Own().check((2,), torch.zeros(9, 2))


def test_a_task_of_ones_own_is_found_by_name_as_a_class_or_an_object() -> None:
    assert isinstance(build_task("tests.integration.expectation:Expectation"), Task)
    assert isinstance(build_task(f"{__name__}:OBJECT"), Own)
    with pytest.raises(ValueError, match=r"cannot be made .*give a class with loss, sums and value"):
        build_task("models.task:Task")
    with pytest.raises(ValueError, match="is a float: make it a"):
        build_task("math:pi")
    with pytest.raises(ValueError, match="unknown task 'regresion': choose one of classif"):
        build_task("regresion")
    with pytest.raises(ValueError, match="task 'nowhere:x' cannot be imported"):
        build_task("nowhere:x")


def test_a_loss_that_is_no_mean_is_known() -> None:
    worst = build_task("tests.integration.expectation:Largest")
    assert not worst.is_mean((10,), torch.arange(10))


OBJECT = Own()
