"""Fits C^j and F^j to a network that stays as it is, by what its subnetworks read: without labels."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from models.parareal import PararealNetwork


def fit_interfaces(
    network: PararealNetwork, batches: Iterable[Tensor], *, learning_rate: float = 3e-3
) -> Iterator[float]:
    """Train the parameters of C^2 … C^N and F^1 … F^{N−1}, and nothing else, on batches of images.

    Small are to be the distances of C^j(x) from what g^j reads in f, and of what each of the network's
    iterations finds from what it stands for in f: their squares, relative to those of f, are added up, and
    Adam takes a step. C, g and h stay as they are, with their BatchNorms' statistics.

    Args:
        network: torn, with the weights of f in its C^1, g^j and h.
        batches: of images, (batch, *input_shape), on the network's device.
        learning_rate: of Adam in the beginning; half a cosine takes it to 0 if the batches can be counted.

    Yields:
        after each batch, how far x_{N+1}, which h reads, was from f's: the norm of the difference over f's.
    """
    fitted = [*network.preprocesses[1:].parameters(), *network.coarse_network.parameters()]
    frozen = [p for p in network.parameters() if p.requires_grad and all(p is not q for q in fitted)]
    optimizer = torch.optim.Adam(fitted, lr=learning_rate)
    steps = len(batches) if hasattr(batches, "__len__") else 0  # type: ignore[arg-type]
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps) if steps else None
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        for images in batches:
            network.eval()
            network.preprocesses[1:].train()
            network.coarse_network.train()
            *others, last = _distances(network, images)
            optimizer.zero_grad()
            sum(others, last).backward()
            optimizer.step()
            if schedule is not None:
                schedule.step()
            yield last.item() ** 0.5
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)


def _distances(network: PararealNetwork, images: Tensor) -> list[Tensor]:
    """Squares of relative distances, that of x_{N+1} last."""
    with torch.no_grad():
        exact = network.exact_reads(images)
    used = range(2, len(network.subnetworks) - network.n_iterations + 2)
    found = [{j: network.preprocesses[j - 1](images) for j in used}, *network.iterate(images)]
    return [_distance(x_j, exact[j]) for reads in found for j, x_j in reads.items()]


def _distance(found: Tensor, exact: Tensor) -> Tensor:
    return (found - exact).square().sum() / exact.square().sum()
