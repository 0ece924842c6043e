"""Whether a block of code draws random numbers that no seed of a trial decides."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


class OtherRandomNumbersError(ValueError):
    """A component draws random numbers that no seed of a trial decides."""


@contextmanager
def torchs_random_numbers(what: str) -> Iterator[None]:
    """See that no random numbers but torch's are drawn in the block.

    Raises:
        OtherRandomNumbersError: some are; each process would have its own.
    """
    before = _others_states()
    yield
    if _others_states() != before:
        raise OtherRandomNumbersError(
            f"{what} draws random numbers of Python or numpy, which differ from process to process: draw "
            "them with torch"
        )


def _others_states() -> tuple[object, ...]:
    _, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002  # the one that others draw from
    return random.getstate(), np.asarray(keys).tobytes(), tuple(rest)
