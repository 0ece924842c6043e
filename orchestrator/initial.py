"""Weights that a trial begins with, of a network that was trained before: ``--initial STORE_OR_FILE``."""

from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import torch
from torch import Tensor

from models.parareal import PararealNetwork
from models.tearing import Tearing
from orchestrator.config import PIPELINES, TrialConfig
from orchestrator.formats import check_format
from orchestrator.storage.files import expanded
from orchestrator.trained import load_network

Weights = dict[str, Tensor]
"""By the names of the network in one process."""

_SHOWN = 4  # weights that a message names


def initial_weights(
    config: TrialConfig, tearing: Tearing, *, accept_changed_code: bool = False
) -> Weights | None:
    """What the trial is to begin with; None where that is what its seed says.

    Raises:
        ValueError: there are no such weights, or they are not this network's.
    """
    if config.initial is None:
        return None
    weights = _read(expanded(config.initial), config, accept_changed_code=accept_changed_code)
    if config.strategy in PIPELINES:
        tearing = replace(tearing, sizes=(sum(tearing.sizes),))
    wanted = PararealNetwork(tearing, config.n_iterations).state_dict()
    misfits = [
        f"{name} {_shape(weights.get(name))} where {_shape(wanted.get(name))} is wanted"
        for name in {**wanted, **weights}
        if _shape(weights.get(name)) != _shape(wanted.get(name))
    ]
    if misfits:
        more = f" and {len(misfits) - _SHOWN} more" if len(misfits) > _SHOWN else ""
        raise ValueError(
            f"--initial {config.initial}: {len({**wanted, **weights}) - len(misfits)} weights fit, not "
            f"{', '.join(misfits[:_SHOWN])}{more}: give those of the same network, torn into the same parts"
        )
    return weights


def _read(source: Path, config: TrialConfig, *, accept_changed_code: bool) -> Weights:
    """What a file holds, or what a store's trial of the same network, N and seed has come to.

    One that has begun with no other's weights: in the trial's own store it is not taken for its beginning.
    """
    if source.is_dir():
        names = ("network", "depth", "width", "n_subnetworks", "seed")
        same = {name: getattr(config, name) for name in names} | {"initial": None}
        try:
            return load_network(source, accept_changed_code=accept_changed_code, **same).state_dict()
        except ValueError as error:
            raise ValueError(f"--initial: {error}") from error
    if source.suffix != ".safetensors" or not source.is_file():
        raise ValueError(f"--initial {source}: give a result store, or a file .safetensors that is there")
    check_format(source)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(source)
    except SafetensorError as error:
        raise ValueError(f"--initial {source} is damaged ({error}): write it again") from error


def _shape(tensor: Tensor | None) -> str:
    return "nothing" if tensor is None else str(tuple(tensor.shape))


def weights_fingerprint(weights: Weights | None) -> str | None:
    """A key of names and values; None of none."""
    if weights is None:
        return None
    digest = blake2b(digest_size=8)
    for name, value in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
