"""Describing a network: shapes and sizes are found by running one sample."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from models.feedforward import FeedForward
from models.resnet import resnet


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


def test_shapes_and_parameters_of_every_component() -> None:
    network = FeedForward(
        nn.Conv2d(1, 4, 3, padding=1),
        [partial(nn.Conv2d, 4, 6, 3, stride=2, padding=1), nn.Flatten, partial(nn.Linear, 96, 5)],
        nn.Linear(5, 2),
        (1, 8, 8),
    )
    assert network.n_units == 3
    assert network.trace.shapes == ((4, 8, 8), (6, 4, 4), (96,), (5,))
    assert network.trace.unit_parameters == (4 * 6 * 9 + 6, 0, 96 * 5 + 5)
    assert network.trace.preprocess_parameters == 4 * 9 + 4
    assert network.trace.postprocess_parameters == 12


def test_tracing_draws_no_random_number_and_changes_no_module() -> None:
    batch_norm = nn.BatchNorm2d(1)
    network = FeedForward(batch_norm, [batch_norm], nn.Flatten(), (1, 4, 4))
    before = torch.get_rng_state()
    _ = network.trace
    _ = resnet(11).trace
    assert torch.equal(torch.get_rng_state(), before)
    assert batch_norm.training
    assert batch_norm.num_batches_tracked == 0


def test_one_sample_is_enough_for_batch_normalisation() -> None:
    network = FeedForward(nn.Identity(), [nn.BatchNorm2d(3)], nn.Flatten(), (3, 1, 1))
    assert network.trace.shapes == ((3, 1, 1), (3, 1, 1))


def test_a_network_without_units_is_refused() -> None:
    with pytest.raises(ValueError, match="hollow has no units"):
        FeedForward(nn.Identity(), [], nn.Identity(), (2,), name="hollow")


@pytest.mark.parametrize(
    ("preprocess", "units", "postprocess", "message"),
    [
        (nn.Linear(3, 2), [nn.Linear(2, 2)], nn.Linear(2, 2), r"preprocess .*\(2,\)"),
        (nn.Linear(2, 2), [nn.Linear(2, 3), nn.Linear(2, 2)], nn.Linear(2, 2), r"unit 1 .*\(3,\)"),
        (nn.Linear(2, 2), [nn.Linear(2, 3)], nn.Linear(2, 2), r"postprocess .*\(3,\)"),
        (nn.Linear(2, 2), [nn.Linear(2, 2), Pair()], nn.Linear(2, 2), "unit 1 .*returns tuple"),
        (nn.Linear(2, 2), [partial(nn.Linear, 2)], nn.Linear(2, 2), "unit 0 .*out_features"),
    ],
)
def test_a_component_that_cannot_be_run_is_named(
    preprocess: nn.Module, units: list[nn.Module], postprocess: nn.Module, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        _ = FeedForward(preprocess, units, postprocess, (2,)).trace
