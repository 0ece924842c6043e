from dataclasses import replace

import pytest

from orchestrator.actors.learning_rate import learning_rate
from orchestrator.presets import PRESETS

PAPER = PRESETS["cifar10"].trials()[0]


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
