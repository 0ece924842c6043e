"""Synchronised BatchNorm: statistics of the whole batch, of which every replica or worker has a share.

 forward     mean, variance and size of every share are gathered, in a sum of rows, all but one's own 0
 backward    Σ ∂L/∂y and Σ ∂L/∂y (x − mean) are summed

Torch's own SyncBatchNorm does the same on GPUs alone, in groups that are the process's own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.initialisation import as_factory
from models.tearing import Tearing


@dataclass(frozen=True)
class Holders:
    """Those who have one and the same module, and a share of the batch each.

    Attributes:
        rank: which of them this is, 0-based.
        size: how many.
        sum: adds a tensor up over all, in place, and waits for it; all get the same bits.
    """

    rank: int
    size: int
    sum: Callable[[Tensor], None]


def norms_of(module: nn.Module) -> list[_BatchNorm]:
    """The BatchNorms in a module."""
    return [norm for norm in module.modules() if isinstance(norm, _BatchNorm)]


def check_synchronisable(tearing: Tearing) -> None:
    """See that every BatchNorm of a network computes as torch's own do.

    Raises:
        ValueError: one has a forward pass of its own.
    """
    network, n = tearing.network, tearing.n_subnetworks
    factories = [as_factory(source) for _, source in network.components()]
    factories += [tearing.preprocess_factory(j) for j in range(2, n + 1)]
    factories += [tearing.coarse_factory(j) for j in range(1, n)]
    for factory in factories:
        for kind in [type(norm) for norm in norms_of(factory())]:
            if kind.forward is not _BatchNorm.forward:
                raise ValueError(
                    f"--batch-norm synchronised: {kind.__name__} has a forward pass of its own, which cannot "
                    "be synchronised: use torch.nn.BatchNorm1d to 3d, or leave the option out"
                )


def synchronise(module: nn.Module, holders: Holders) -> None:
    """Have every BatchNorm of a module normalise by the whole batch while it is trained.

    All holders must run the same BatchNorms in the same order, there and back.
    """
    for number, norm in enumerate(norms_of(module)):
        norm.forward = partial(_forward, norm, number, holders)  # type: ignore[method-assign]


def _forward(norm: _BatchNorm, number: int, holders: Holders, x: Tensor) -> Tensor:
    """What ``norm`` returns of a share.

    Raises:
        RuntimeError: the holders are not at the same BatchNorm.
    """
    if not norm.training:
        return _BatchNorm.forward(norm, x)
    norm._check_input_dim(x)  # the class's own, which raises ValueError
    with torch.no_grad():
        count, mean, variance = _statistics(x, number, holders)
        if norm.track_running_stats:
            _keep(norm, count, mean, variance)
    return cast(Tensor, _Normalise.apply(x, norm.weight, norm.bias, mean, variance, count, norm.eps, holders))


def _statistics(x: Tensor, number: int, holders: Holders) -> tuple[Tensor, Tensor, Tensor]:
    """Values a channel, mean and (biased) variance of the whole batch; at least in single precision."""
    exact = torch.promote_types(x.dtype, torch.float32)
    variance, mean = torch.var_mean(x.to(exact), _but_channels(x), correction=0)
    rows = mean.new_zeros(holders.size, 2 * len(mean) + 2)
    head = mean.new_tensor([number, x.numel() // len(mean)])
    rows[holders.rank] = torch.cat([head, mean, variance])
    holders.sum(rows)
    numbers, counts, means, variances = rows.split([1, 1, len(mean), len(mean)], dim=1)
    # A GPU is waited for here: statistics of two layers in one would be a wrong network, without a word.
    if (numbers != number).any():
        raise RuntimeError(
            "--batch-norm synchronised: holders of shares are at different BatchNorms of a module, as where "
            "layers are left out at random: leave out the option"
        )
    weights = counts / counts.sum()
    mean = (weights * means).sum(0)
    # No difference of squares: means may be large beside what they vary by.
    return counts.sum(), mean, (weights * (variances + (means - mean).square())).sum(0)


def _keep(norm: _BatchNorm, count: Tensor, mean: Tensor, variance: Tensor) -> None:
    """Move the running statistics on, as :class:`torch.nn.BatchNorm2d` does."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    momentum = 1.0 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    unbiased = variance * (count / (count - 1))
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), momentum)
    norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), momentum)


def _but_channels(x: Tensor) -> list[int]:
    return [dim for dim in range(x.ndim) if dim != 1]


class _Normalise(torch.autograd.Function):
    """weight (x − mean) / √(variance + eps) + bias, where mean and variance are the whole batch's."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        count: Tensor,
        eps: float,
        holders: Holders,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps, ctx.holders = eps, holders
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, weight, mean, variance, count = ctx.saved_tensors
        scale = (variance + ctx.eps).rsqrt()  # of a channel
        shape = [-1, *[1] * (x.ndim - 2)]
        centred = x.to(mean.dtype) - mean.view(shape)
        gradient = gradient.to(mean.dtype)
        dims = _but_channels(x)
        of_bias, of_scaled = gradient.sum(dims), (gradient * centred).sum(dims)
        sums = torch.cat([of_bias, of_scaled])
        ctx.holders.sum(sums)
        means = sums / count
        of_mean, of_variance = means.tensor_split(2)
        of_x = gradient - of_mean.view(shape) - centred * (of_variance * scale.square()).view(shape)
        of_x *= (scale if weight is None else scale * weight).view(shape)
        of_weight = None if weight is None else of_scaled * scale
        return (
            of_x.to(x.dtype),
            of_weight,
            None if weight is None else of_bias,
            *[None] * 5,
        )
