"""C^j and F^j of the network's own parts, where shapes tell none."""

import pytest
import torch
from torch import nn

from models.feedforward import FeedForward
from models.own_parts import fresh
from models.parareal import PararealNetwork, tear
from models.tearing import plan_tearing

VOCABULARY, LENGTH, WIDTH = 11, 5, 6


class Unit(nn.Module):
    def __init__(self, n_in=WIDTH, n_out=WIDTH):
        super().__init__()
        self.linear = nn.Linear(n_in, n_out)

    def forward(self, x):
        return self.linear(x).tanh()


def of_tokens(*units, **options):
    """An embedding, units, and a number for each token at each place."""
    units = units or tuple(Unit() for _ in range(4))
    chain = nn.Sequential(nn.Embedding(VOCABULARY, WIDTH), *units, nn.LazyLinear(VOCABULARY))
    chain[-1](torch.zeros(units[-1].linear.out_features))
    return FeedForward.from_sequential(chain, input_shape=(LENGTH,), vocabulary=VOCABULARY, **options)


def test_whole_numbers_are_traced_with_the_largest_among_them():
    network = of_tokens()
    samples = network.samples(3)
    assert samples.shape == (3, LENGTH)
    assert samples.dtype == torch.int64
    assert (samples.min() >= 0, samples.max()) == (True, VOCABULARY - 1)
    assert network.trace.shapes == ((LENGTH, WIDTH),) * 5
    assert network.trace.output_shape == (LENGTH, VOCABULARY)
    assert network.uses_all
    small = nn.Sequential(nn.Embedding(VOCABULARY - 1, WIDTH), Unit(), nn.Linear(WIDTH, 3))
    with pytest.raises(ValueError, match=r"preprocess .* cannot read a sample"):
        FeedForward.from_sequential(small, input_shape=(LENGTH,), vocabulary=VOCABULARY).trace  # noqa: B018


def test_tokens_get_a_fresh_copy_of_c_at_every_cut():
    network = of_tokens()
    torn = tear(network, 4, n_coarse_units=1)
    weights = [c[0].weight for c in torn.preprocesses]
    assert {weight.shape for weight in weights} == {(VOCABULARY, WIDTH)}
    assert len({weight.sum().item() for weight in weights}) == 4
    again = tear(network, 4, n_coarse_units=1)
    assert all(map(torch.equal, torn.state_dict().values(), again.state_dict().values()))
    assert torch.equal(tear(network)(network.samples()), tear(network, 1)(network.samples()))
    torn(network.samples()).sum().backward()
    assert all(parameter.grad is not None for parameter in torn.preprocesses.parameters())


def test_what_is_told_otherwise_goes_before():
    given = of_tokens(interface_preprocess=lambda before, after: nn.Embedding(VOCABULARY, after[-1], 0))
    torn = tear(given, 2, n_coarse_units=1)
    assert torn.preprocesses[1].padding_idx == 0


def test_units_that_change_the_shape_need_a_c_of_their_own():
    network = of_tokens(Unit(), Unit(WIDTH, 3), Unit(3, 3), Unit(3, 3))
    with pytest.raises(ValueError, match=r"no C\^j is known from whole numbers \(5,\) to \(5, 3\)"):
        _ = plan_tearing(network, 2).n_parameters


def test_images_with_a_class_token_get_c_and_others_what_their_shapes_tell():
    class ClassToken(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(8, WIDTH)
            self.token = nn.Parameter(torch.randn(WIDTH))

        def forward(self, x):
            rows = self.linear(x.flatten(1, 2))
            return torch.cat([self.token.expand(len(rows), 1, WIDTH), rows], dim=1)

    def network(c):
        chain = nn.Sequential(c, *(Unit() for _ in range(3)), nn.Linear(WIDTH, 2))
        return FeedForward.from_sequential(chain, input_shape=(1, 8, 8))

    (_, own) = tear(network(ClassToken()), 2, n_coarse_units=1).preprocesses
    assert isinstance(own[0], ClassToken)
    patches = nn.Sequential(nn.Unfold(2, stride=2), nn.Linear(16, WIDTH))
    (_, usual) = tear(network(nn.Sequential(patches, nn.Identity())), 2, n_coarse_units=1).preprocesses
    assert type(usual).__name__ == "PatchEmbedding"


def test_volumes_get_units_of_their_own_as_coarse_network():
    units = [
        nn.Conv3d(2, 2, 3, padding=1),
        nn.Conv3d(2, 2, 1),
        *(nn.Conv3d(2, 2, 3, padding=1) for _ in "ab"),
    ]
    chain = nn.Sequential(nn.Conv3d(1, 2, 1), *units, nn.Flatten())
    network = FeedForward.from_sequential(chain, input_shape=(1, 3, 4, 4))
    (coarse,) = PararealNetwork(plan_tearing(network, 2, n_coarse_units=3)).coarse_network
    assert [unit.kernel_size for unit in coarse] == [(3, 3, 3)] * 3
    weights = [unit.weight for unit in (*coarse, *units)]
    assert len({w.sum().item() for w in weights}) == len(weights)


def test_a_fresh_copy_leaves_what_is_frozen_and_what_no_layer_draws():
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3).requires_grad_(False), nn.PReLU())
    module.scale = nn.Parameter(torch.full((1,), 7.0))
    copy = fresh(module)
    assert not torch.equal(copy[0].weight, module[0].weight)
    assert torch.equal(copy[1].weight, module[1].weight)
    assert not copy[1].weight.requires_grad
    assert copy.scale == 7.0
    assert fresh(lambda: module) is module


def test_sparse_gradients_are_refused():
    chain = nn.Sequential(nn.Embedding(VOCABULARY, WIDTH, sparse=True), Unit(), nn.Linear(WIDTH, 2))
    network = FeedForward.from_sequential(chain, input_shape=(LENGTH,), vocabulary=VOCABULARY)
    with pytest.raises(ValueError, match=r"preprocess .* has sparse gradients"):
        network.trace  # noqa: B018
