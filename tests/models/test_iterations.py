"""Which subnetworks an iteration runs, and what the passes of a component have in common."""

import pytest
import torch
from torch import Tensor, nn

from models.iterations import Passes, Repeated, iterations_of, windows


@pytest.mark.parametrize("n", range(1, 7))
def test_an_iteration_runs_what_its_result_depends_on_and_has_not_converged(n: int) -> None:
    for n_iterations in range(1, n + 1):
        needed = {n}
        for k, window in reversed([*enumerate(windows(n, n_iterations), start=1)]):
            # y_j takes r̃_{j−1} and all before it in the same iteration, down to r̃_k.
            assert set(window) == set(range(k, max(needed) + 1))
            needed = {j - 1 for j in window}  # corrects x_j
        for j in range(1, n + 1):
            ks = [k for k, window in enumerate(windows(n, n_iterations), start=1) if j in window]
            assert ks == [*iterations_of(j, n, n_iterations)]


@pytest.mark.parametrize("n_iterations", [0, 4])
def test_other_numbers_of_iterations_are_refused(n_iterations: int) -> None:
    with pytest.raises(ValueError, match=f"n_iterations = {n_iterations}: give 1 to 3, .* as many are exact"):
        windows(3, n_iterations)


def repeated(component: nn.Module, xs: list[Tensor]) -> tuple[list[Tensor], Passes]:
    passes = Passes(component, len(xs))
    step = Repeated(component, passes)
    return [step(x) for x in xs], passes


def test_passes_draw_the_same_and_others_what_they_draw_after_one() -> None:
    ones = torch.ones(4, 100)
    component = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.2))
    torch.manual_seed(1)
    (one,), drawn = repeated(component, [ones])[0], torch.rand(3)
    torch.manual_seed(1)
    step = Repeated(component, Passes(component, 3))
    outputs = [step(ones)]
    between = torch.rand(3)  # another component draws
    outputs += [step(2 * ones), step(ones)]
    after = torch.rand(3)
    for factor, output in zip((1, 2, 1), outputs, strict=True):
        assert torch.equal(output, factor * one)
    assert torch.equal(between, drawn)
    torch.manual_seed(1)
    component(ones), torch.rand(3)
    assert torch.equal(after, torch.rand(3))


def test_every_pass_has_its_own_statistics_and_the_last_those_of_the_component() -> None:
    xs = [10.0 + 3.0 * torch.randn(50, 2), torch.randn(50, 2)]
    component = nn.Sequential(nn.BatchNorm1d(2), nn.Identity())
    (first, last), passes = repeated(component, xs)
    for x, output, buffers in zip(
        xs, (first, last), (passes.of(component, 1), dict(component.named_buffers())), strict=True
    ):
        alone = nn.BatchNorm1d(2)
        assert torch.equal(output, alone(x))
        for name, value in alone.named_buffers():
            assert torch.equal(buffers[f"0.{name}"], value)
    component.eval()
    with torch.no_grad():
        for _ in range(200):
            component.train()
            step = Repeated(component, passes)
            trained = [step(x) for x in xs]
        component.eval()
        step = Repeated(component, passes)
        for x, output in zip(xs, trained, strict=True):
            torch.testing.assert_close(step(x), output, rtol=0.05, atol=0.05)
    assert passes.state_dict().keys() == {
        f"1/0/{name}" for name in ("running_mean", "running_var", "num_batches_tracked")
    }


class Counting(nn.Module):
    """Puts another tensor in its buffer's place."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        self.count = self.count + 1
        return x * self.count


def test_a_buffer_that_is_replaced_is_kept() -> None:
    component = Counting()
    passes = Passes(component, 2)
    for expected in (1, 2):
        step = Repeated(component, passes)
        assert step(torch.ones(1)) == step(torch.ones(1)) == expected
    assert component.count == passes.of(component, 1)["count"] == 2


@pytest.mark.parametrize("n_passes", [1, 2])
def test_a_component_may_overwrite_what_it_reads(n_passes: int) -> None:
    leaf = torch.randn(3, requires_grad=True)
    before = leaf.detach().clone()
    outputs, _ = repeated(nn.ReLU(inplace=True), [leaf] * n_passes)
    sum(outputs).sum().backward()
    assert torch.equal(leaf, before)
    assert torch.equal(leaf.grad, n_passes * (before > 0).float())
