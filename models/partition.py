"""How many consecutive units each subnetwork gets: the paper's way, or by what the units cost."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise, permutations

import numpy as np
from numpy.typing import NDArray

from models.cost_profile import CostProfile
from models.sizes import Sizes
from models.step_time import critical_path

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


def uniform(n_units: int, n_subnetworks: int) -> Sizes:
    """The paper's partition: ⌈n_units / N⌉ units each, the last subnetwork takes the rest.

    Raises:
        ValueError: fewer units than subnetworks, or the rule leaves a subnetwork empty.
    """
    _check_number(n_units, n_subnetworks)
    size = -(-n_units // n_subnetworks)
    rest = n_units - size * (n_subnetworks - 1)
    if rest < 1:
        fits = -(-n_units // size)
        raise ValueError(
            f"{n_units} units in {n_subnetworks} subnetworks of ⌈{n_units}/{n_subnetworks}⌉ = {size} "
            f"leave the last ones empty: {fits} subnetworks of {size} hold them all, "
            f"so pass --n-subnetworks {fits}"
        )
    return (size,) * (n_subnetworks - 1) + (rest,)


def balanced(costs: Sequence[float], n_subnetworks: int) -> Sizes:
    """The partition whose dearest subnetwork is as cheap as it can be; exact.

    It suits the paper's sum (:func:`models.step_time.paper_sum`), where subnetworks count as their
    maximum. Among equally good partitions it takes the one whose last cut comes first.

    Args:
        costs: of each unit.
        n_subnetworks: N.

    Raises:
        ValueError: fewer units than subnetworks.
    """
    n_units = len(costs)
    _check_number(n_units, n_subnetworks)
    own = _between_cuts(np.asarray(costs, dtype=float))
    dearest = own[0]  # by cut: of the subnetworks before it
    origins: list[Indices] = []
    for _ in range(1, n_subnetworks):
        ways = np.maximum(dearest[:, None], own)
        origins.append(ways.argmin(axis=0))
        dearest = ways.min(axis=0)
    cuts = [n_units]
    for origin in reversed(origins):
        cuts.append(int(origin[cuts[-1]]))
    return _sizes([*cuts, 0])


def staggered(profile: CostProfile, n_subnetworks: int, n_coarse_units: int, n_iterations: int = 1) -> Sizes:
    """The partition with the shortest critical path (:func:`models.step_time.critical_path`).

    Exact for one iteration. Of several, whose chains cross, it is the shortest that is found by moving
    units from one subnetwork to another, from the one for K = 1 and from those of the other rules.

    F^j has to wait for F^{j−1}, and on the way back subnetwork j gets its gradient the sooner the larger
    j is: later subnetworks may take longer, and the coarse network's time hides behind theirs.

    The critical path's recursion leads from (a, b) at one cut to (a, b) at the next, and neither grows
    if a and b shrink. So of all partitions of the units before a cut into j subnetworks only those are
    followed whose (a, b) no other beats in both: few, even with hundreds of units.

    Args:
        profile: what the components cost.
        n_subnetworks: N.
        n_coarse_units: N_c, units in each F^j.
        n_iterations: K.

    Raises:
        ValueError: fewer units than subnetworks, an N_c that was not measured, a K that is not among
            1 … N, or too few cuts where a C^j and an F^j can stand.
    """
    sizes = _shortest_of_one_iteration(profile, n_subnetworks, n_coarse_units)
    if n_iterations in (1, n_subnetworks):  # K = N has nothing at the cuts: all partitions take as long
        return sizes
    starts = [sizes, balanced([unit.total for unit in profile.units], n_subnetworks)]
    with suppress(ValueError):  # the paper's rule has none for every N
        starts.append(uniform(profile.n_units, n_subnetworks))

    def path(sizes: Sizes) -> float:
        return critical_path(profile.step_costs(sizes, n_coarse_units, n_iterations))

    return min((_descend(start, path) for start in starts), key=path)


def _shortest_of_one_iteration(profile: CostProfile, n_subnetworks: int, n_coarse_units: int) -> Sizes:
    """The partition with the shortest critical path for K = 1; arguments and errors of :func:`staggered`."""
    n_units = profile.n_units
    _check_number(n_units, n_subnetworks)
    if n_subnetworks == 1:
        return (n_units,)  # needs no F^j: whatever N_c is, it may be one that was not measured
    own, coarse = _costs_between_cuts(profile, n_coarse_units)
    cuts, times = np.zeros(1, dtype=np.intp), np.zeros((2, 1))  # where a way has come to, and its (a, b)
    steps: list[tuple[Indices, Indices]] = []
    for j in range(1, n_subnetworks + 1):
        n_after = n_subnetworks - j
        front = []
        for stop in range(j, n_units - n_after + 1) if n_after else [n_units]:
            starts = cuts[: np.searchsorted(cuts, stop)]
            ways = np.maximum(times[:, : len(starts)] + coarse[:, starts, stop], own[:, starts, stop])
            best = _unbeaten(ways)
            front.append((np.full_like(best, stop), best, ways[:, best]))
        cuts, origins, times = (np.concatenate(part, axis=-1) for part in zip(*front, strict=True))
        steps.append((cuts, origins))
    if not len(cuts):
        raise ValueError(
            f"{n_subnetworks} subnetworks need {n_subnetworks - 1} cuts where a C^j and an F^j of "
            f"{n_coarse_units} units can stand, this network has fewer: lower --n-subnetworks, or give "
            "FeedForward(interface_preprocess=…, coarse=…) your own"
        )
    way = int(times.sum(axis=0).argmin())
    path = []
    for cuts, origins in reversed(steps):
        path.append(int(cuts[way]))
        way = int(origins[way])
    return _sizes([*path, 0])


def _descend(sizes: Sizes, cost: Callable[[Sizes], float]) -> Sizes:
    """Move units from one subnetwork to another as long as that lowers the cost, first many at a time."""
    least, n_moved = cost(sizes), max(sizes) // 2
    while n_moved:
        for giver, taker in permutations(range(len(sizes)), 2):
            moved = [*sizes]
            moved[giver] -= n_moved
            moved[taker] += n_moved
            if moved[giver] > 0 and (found := cost(tuple(moved))) < least:
                sizes, least = tuple(moved), found
                break
        else:
            n_moved //= 2
    return sizes


def _check_number(n_units: int, n_subnetworks: int) -> None:
    """Raise unless every subnetwork can have a unit."""
    if n_subnetworks < 1:
        raise ValueError(f"n_subnetworks = {n_subnetworks}: give at least 1 (the serial network)")
    if n_subnetworks > n_units:
        raise ValueError(
            f"{n_subnetworks} subnetworks need at least {n_subnetworks} units, the network has {n_units}: "
            "lower --n-subnetworks or take a deeper network"
        )


def _between_cuts(costs: Floats) -> Floats:
    """[…, start, stop]: sum of costs[…, start:stop], infinite where that is empty."""
    done = np.concatenate([np.zeros_like(costs[..., :1]), costs.cumsum(axis=-1)], axis=-1)
    sums = done[..., None, :] - done[..., :, None]
    return np.where(np.tri(done.shape[-1], dtype=bool), np.inf, sums)


def _costs_between_cuts(profile: CostProfile, n_coarse_units: int) -> tuple[Floats, Floats]:
    """Seconds by [way, start, stop], way 0 being forward and 1 backward.

    Returns:
        what a subnetwork of the units start … stop − 1 takes, and what the F takes that stands in for
        it: nothing for the first subnetwork, which needs none.
    """
    n_units = profile.n_units
    units = np.array([(unit.forward, unit.backward) for unit in profile.units]).T
    preprocess, coarse = np.zeros((2, n_units + 1)), np.zeros((2, n_units + 1, n_units + 1))
    for start in range(n_units):
        cost = profile.preprocess_at(start)
        preprocess[:, start] = cost.forward, cost.backward
        for stop in range(start + 1, n_units + 1) if start else ():
            cost = profile.coarse_at(start, stop, n_coarse_units)
            coarse[:, start, stop] = cost.forward, cost.backward
    return preprocess[:, :, None] + _between_cuts(units) + preprocess[:, None, :], coarse


def _unbeaten(times: Floats) -> Indices:
    """The columns of times[2, k] that no other column is at most equal to in both rows; no infinite ones."""
    order = np.lexsort(times[::-1])
    second = times[1, order]
    unbeaten: Indices = order[second < np.minimum.accumulate(np.concatenate([[np.inf], second]))[:-1]]
    return unbeaten


def _sizes(cuts: Sequence[int]) -> Sizes:
    """From the cuts, last first, the end and 0 included."""
    return tuple(after - before for after, before in pairwise(cuts))[::-1]


PARTITIONS: dict[str, Callable[[int, int], Sizes]] = {
    "uniform": uniform,
}
"""By name: (number of units, N) -> sizes."""

COST_PARTITIONS: dict[str, Callable[[CostProfile, int, int, int], Sizes]] = {
    "balanced": lambda profile, n, n_coarse_units, k: balanced([unit.total for unit in profile.units], n),
    "staggered": staggered,
}
"""By name: (what the components cost, N, N_c, K) -> sizes."""
