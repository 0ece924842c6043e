"""Parareal for u' = a(t, u) (the paper's Algorithm 1, section 2): what the networks emulate.

With G_j and F_j the coarse and the fine propagator over [T_j, T_{j+1}], iteration k solves every
interval finely from its current initial value, all at the same time, and then corrects the initial
values in one coarse sweep:

    S_{j+1} = F_j(U_j^k) - U_{j+1}^k                    the jump at T_{j+1}
    δ_{j+1} = G_j(δ_j) + S_{j+1},   δ_0 = 0             carried on by the coarse propagator
    U_{j+1}^{k+1} = U_{j+1}^k + δ_{j+1}

Inserting S gives U_{j+1}^{k+1} = F_j(U_j^k) + G_j(δ_j), where δ_j = U_j^{k+1} - U_j^k. If G_j is
linear, G_j(δ_j) = G_j(U_j^{k+1}) - G_j(U_j^k), and this is the usual form of parareal:

    U_{j+1}^{k+1} = F_j(U_j^k) + (G_j(U_j^{k+1}) - G_j(U_j^k))

The code below uses the usual form, which holds for nonlinear propagators too and also costs one G_j
an interval, because G_j(U_j^k) is left over from the sweep before.

The paper's listing differs in three places, all slips. Its fine solves run to j = N, beyond T. It
takes S_j where the jump at T_{j+1} is due, so U_1 depends on an undefined S_0 (and never changes if
that is 0). And it adds S as a rate inside the implicit Euler step, δ_{j+1} = G_j(δ_j + ΔT_j S_j),
although a jump is a value: multiplied by ΔT_j it no longer closes the gap that it measures.
"""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from math import inf

import torch
from torch import Tensor

Propagator = Callable[[Tensor, float, float], Tensor]
"""``propagator(u, t_start, t_end)``: the state at ``t_end`` from the state ``u`` at ``t_start``."""


def parareal(
    fine: Propagator,
    coarse: Propagator,
    u0: Tensor,
    grid: Sequence[float] | Tensor,
    *,
    n_iterations: int,
) -> Tensor:
    """All iterates of parareal (Algorithm 1; ``[k]`` is the paper's U^{k+1}).

    After k iterations the values up to T_k are those of ``propagate(fine, u0, grid)``, so
    ``n_iterations = N`` is exact. The fine solves of one iteration do not depend on each other;
    here they are called one after the other.

    Args:
        fine: accurate propagator, called on each interval in each iteration.
        coarse: cheap propagator, called on each interval in the first sweep and each iteration.
        u0: state at T_0, of any shape, real or complex.
        grid: T_0 < ... < T_N, in the unit of time of the propagators.
        n_iterations: number of corrections; 0 leaves the coarse solution alone.

    Returns:
        Tensor of shape ``(n_iterations + 1, N + 1, *u0.shape)``: iteration, grid point, state.

    Raises:
        ValueError: if the grid is not finite and strictly increasing, or ``n_iterations < 0``.
    """
    if n_iterations < 0:
        raise ValueError(f"n_iterations is {n_iterations}: pass 0 (coarse only) or more")
    intervals = _intervals(grid)
    iterates = [propagate(coarse, u0, grid)]
    coarse_ends = list(iterates[0][1:])
    for _ in range(n_iterations):
        starts = iterates[-1][:-1]
        fine_ends = [fine(u, *interval) for u, interval in zip(starts, intervals, strict=True)]
        states = [u0]
        for j, interval in enumerate(intervals):
            coarse_end = coarse(states[-1], *interval)
            # In this order a correction of zero leaves the fine value as it is, to the last bit.
            states.append(fine_ends[j] + (coarse_end - coarse_ends[j]))
            coarse_ends[j] = coarse_end
        iterates.append(torch.stack(states))
    return torch.stack(iterates)


def propagate(propagator: Propagator, u0: Tensor, grid: Sequence[float] | Tensor) -> Tensor:
    """The serial solution: ``propagator`` over one interval after the other.

    Args:
        propagator: called once an interval.
        u0: state at T_0, of any shape.
        grid: T_0 < ... < T_N.

    Returns:
        Tensor of shape ``(N + 1, *u0.shape)``: the state at every point of the grid.

    Raises:
        ValueError: if the grid is not finite and strictly increasing.
    """
    states = [u0]
    for t_start, t_end in _intervals(grid):
        states.append(propagator(states[-1], t_start, t_end))
    return torch.stack(states)


def implicit_euler(A: Tensor, *, n_steps: int = 1) -> Propagator:
    """Implicit Euler for u' = A u: coarse with one step an interval, fine with many.

    I - ΔT A is factorised once for each distinct ΔT and kept, so make a new propagator after a
    change of ``A``. Steps count as one when they agree in 12 digits, as those of a uniform grid do.

    Args:
        A: square matrix ``(m, m)``, real or complex; not necessarily symmetric.
        n_steps: equal steps in each interval.

    Returns:
        Propagator for states of shape ``(..., m)`` (batches lead) and the dtype of ``A``.

    Raises:
        ValueError: if ``A`` is not a square matrix or ``n_steps < 1``; from the propagator, if the
            state does not fit ``A``.
    """
    if A.ndim != 2 or A.shape[0] != A.shape[1]:
        raise ValueError(f"A has shape {tuple(A.shape)}: pass a square matrix (m, m)")
    if n_steps < 1:
        raise ValueError(f"n_steps is {n_steps}: pass 1 or more")
    m = A.shape[0]

    @cache
    def factorise(step: float) -> tuple[Tensor, Tensor]:
        # Transposed, because states are rows: x (I - step A)^T = u.
        factors, pivots = torch.linalg.lu_factor((torch.eye(m, dtype=A.dtype, device=A.device) - step * A).mT)
        return factors, pivots

    def propagator(u: Tensor, t_start: float, t_end: float) -> Tensor:
        if u.shape[-1:] != (m,) or u.dtype != A.dtype:
            raise ValueError(
                f"the state has shape {tuple(u.shape)} and dtype {u.dtype}: A needs (..., {m}) and {A.dtype}"
            )
        factors, pivots = factorise(float(f"{(t_end - t_start) / n_steps:.12g}"))
        rows = u.reshape(-1, m)
        for _ in range(n_steps):
            rows = torch.linalg.lu_solve(factors, pivots, rows, left=False)
        return rows.reshape(u.shape)

    return propagator


def _intervals(grid: Sequence[float] | Tensor) -> list[tuple[float, float]]:
    """[T_0, T_1], ..., [T_{N-1}, T_N] of a checked grid."""
    times = torch.as_tensor(grid, dtype=torch.float64)
    if times.ndim != 1 or len(times) < 2:
        raise ValueError(f"the grid has shape {tuple(times.shape)}: pass at least T_0 and T_1")
    intervals = list(pairwise(times.tolist()))
    for j, (t_start, t_end) in enumerate(intervals):
        if not 0 < t_end - t_start < inf:
            raise ValueError(
                f"the grid must be finite and strictly increasing, "
                f"but T_{j} = {t_start:g} and T_{j + 1} = {t_end:g}"
            )
    return intervals
