"""A data set of one's own, as a user brings it: a few numbers, and another number that follows from them."""

import numpy as np

Split = tuple[np.ndarray, np.ndarray]


def waves() -> tuple[Split, Split]:
    """Training and validation samples: 6 numbers each, and a sum of their sines with noise."""
    random = np.random.default_rng(0)
    inputs = random.normal(size=(800, 6)).astype(np.float32)
    targets = np.sin(inputs).sum(axis=1, keepdims=True) + 0.1 * random.normal(size=(800, 1))
    targets = targets.astype(np.float32)
    return (inputs[:640], targets[:640]), (inputs[640:], targets[640:])
