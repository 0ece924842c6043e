"""Vision Transformer for small images (Dosovitskiy et al., 2021), pre-norm, without class token."""

from functools import partial
from typing import cast

from torch import Tensor, nn

from models.coarse import repeat
from models.feedforward import FeedForward, Shape
from models.preprocess import PatchEmbedding


class Postprocess(nn.Module):
    """h: layer normalisation, mean over the tokens and a fully connected layer; returns the logits."""

    def __init__(self, width: int, n_classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc = nn.Linear(width, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, tokens, width) to logits of shape (batch, n_classes)."""
        return cast(Tensor, self.fc(self.norm(x).mean(dim=1)))


def vit(
    depth: int = 12,
    *,
    width: int = 192,
    n_heads: int = 4,
    patch_size: int = 4,
    input_shape: Shape = (3, 32, 32),
    n_classes: int = 10,
) -> FeedForward:
    """Transformer encoder over the patches of an image; a unit is one encoder block.

    C embeds the patches and adds learned positions; so does each C^j, j > 1, with its own weights.

    Args:
        depth: number of encoder blocks.
        width: features of a token; the blocks' inner layer has four times as many.
        n_heads: attention heads, a divisor of ``width``.
        patch_size: height and width of a patch, a divisor of the image's.
        input_shape: (channels, height, width) of an image.
        n_classes: number of logits.

    Raises:
        ValueError: no block, an input that is no image, or sizes that do not divide.
    """
    if depth < 1:
        raise ValueError(f"depth {depth}: pass --depth 1 or more")
    if len(input_shape) != 3:
        raise ValueError(f"a ViT reads images (channels, height, width), not shape {input_shape}")
    if width % n_heads:
        raise ValueError(f"width {width} cannot be split among {n_heads} heads: pass a multiple as --width")
    _, height, image_width = input_shape
    if height % patch_size or image_width % patch_size:
        raise ValueError(
            f"patches of {patch_size}×{patch_size} do not tile an image of {height}×{image_width}: "
            "give vit(patch_size=…) a divisor of both"
        )
    n_tokens = height * image_width // patch_size**2
    block = partial(
        nn.TransformerEncoderLayer,
        width,
        n_heads,
        dim_feedforward=4 * width,
        dropout=0.0,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )
    return FeedForward(
        partial(PatchEmbedding, input_shape, (n_tokens, width)),
        [block] * depth,
        partial(Postprocess, width, n_classes),
        input_shape,
        name=f"ViT-{depth}",
        coarse=repeat(block),
    )
