"""A plain multilayer perceptron, for inputs of any shape."""

from functools import partial
from math import prod

from torch import nn

from models.feedforward import FeedForward, Shape


def mlp(
    depth: int = 8,
    *,
    width: int = 128,
    input_shape: Shape = (3, 32, 32),
    n_classes: int = 10,
) -> FeedForward:
    """Fully connected layers with ReLU; C flattens the input.

    C^j, j > 1, is as C is: what g^j reads has passed a ReLU, in one piece and torn.

    Args:
        depth: number of linear layers: one in C, one in h, each of the others is a unit; 3 or more.
        width: features between them.
        input_shape: shape of a sample, of any rank.
        n_classes: number of logits.

    Raises:
        ValueError: ``depth`` leaves no unit.
    """
    if depth < 3:
        raise ValueError(f"depth {depth} leaves no unit between first and last layer: pass --depth 3 or more")
    return FeedForward(
        partial(_layer, prod(input_shape), width),
        [partial(_layer, width, width)] * (depth - 2),
        partial(nn.Linear, width, n_classes),
        input_shape,
        name=f"MLP-{depth}",
        interface_preprocess=_interface,
    )


def _interface(input_shape: Shape, output_shape: Shape) -> nn.Sequential:
    """C^j, j > 1, from the whole input."""
    return _layer(prod(input_shape), *output_shape)


def _layer(n_inputs: int, n_outputs: int) -> nn.Sequential:
    """Flatten, linear, ReLU; flat features pass through the first unchanged."""
    linear = nn.Linear(n_inputs, n_outputs)
    nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
    nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.Flatten(), linear, nn.ReLU())
