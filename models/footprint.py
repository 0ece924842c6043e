"""What the components of a network need in memory: parameters, and what is kept for the backward pass.

Counted on the CPU, component by component, each kind once.
"""

from collections.abc import Hashable
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from models.compute import Compute
from models.feedforward import CoarseFactory, FeedForward, PreprocessFactory
from models.initialisation import ModuleFactory, as_factory
from models.probe import samples_of
from models.profiling import kind_of
from models.timing import kept_bytes

N_SAMPLES = 2  # BatchNorm needs as many where an image is one pixel


class Need(NamedTuple):
    """Of one component or several.

    Attributes:
        parameters: how many.
        kept: bytes that a forward pass keeps for the backward pass, of each sample.
    """

    parameters: int
    kept: float


def together(*needs: Need) -> Need:
    """The sum."""
    return Need(sum(need.parameters for need in needs), sum(need.kept for need in needs))


class Footprint:
    """What each component of a torn network needs.

    Args:
        network: what is torn.
        preprocess: factory of C^j, j > 1.
        coarse: factory of F^j.
        compute: how it computes; wherever that is.
    """

    def __init__(
        self, network: FeedForward, preprocess: PreprocessFactory, coarse: CoarseFactory, compute: Compute
    ) -> None:
        self.network = network
        self._preprocess, self._coarse = preprocess, coarse
        self._compute = replace(compute, device=torch.device("cpu"), compiled=False, graphs=False)
        self._known: dict[Hashable, Need] = {}

    @cached_property
    def each_unit(self) -> list[Need]:
        """Of each unit."""
        shapes = self.network.trace.shapes
        return [
            self._need(kind_of(self.network, i), as_factory(unit), samples_of(shapes[i], N_SAMPLES))
            for i, unit in enumerate(self.network.units)
        ]

    def units(self, start: int, stop: int) -> Need:
        """Of the units ``start`` … ``stop − 1``."""
        return together(*self.each_unit[start:stop])

    def preprocess_at(self, start: int) -> Need:
        """Of the C^j of the subnetwork that begins with unit ``start``."""
        shape, image = self.network.trace.shapes[start], self.network.input_shape
        build = (lambda: self._preprocess(image, shape)) if start else as_factory(self.network.preprocess)
        return self._need(("C", start and shape), build, self.network.samples(N_SAMPLES))

    def coarse_at(self, start: int, stop: int, n_coarse_units: int) -> Need:
        """Of F^j where g^{j+1} is the units ``start`` … ``stop − 1``."""
        reads, returns = self.network.trace.shapes[start], self.network.trace.shapes[stop]
        name = "F", reads, returns, n_coarse_units
        build = lambda: self._coarse(reads, returns, n_coarse_units)  # noqa: E731
        return self._need(name, build, samples_of(reads, N_SAMPLES))

    @cached_property
    def postprocess(self) -> Need:
        """Of h."""
        reads = samples_of(self.network.trace.shapes[-1], N_SAMPLES)
        return self._need("h", as_factory(self.network.postprocess), reads)

    def _need(self, name: Hashable, build: ModuleFactory, sample: Tensor) -> Need:
        if name not in self._known:
            module = self._compute.place(build()).train()
            if sample.is_floating_point():
                sample = sample.to(self._compute.activation_dtype).requires_grad_()
            n_parameters = sum(parameter.numel() for parameter in module.parameters())
            self._known[name] = Need(n_parameters, kept_bytes(module, sample, self._compute) / N_SAMPLES)
        return self._known[name]
