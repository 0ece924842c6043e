"""C^j and F^j are fitted to a network that stays as it is."""

import pytest
import torch

from models.fitting import fit_interfaces
from models.parareal import tear
from models.resnet import resnet


@pytest.mark.parametrize("n_iterations", [1, 2])
def test_fitting_brings_the_torn_network_nearer_to_f_and_leaves_f_as_it_is(n_iterations: int) -> None:
    network = tear(resnet(29, width=4, input_shape=(1, 8, 8), n_classes=3), 3, n_iterations=n_iterations)
    with torch.no_grad():
        for _ in range(20):  # statistics that fit, as a trained network's
            network(torch.rand(32, 1, 8, 8))
    fitted = ("preprocesses.1", "preprocesses.2", "coarse_")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    distances = list(
        fit_interfaces(network, [torch.rand(32, 1, 8, 8) for _ in range(60)], learning_rate=0.01)
    )
    assert len(distances) == 60
    assert sum(distances[-5:]) < 0.7 * sum(distances[:5])
    for name, value in network.state_dict().items():
        stays = not name.startswith((*fitted, "subnetwork_passes"))
        assert torch.equal(value, before[name]) or not stays, name
    used = ("preprocesses.1.", "coarse_network.0.", "coarse_network.1.")
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad
        assert not name.startswith(used) or not torch.equal(parameter, before[name]), name


def test_what_was_frozen_stays_frozen_when_fitting_is_called_off() -> None:
    network = tear(resnet(29, width=2, input_shape=(1, 8, 8), n_classes=3), 3)
    network.postprocess.requires_grad_(False)
    steps = fit_interfaces(network, [torch.rand(8, 1, 8, 8)] * 3)
    next(steps)
    steps.close()
    assert all(p.requires_grad for p in network.subnetworks.parameters())
    assert not any(p.requires_grad for p in network.postprocess.parameters())
