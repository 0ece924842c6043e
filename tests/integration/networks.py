"""Networks of every kind that users have: for each, actors must train what one process does.

Every one is a factory, as ``--network tests.integration.networks:equal_NAME`` takes it, for images (1, 8, 8).
"""

from collections.abc import Callable

from torch import nn

from models import FeedForward
from tests.integration import (
    networks_by_shape,
    networks_changed,
    networks_in_part,
    networks_refused,
    networks_with_faults,
    networks_with_state,
)

EQUAL: dict[str, Callable[[], FeedForward | nn.Module]] = (
    networks_in_part.EQUAL | networks_with_state.EQUAL | networks_changed.EQUAL | networks_by_shape.EQUAL
) | {"coarse_that_clips": networks_with_faults.coarse_that_clips}
"""What is trained."""
REFUSED = networks_refused.REFUSED | networks_with_faults.REFUSED
"""What the plan refuses, and how."""


def __getattr__(name: str) -> Callable[..., FeedForward | nn.Module]:
    """Each network by its name, called as a sweep calls it."""
    kind, _, name = name.partition("_")
    if kind == "equal":
        made = EQUAL[name]
    elif kind == "refused":
        made = REFUSED[name][0]
    elif kind == "parts":
        made = networks_with_faults.REFUSED_IN_PARTS[name]
    else:
        raise AttributeError(name)

    def network(*, input_shape: tuple[int, ...], n_classes: int) -> FeedForward | nn.Module:
        return made()

    return network
