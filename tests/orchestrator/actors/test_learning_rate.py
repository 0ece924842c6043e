from dataclasses import replace

import pytest

from orchestrator.actors.learning_rate import learning_rate as rate_at
from orchestrator.config import TrainingOptions
from orchestrator.presets import PRESETS

PAPER = PRESETS["cifar10"].trials()[0]


def learning_rate(options, epoch):
    """Of an epoch, known to be that of all its steps."""
    (rate,) = {rate_at(options, epoch, step, 4) for step in range(4)}
    return rate


def test_step_divides_by_ten_after_each_milestone():
    epochs = (1, 80, 81, 120, 121, 200)
    assert [learning_rate(PAPER, e) for e in epochs] == [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]


def test_step_without_milestones_is_constant():
    assert {learning_rate(replace(PAPER, milestones=()), e) for e in range(1, 201)} == {0.1}


def test_cosine_falls_from_the_initial_value_towards_zero():
    rates = [learning_rate(replace(PAPER, schedule="cosine"), e) for e in range(1, 201)]
    assert rates[0] == 0.1
    assert rates[100] == pytest.approx(0.05)
    assert 0 < rates[-1] < 0.1 / 1000
    assert rates == sorted(set(rates), reverse=True)
    # The same distance before and after the middle: as far above the half as below it.
    for before, after in zip(rates[1:100], rates[:100:-1], strict=True):
        assert before + after == pytest.approx(0.1)


def test_cosine_by_step_goes_from_the_initial_value_to_zero():
    options = TrainingOptions(epochs=5, learning_rate=0.2, schedule="cosine_by_step")
    rates = [rate_at(options, 1 + i // 8, i % 8, 8) for i in range(40)]
    assert rates[0] == 0.2
    assert rates[20] == pytest.approx(0.1)
    assert rates == sorted(set(rates), reverse=True)
    assert rate_at(options, 6, 0, 8) == pytest.approx(0)


@pytest.mark.parametrize("schedule", ["step", "cosine", "cosine_by_step"])
@pytest.mark.parametrize("warmup", [0.5, 1, 2])
def test_in_a_warm_up_the_rate_rises_by_equal_amounts_each_step(schedule, warmup):
    options = TrainingOptions(epochs=8, schedule=schedule, warmup=warmup, milestones=(5,))
    n = round(warmup * 10)
    rising = [rate_at(options, 1 + i // 10, i % 10, 10) for i in range(min(n, 10))]
    assert rising == pytest.approx([0.1 * (i + 1) / n for i in range(min(n, 10))])
    if schedule != "cosine_by_step":  # which begins to fall only when the warm-up is over
        later = replace(options, warmup=0.0)
        for epoch in range(3, 9):
            assert rate_at(options, epoch, 3, 10) == rate_at(later, epoch, 3, 10)
    else:
        assert rate_at(options, 1 + n // 10, n % 10, 10) == 0.1
        assert rate_at(options, 8, 9, 10) < 0.001
