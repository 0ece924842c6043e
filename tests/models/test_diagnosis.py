"""What a look at the cuts shows: settings that are known to fail, and what numbers must be."""

import pytest
import torch
from torch import nn

from models.diagnosis import diagnose, growth, least_variety
from models.feedforward import FeedForward
from models.parareal import PararealNetwork, tear
from models.resnet import resnet
from models.tearing import plan_tearing
from models.vgg import vgg


def black_corners(n: int = 32) -> torch.Tensor:
    """Images of which the first pixel is 0, as in handwritten digits."""
    images = torch.rand(n, 1, 8, 8)
    images[:, :, 0, 0] = 0.0
    return images


def test_a_preprocess_that_reads_what_all_images_share_is_recognised_before_training() -> None:
    network = vgg(depth=16, width=16, input_shape=(1, 8, 8), n_classes=10)
    strided, default = (plan_tearing(network, 3, preprocess=kind) for kind in ("strided", "auto"))
    cut2, cut3 = diagnose(PararealNetwork(strided), black_corners())
    assert cut3.variety < 1e-6
    assert cut2.variety > 0.1
    assert least_variety(strided, black_corners()) == pytest.approx(cut3.variety, abs=1e-6)
    assert least_variety(default, black_corners()) > 0.1


def test_a_network_is_left_as_it_is() -> None:
    network = tear(resnet(29, width=2, input_shape=(1, 8, 8), n_classes=3), 3, n_iterations=2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    cuts = diagnose(network, black_corners(8))
    assert [cut.j for cut in cuts] == [2, 3]
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert network.n_iterations == 2
    assert network.training


def test_a_guess_that_is_right_is_alike_and_leaves_nothing_to_carry() -> None:
    layers = [nn.Linear(4, 4) for _ in range(4)]
    guesses = iter([nn.Sequential(*layers[:2]), nn.Sequential(*layers[:3])])
    network = FeedForward(
        layers[0], layers[1:], nn.Identity(), (4,), coarse=lambda before, after, n: nn.Identity()
    )
    torn = tear(network, 3, preprocess=lambda image, shape: next(guesses))
    for cut in diagnose(torn, torch.randn(16, 4)):
        assert cut.likeness == pytest.approx(1)
        assert cut.carried < 1e-6
        assert 0 < cut.variety <= 1


def test_growth_is_the_largest_singular_value() -> None:
    linear = nn.Linear(5, 4)
    with torch.no_grad():
        u, _, v = torch.linalg.svd(linear.weight, full_matrices=False)
        linear.weight.copy_(u @ torch.diag(torch.tensor([9.0, 2.0, 1.0, 0.5])) @ v)
    assert growth(linear, torch.randn(4, 5)) == pytest.approx(9.0, rel=1e-3)
    assert growth(nn.Sequential(linear, nn.BatchNorm1d(4)).eval(), torch.randn(4, 5)) == pytest.approx(
        9.0, rel=1e-3
    )


class Fixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.matrix = torch.eye(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.matrix


def test_what_cannot_compute_in_float64_has_no_growth() -> None:
    assert growth(Fixed(), torch.randn(2, 3)) != growth(Fixed(), torch.randn(2, 3))  # nan
