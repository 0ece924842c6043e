"""Parareal against the serial fine solution, its own theory, and the network's recursion."""

import math
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.parareal_ode import Propagator, implicit_euler, parareal, propagate


def exact(A: Tensor) -> Propagator:
    @cache
    def flow(duration: float) -> Tensor:
        matrix: Tensor = torch.linalg.matrix_exp(duration * A)
        return matrix.mT

    return lambda u, t_start, t_end: u @ flow(t_end - t_start)


def random_problem(seed: int, size: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """A non-symmetric A whose solutions decay in the Euclidean norm, and an initial value."""
    generator = torch.Generator().manual_seed(seed)
    A = torch.randn(size, size, dtype=dtype, generator=generator)
    growth = torch.linalg.eigvalsh((A + A.mH) / 2).max()
    A = A - (growth + 0.1) * torch.eye(size, dtype=dtype)
    return A, torch.randn(size, dtype=dtype, generator=generator)


def heat(size: int) -> tuple[Tensor, Tensor]:
    """Second differences on (0, 1) with zero ends: (A, orthonormal eigenvectors as columns)."""
    diagonal = torch.full((size,), -2.0, dtype=torch.float64)
    neighbours = torch.ones(size - 1, dtype=torch.float64)
    A = torch.diag(diagonal) + torch.diag(neighbours, 1) + torch.diag(neighbours, -1)
    A = A * (size + 1) ** 2
    return A, torch.linalg.eigh(A).eigenvectors


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Matrices this small only lose by sharing the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


gaps = st.lists(st.floats(min_value=0.01, max_value=3), min_size=1, max_size=7)
problems = st.builds(
    random_problem,
    seed=st.integers(0, 2**31),
    size=st.integers(1, 6),
    dtype=st.sampled_from([torch.float64, torch.complex128]),
)


def grid_of(gaps: list[float], start: float) -> list[float]:
    return [start + math.fsum(gaps[:j]) for j in range(len(gaps) + 1)]


@settings(deadline=None, max_examples=40)
@given(problem=problems, gaps=gaps, start=st.floats(-2, 2))
def test_k_iterations_are_exact_on_the_first_k_intervals(
    problem: tuple[Tensor, Tensor], gaps: list[float], start: float
) -> None:
    A, u0 = problem
    fine, grid = implicit_euler(A, n_steps=5), grid_of(gaps, start)
    serial = propagate(fine, u0, grid)
    iterates = parareal(fine, implicit_euler(A), u0, grid, n_iterations=len(gaps))
    assert iterates.shape == (len(gaps) + 1, len(gaps) + 1, *u0.shape)
    for k, iterate in enumerate(iterates):
        torch.testing.assert_close(iterate[: k + 1], serial[: k + 1], rtol=1e-12, atol=1e-13)


def test_it_is_not_exact_sooner() -> None:
    A, u0 = random_problem(seed=0, size=4)
    grid = [0.0, 0.3, 1.0, 1.2, 2.0]
    serial = propagate(exact(A), u0, grid)
    iterates = parareal(exact(A), implicit_euler(A), u0, grid, n_iterations=4)
    for k in range(4):
        assert (iterates[k, k + 1] - serial[k + 1]).norm() > 1e-6 * serial[k + 1].norm()


@settings(deadline=None, max_examples=40)
@given(problem=problems, gaps=gaps)
def test_the_jumps_propagated_by_the_coarse_propagator_give_the_same_iterates(
    problem: tuple[Tensor, Tensor], gaps: list[float]
) -> None:
    A, u0 = problem
    grid = grid_of(gaps, 0)
    fine, coarse = exact(A), implicit_euler(A)
    iterates = parareal(fine, coarse, u0, grid, n_iterations=len(gaps))

    U = list(propagate(coarse, u0, grid))
    for iterate in iterates[1:]:
        delta = torch.zeros_like(u0)
        updated = [u0]
        for j, interval in enumerate(pairwise(grid)):
            jump = fine(U[j], *interval) - U[j + 1]
            delta = coarse(delta, *interval) + jump
            updated.append(U[j + 1] + delta)
        U = updated
        torch.testing.assert_close(iterate, torch.stack(U), rtol=1e-11, atol=1e-12)


def test_one_iteration_is_what_the_parareal_network_computes() -> None:
    A, u0 = random_problem(seed=1, size=5)
    grid = [0.0, 0.5, 0.8, 1.5, 1.6]
    fine, coarse = exact(A), implicit_euler(A)
    start, corrected = parareal(fine, coarse, u0, grid, n_iterations=1)

    # Section 3 with x_j = C^j(x) given, g^j fine and F^j ≈ g^{j+1} coarse; the lists count from 0.
    intervals = list(pairwise(grid))
    x = list(start[:-1])
    y = [fine(x_j, *interval) for x_j, interval in zip(x, intervals, strict=True)]
    r = [y_j - x_next for y_j, x_next in zip(y, x[1:], strict=False)]
    propagated = r[0]
    for r_j, interval in zip(r[1:], intervals[1:], strict=False):
        propagated = r_j + coarse(propagated, *interval)
    torch.testing.assert_close(y[-1] + coarse(propagated, *intervals[-1]), corrected[-1])


def test_a_nonlinear_time_dependent_equation() -> None:
    def euler(n_steps: int) -> Propagator:  # explicit, for u' = cos(t) u (1 - u)
        def propagator(u: Tensor, t_start: float, t_end: float) -> Tensor:
            step = (t_end - t_start) / n_steps
            for i in range(n_steps):
                u = u + step * math.cos(t_start + i * step) * u * (1 - u)
            return u

        return propagator

    u0 = torch.tensor([[0.1, 0.5], [0.9, 1.3]], dtype=torch.float64)
    grid = torch.linspace(0, 2, 9, dtype=torch.float64)
    serial = propagate(euler(50), u0, grid)
    iterates = parareal(euler(50), euler(1), u0, grid, n_iterations=8)
    errors = (iterates - serial).abs().amax(dim=(1, 2, 3))
    assert errors[0] > 1e-2
    assert (errors[1:4] < errors[:3] / 5).all()
    torch.testing.assert_close(iterates[8], serial, rtol=1e-13, atol=0)


def test_heat_equation_errors_follow_the_theory_mode_by_mode() -> None:
    """For a mode with z = -λ ΔT, G = 1 / (1 + z) and F = exp(-z), the errors obey

    e_{j+1}^k = G e_j^k + (F - G) e_j^{k-1}, so that max_j |e_j| shrinks by at least
    |F - G| / (1 - G) < 0.2985 for every z > 0 (Gander and Vandewalle, 2007).
    """
    n_intervals, n_iterations = 20, 10
    A, modes = heat(31)
    u0 = modes.sum(dim=1)  # every mode alike
    grid = torch.linspace(0, 0.5, n_intervals + 1, dtype=torch.float64)
    iterates = parareal(exact(A), implicit_euler(A), u0, grid, n_iterations=n_iterations)
    errors = (iterates - propagate(exact(A), u0, grid)) @ modes  # iteration, time, mode

    z = -torch.diagonal(modes.T @ A @ modes) * (grid[1] - grid[0])
    F, G = torch.exp(-z), 1 / (1 + z)
    expected = torch.zeros_like(errors)
    expected[0] = (modes.T @ u0) * (
        G ** torch.arange(n_intervals + 1)[:, None] - F ** torch.arange(n_intervals + 1)[:, None]
    )
    for k in range(1, n_iterations + 1):
        for j in range(n_intervals):
            expected[k, j + 1] = G * expected[k, j] + (F - G) * expected[k - 1, j]
    torch.testing.assert_close(errors, expected, rtol=1e-6, atol=1e-12)

    largest = errors.abs().amax(dim=(1, 2))
    factors = largest[1:] / largest[:-1]
    assert (factors < 0.2985).all()
    assert factors[0] > 0.2  # the bound says something


def test_every_iteration_adds_an_order() -> None:
    A = torch.tensor([[-0.1, 1.0], [-1.0, -0.1]], dtype=torch.float64)
    u0 = torch.tensor([1.0, 0.0], dtype=torch.float64)
    errors = []
    for n_intervals in (64, 128, 256):
        grid = torch.linspace(0, 2, n_intervals + 1, dtype=torch.float64)
        iterates = parareal(exact(A), implicit_euler(A), u0, grid, n_iterations=3)
        errors.append((iterates - propagate(exact(A), u0, grid)).abs().amax(dim=(1, 2)))
    orders = torch.log2(torch.stack(errors[:-1]) / torch.stack(errors[1:]))
    torch.testing.assert_close(
        orders, torch.arange(1.0, 5, dtype=torch.float64).expand(2, 4), rtol=0, atol=0.15
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_implicit_euler_is_of_first_order(dtype: torch.dtype) -> None:
    A, u0 = random_problem(seed=2, size=5, dtype=dtype)
    errors = [
        (implicit_euler(A, n_steps=n)(u0, 0.5, 1.5) - exact(A)(u0, 0.5, 1.5)).norm().item()
        for n in (256, 512, 1024)
    ]
    for error, halved in pairwise(errors):
        assert error / halved == pytest.approx(2, rel=0.02)


@settings(deadline=None, max_examples=40)
@given(problem=problems, step=st.floats(0.01, 10))
def test_implicit_euler_solves_its_equation_for_batches(problem: tuple[Tensor, Tensor], step: float) -> None:
    A, u0 = problem
    u = torch.stack([u0, 2 * u0, -u0]).reshape(3, 1, -1)
    end = implicit_euler(A)(u, 1.0, 1.0 + step)
    torch.testing.assert_close((end - u) / step, end @ A.mT, rtol=1e-9, atol=1e-9)


def test_a_uniform_grid_is_factorised_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    lu_factor = torch.linalg.lu_factor

    def counting(*args: Tensor) -> object:
        nonlocal calls
        calls += 1
        return lu_factor(*args)

    monkeypatch.setattr(torch.linalg, "lu_factor", counting)
    A, u0 = random_problem(seed=3, size=3)
    coarse = implicit_euler(A)
    propagate(coarse, u0, torch.linspace(0, 1, 50, dtype=torch.float64))
    assert calls == 1
    propagate(coarse, u0, [0.0, 0.5, 1.0, 3.0])
    assert calls == 3


def test_gradients_reach_the_initial_value() -> None:
    A, u0 = random_problem(seed=4, size=3)
    u0.requires_grad_()
    weights = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    iterates = parareal(exact(A), implicit_euler(A), u0, [0.0, 0.5, 0.7], n_iterations=2)
    (gradient,) = torch.autograd.grad(iterates[-1, -1] @ weights, u0)
    torch.testing.assert_close(gradient, torch.linalg.matrix_exp(0.7 * A).T @ weights)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ([0.0, 1.0, 1.0], r"T_1 = 1 and T_2 = 1"),
        ([0.0, 2.0, 1.0, 3.0], r"T_1 = 2 and T_2 = 1"),
        ([0.0, math.nan, 1.0], r"T_1 = nan"),
        ([0.0, math.inf], r"T_1 = inf"),
        ([0.0], r"shape \(1,\)"),
        ([[0.0, 1.0]], r"shape \(1, 2\)"),
    ],
)
def test_a_bad_grid_is_refused(grid: list[float], message: str) -> None:
    A, u0 = random_problem(seed=5, size=2)
    with pytest.raises(ValueError, match=message):
        propagate(exact(A), u0, grid)
    with pytest.raises(ValueError, match=message):
        parareal(exact(A), implicit_euler(A), u0, grid, n_iterations=1)


def test_bad_arguments_are_refused() -> None:
    A, u0 = random_problem(seed=6, size=2)
    with pytest.raises(ValueError, match="n_iterations is -1"):
        parareal(exact(A), implicit_euler(A), u0, [0.0, 1.0], n_iterations=-1)
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        implicit_euler(u0)
    with pytest.raises(ValueError, match="n_steps is 0"):
        implicit_euler(A, n_steps=0)
    with pytest.raises(ValueError, match=r"shape \(3,\).*needs \(\.\.\., 2\)"):
        implicit_euler(A)(torch.ones(3, dtype=A.dtype), 0.0, 1.0)
    with pytest.raises(ValueError, match=r"float32.*needs.*float64"):
        implicit_euler(A)(u0.float(), 0.0, 1.0)


def test_the_code_in_the_documentation_runs() -> None:
    page = Path(__file__).parents[2] / "docs" / "parareal_ode.md"
    code = page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    exec(code, {})
