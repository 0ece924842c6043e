"""Iterations: which subnetworks each of them runs, and components that run several times in a step."""

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call


def windows(n_subnetworks: int, n_iterations: int) -> list[range]:
    """The subnetworks j that each iteration k = 1 … K runs: k … N − K + k.

    Those before have read their exact input already, and what those behind would return nothing
    reads: h needs y_N of the last iteration, that needs y_{N−1} of the one before, and so on.

    Raises:
        ValueError: K is not among 1 … N.
    """
    if not 1 <= n_iterations <= n_subnetworks:
        raise ValueError(
            f"n_iterations = {n_iterations}: give 1 to {n_subnetworks}, the number of subnetworks; as many "
            "are exact, more would change nothing"
        )
    width = n_subnetworks - n_iterations + 1
    return [range(k, k + width) for k in range(1, n_iterations + 1)]


def iterations_of(j: int, n_subnetworks: int, n_iterations: int) -> range:
    """The iterations that run subnetwork j, by :func:`windows`."""
    return range(max(1, j - n_subnetworks + n_iterations), min(j, n_iterations) + 1)


class Passes(nn.Module):
    """The buffers of a component that runs several times in a step, such as BatchNorm's statistics.

    What a component reads differs from iteration to iteration, in kind and in size: F^j gets smaller
    residuals in each. So every pass has buffers of its own; the last pass has the component's.

    Args:
        component: what runs.
        n_passes: how often.
    """

    def __init__(self, component: nn.Module, n_passes: int) -> None:
        super().__init__()
        self.n_passes = n_passes
        for before_last in range(1, n_passes):
            for name, buffer in component.named_buffers():
                self.register_buffer(_key(before_last, name), buffer.detach().clone())

    def of(self, component: nn.Module, before_last: int) -> dict[str, Tensor]:
        """The buffers of a pass, by their names in the component."""
        names = (name for name, _ in component.named_buffers())
        return {name: self.get_buffer(_key(before_last, name)) for name in names}

    def keep(self, buffers: dict[str, Tensor], before_last: int) -> None:
        """Take over what a pass has left, in place or by another tensor."""
        for name, buffer in buffers.items():
            setattr(self, _key(before_last, name), buffer)


def _key(before_last: int, name: str) -> str:
    return f"{before_last}/{name.replace('.', '/')}"


class Repeated:
    """A component in one step, to be called as often as it runs: it draws the same in every pass.

    Args:
        component: what runs; it is only called if it runs once.
        passes: how often it does, and its buffers.
    """

    def __init__(self, component: nn.Module, passes: Passes) -> None:
        self._component, self._passes = component, passes
        self._left = passes.n_passes
        self._states: list[Tensor] = []

    @property
    def is_identity(self) -> bool:
        """Whether it returns what it reads."""
        return isinstance(self._component, nn.Identity)

    def __call__(self, x: Tensor) -> Tensor:
        """Map a batch, of which a component that runs several times gets a copy, as it might overwrite it.

        So do all of a leaf, since autograd refuses those that overwrite one.
        """
        several = self._passes.n_passes > 1
        if several or (x.is_leaf and x.requires_grad):
            x = x.clone()
        self._left -= 1
        if not several:
            return cast(Tensor, self._component(x))
        generators = _generators(x.device)
        states = [generator.get_state() for generator in generators]
        for generator, state in zip(generators, self._states, strict=False):
            generator.set_state(state)
        output = self._run(x)
        if self._states:  # what others draw does not depend on the number of passes
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)
        self._states = self._states or states
        return output

    def _run(self, x: Tensor) -> Tensor:
        if not self._left:
            return cast(Tensor, self._component(x))
        buffers = self._passes.of(self._component, self._left)
        output = cast(Tensor, functional_call(self._component, buffers, (x,)))
        self._passes.keep(buffers, self._left)
        return output


def passes_of(components: Iterable[nn.Module], iterations: Sequence[range]) -> nn.ModuleList:
    """The :class:`Passes` of components j = 1, 2, …, which run in the iterations that have their j."""
    of_each = enumerate(components, start=1)
    return nn.ModuleList(Passes(component, sum(j in js for js in iterations)) for j, component in of_each)


def repeated(components: Iterable[nn.Module], passes: Iterable[nn.Module]) -> dict[int, Repeated]:
    """Components j = 1, 2, … for one step, by j."""
    pairs = zip(components, passes, strict=True)
    return {j: Repeated(component, cast(Passes, of)) for j, (component, of) in enumerate(pairs, start=1)}


def _generators(device: torch.device) -> list[torch.Generator]:
    """What is drawn from on the CPU and on a device."""
    generators = [torch.default_generator]
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        generators.append(torch.cuda.default_generators[index])
    return generators
