"""Error of parareal against the iteration on the heat equation: a figure and a table for the docs.

u_t = u_xx on (0, 1), u = 0 at both ends, u = 1 left of the middle and 0 right of it at t = 0, up to
t = 0.2; 63 interior points. Both propagators are implicit Euler: the coarse one takes one step an
interval, the fine one 512 in all, whatever N is, so that all curves head for the same solution.
Nothing is timed: in float64 any machine gives the same figure, down to rounding.

    python benchmarks/parareal_ode_convergence.py
"""

from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib.figure import Figure
from torch import Tensor

from models.parareal_ode import implicit_euler, parareal, propagate

FIGURE = Path(__file__).parents[1] / "docs" / "figures" / "parareal_ode_convergence"
N_POINTS, N_FINE_STEPS, T_END = 63, 512, 0.2
TOLERANCE = 1e-6
RATE = 0.2985  # above (G - exp(-z)) / (1 - G), G = 1 / (1 + z), for all z > 0
ZERO = 1e-19  # where an error of 0 is drawn on the logarithmic axis
# Colours of Okabe and Ito from dark to light; the markers tell the curves apart without colour.
STYLES = {4: ("#000000", "s"), 8: ("#0072B2", "D"), 16: ("#D55E00", "o"), 32: ("#E69F00", "^")}


def relative_errors(n_intervals: int) -> Tensor:
    """Largest Euclidean error on the grid after 0..N iterations, over the solution's largest norm."""
    neighbours = torch.ones(N_POINTS - 1, dtype=torch.float64)
    A = torch.diag(neighbours, -1) + torch.diag(neighbours, 1)
    A = (A - 2 * torch.eye(N_POINTS, dtype=torch.float64)) * (N_POINTS + 1) ** 2
    u0 = (torch.arange(N_POINTS) < N_POINTS // 2).double()
    grid = torch.linspace(0, T_END, n_intervals + 1, dtype=torch.float64)
    fine, coarse = implicit_euler(A, n_steps=N_FINE_STEPS // n_intervals), implicit_euler(A)
    serial = propagate(fine, u0, grid)
    iterates = parareal(fine, coarse, u0, grid, n_iterations=n_intervals)
    errors: Tensor = (iterates - serial).norm(dim=-1).amax(dim=-1) / serial.norm(dim=-1).amax()
    return errors


def draw(curves: dict[int, Tensor]) -> Figure:
    """Error against iteration, a curve for each N; an error of 0 has its own line below."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for n_intervals, curve in curves.items():
        colour, marker = STYLES[n_intervals]
        axes.semilogy(curve.clamp(min=ZERO), color=colour, marker=marker, markersize=5)
        axes.annotate(
            f"N = {n_intervals}",
            (n_intervals, ZERO),
            xytext=(7, 5),
            textcoords="offset points",
        )
    k = torch.arange(max(curves) + 1)
    axes.semilogy(k, RATE**k, "--", color="0.45", linewidth=1)
    axes.annotate(f"× {RATE} an iteration (bound)", (14, RATE**14), xytext=(6, 6), textcoords="offset points")
    axes.set_yticks([ZERO, *(10.0**-e for e in range(16, -1, -4))])
    axes.set_yticklabels(["0", *(f"$10^{{-{e}}}$" for e in range(16, 0, -4)), "1"])
    axes.minorticks_off()
    axes.set(xlabel="iteration k", ylabel="relative error to the serial fine solution")
    axes.set_xticks(sorted({0, 24, *curves}))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    return figure


def table(curves: dict[int, Tensor]) -> str:
    """Iterations k until the error is below ``TOLERANCE``, and N / k, which no speed-up exceeds."""
    lines = [f"| N | first error | k for {TOLERANCE:g} | N / k |", "|---:|---:|---:|---:|"]
    for n_intervals, curve in curves.items():
        k = int((curve > TOLERANCE).sum())
        lines.append(f"| {n_intervals} | {curve[0]:.3f} | {k} | {n_intervals / k:.1f} |")
    return "\n".join(lines)


def main() -> None:
    torch.set_num_threads(1)
    curves = {n_intervals: relative_errors(n_intervals) for n_intervals in STYLES}
    figure = draw(curves)
    FIGURE.parent.mkdir(exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": FIGURE.name}):  # the same bytes every time
        figure.savefig(FIGURE.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(FIGURE.with_suffix(".png"), dpi=160)
    print(table(curves))


if __name__ == "__main__":
    main()
