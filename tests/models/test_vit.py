"""The ViT against torch's own encoder, and its sizes."""

import pytest
import torch
from torch import nn

from models.parareal import tear
from models.tearing import plan_tearing
from models.vit import vit


def test_number_of_parameters() -> None:
    width, n_blocks = 192, 12
    patches = 3 * 4 * 4 * width + width + 64 * width
    block = 12 * width**2 + 13 * width  # 4 width² of attention, 8 of the inner layers; biases and norms
    head = 2 * width + 10 * width + 10
    assert plan_tearing(vit(n_blocks)).n_parameters == patches + n_blocks * block + head == 5_362_378


@pytest.mark.parametrize("training", [True, False])
def test_units_are_the_blocks_of_a_pre_norm_encoder(training: bool) -> None:
    network = tear(vit(3, width=16, input_shape=(3, 16, 16))).train(training)
    layer = nn.TransformerEncoderLayer(
        16, 4, 64, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False).train(training)
    encoder.layers.load_state_dict(network.subnetworks[0].state_dict())
    x = torch.randn(5, 3, 16, 16)
    with torch.no_grad():
        tokens = encoder(network.preprocesses[0](x))
        head = network.postprocess
        expected = head.fc(nn.functional.layer_norm(tokens, (16,), head.norm.weight, head.norm.bias).mean(1))
        torch.testing.assert_close(network(x), expected)


def test_every_unit_reads_and_returns_tokens() -> None:
    shapes = vit(4, width=8, patch_size=8, input_shape=(1, 32, 16)).trace.shapes
    assert shapes == ((8, 8),) * 5


def test_coarse_units_are_encoder_blocks() -> None:
    tearing = plan_tearing(vit(6, width=8), 3)
    assert [type(unit) for unit in tearing.build_coarse(1)] == [nn.TransformerEncoderLayer] * 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "depth 0"),
        ({"input_shape": (784,)}, r"reads images .*\(784,\)"),
        ({"width": 30}, "width 30 cannot be split among 4 heads"),
        ({"input_shape": (3, 32, 30)}, r"patches of 4×4 do not tile an image of 32×30: .*patch_size"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        vit(**options)
