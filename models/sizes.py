"""How many units each subnetwork holds."""

from collections.abc import Sequence

Sizes = tuple[int, ...]
"""Units per subnetwork, first subnetwork first; every unit belongs to exactly one."""


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
