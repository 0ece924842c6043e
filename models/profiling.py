"""Measures what the components of a network cost.

Components are built, timed and dropped one after the other, round by round, so that only one needs to
fit in memory and a passing load on the machine falls on all of them alike. Needs torch only.
"""

from collections import Counter
from collections.abc import Collection, Hashable
from functools import partial
from itertools import combinations
from statistics import median

from torch import nn

from models.compute import Compute
from models.cost_profile import IMPOSSIBLE, CostProfile
from models.feedforward import CoarseFactory, FeedForward, PreprocessFactory
from models.initialisation import ModuleFactory, as_factory, seeded
from models.recorder import WARMUP
from models.step_time import Cost
from models.timing import CPU, Component

RUN = 4
"""Equal units timed in one go. A single one seems dearer than it is in a chain, by a third for the largest
images on a CPU: what happens only at a chain's ends, and allocating memory, weigh more."""


@seeded(0, "cost profile")
def measure_profile(
    network: FeedForward,
    *,
    preprocess: PreprocessFactory,
    coarse: CoarseFactory,
    n_coarse_units: Collection[int],
    batch_size: int,
    compute: Compute = CPU,
    repeats: int = 5,
) -> CostProfile:
    """Time the units, C, h with the loss, and C^j and F^j for all shapes that they may meet; random input.

    Units that print alike, read and return the same shapes and have as many parameters are of one kind:
    they cost the same, and one stands for all.

    Args:
        network: what is to be torn.
        preprocess: factory of C^j, j > 1.
        coarse: factory of F^j.
        n_coarse_units: every N_c to measure.
        batch_size: samples per batch.
        compute: where and how to run.
        repeats: rounds, the median of which counts. In each round every component passes twice, and the
            second time is measured; more often where graphs have to be recorded before.
    """
    image, shapes = network.input_shape, network.trace.shapes
    interfaces = dict.fromkeys(shapes[1:-1])
    jumps = [(*pair, n) for pair in dict.fromkeys(combinations(shapes[1:], 2)) for n in n_coarse_units]
    kinds = [kind_of(network, i) for i in range(network.n_units)]

    of_input = partial(Component, reads=image, is_preprocess=True, vocabulary=network.vocabulary)
    components: dict[Hashable, Component] = {
        "C": of_input(as_factory(network.preprocess)),
        "h": Component(as_factory(network.postprocess), shapes[-1], with_loss=True),
    }
    lengths: dict[Hashable, int] = {}
    for kind, count in Counter(kinds).items():
        i = kinds.index(kind)
        lengths[kind] = min(count, RUN) if shapes[i] == shapes[i + 1] else 1
        row = partial(_row, as_factory(network.units[i]), lengths[kind])
        components[kind] = Component(row, shapes[i])
    for shape in interfaces:
        components["C", shape] = of_input(partial(preprocess, image, shape))
    for jump in jumps:
        components["F", *jump] = Component(partial(coarse, *jump), jump[0], corrects=jump[1])

    possible = {name: component for name, component in components.items() if _can_be_built(component)}
    rounds = [
        {name: _time(component, batch_size, compute) for name, component in possible.items()}
        for _ in range(repeats)
    ]
    costs = dict.fromkeys(components, IMPOSSIBLE)
    for name in possible:
        forward = median(one[name].forward for one in rounds)
        backward = median(one[name].backward for one in rounds)
        length = lengths.get(name, 1)
        costs[name] = Cost(forward / length, backward / length)
    return CostProfile(
        shapes,
        tuple(costs[kind] for kind in kinds),
        costs["C"],
        {shape: costs["C", shape] for shape in interfaces},
        {jump: costs["F", *jump] for jump in jumps},
        costs["h"],
        batch_size,
        compute.activation_dtype.itemsize,
    )


def _can_be_built(component: Component) -> bool:
    """Whether the factory knows a way between the shapes."""
    try:
        component.build()
    except ValueError:
        return False
    return True


def _time(component: Component, batch_size: int, compute: Compute) -> Cost:
    """The first typical pass through a new copy."""
    passes = component.passes(batch_size, compute)
    for _ in range(1 + (WARMUP + 1) * compute.graphs):
        passes()
    return passes()


def _row(build: ModuleFactory, length: int) -> nn.Module:
    """``length`` modules in a row."""
    return nn.Sequential(*(build() for _ in range(length)))


def kind_of(network: FeedForward, i: int) -> Hashable:
    """What unit i has in common with those that cost the same."""
    trace = network.trace
    module = as_factory(network.units[i])()
    return repr(module), trace.shapes[i], trace.shapes[i + 1], trace.unit_parameters[i]
