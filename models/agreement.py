"""When what a component makes of samples counts as the same in two passes."""

import torch
from torch import Tensor


def alike(one: Tensor, other: Tensor) -> bool:
    """Whether two outputs are the same but for rounding, or for the few numbers that rounding throws far."""
    if one.shape != other.shape:
        return False
    difference = (one - other).abs().mean()
    return bool(difference <= 1e-3 * other.abs().mean()) or not bool(difference.isfinite())


def nearly(one: Tensor, other: Tensor) -> bool:
    """Whether two outputs are the same but for rounding, each number of them."""
    rounding = 1e-6 * float(other.nan_to_num(0.0, 0.0, 0.0).abs().max())
    return torch.allclose(one, other, rtol=1e-5, atol=rounding, equal_nan=True)


def some(output: Tensor) -> Tensor:
    """At most some thousand of the numbers, from all over."""
    return output.flatten()[:: 1 + output.numel() // 4096].clone()


def changed(before: object, now: object) -> bool:
    """Whether something that a module keeps is another than it was."""
    if isinstance(before, Tensor) and isinstance(now, Tensor):
        return not torch.equal(before, now)
    return repr(before) != repr(now)
