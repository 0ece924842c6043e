"""How many consecutive units each subnetwork gets."""

from collections.abc import Sequence

Sizes = tuple[int, ...]
"""Units per subnetwork, first subnetwork first; every unit belongs to exactly one."""


def uniform(n_units: int, n_subnetworks: int) -> Sizes:
    """The paper's partition: ⌈n_units / N⌉ units each, the last subnetwork takes the rest.

    Raises:
        ValueError: fewer units than subnetworks, or the rule leaves a subnetwork empty.
    """
    if n_subnetworks < 1:
        raise ValueError(f"n_subnetworks = {n_subnetworks}: give at least 1 (the serial network)")
    if n_subnetworks > n_units:
        raise ValueError(
            f"{n_subnetworks} subnetworks need at least {n_subnetworks} units, the network has {n_units}: "
            "lower --n-subnetworks or take a deeper network"
        )
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


def check(sizes: Sequence[int], n_units: int) -> Sizes:
    """Return ``sizes`` as a tuple if they hold every unit exactly once and no subnetwork is empty.

    Raises:
        ValueError: a size below 1, or a sum other than ``n_units``.
    """
    if not sizes or min(sizes) < 1:
        raise ValueError(f"partition {tuple(sizes)}: every subnetwork needs at least one unit")
    if sum(sizes) != n_units:
        raise ValueError(
            f"partition {tuple(sizes)} holds {sum(sizes)} units, the network has {n_units}: "
            "every unit belongs to exactly one subnetwork"
        )
    return tuple(sizes)


PARTITIONS = {"uniform": uniform}
