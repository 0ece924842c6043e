"""The trained network of a store, in one process: ``load_network("results/quickstart", n_subnetworks=3)``."""

import io
import warnings
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal, cast

import pandas as pd
import torch
from torch import Tensor

from analysis import load
from analysis.configuration import short_labels
from analysis.reading import read_table
from models.feedforward import Shape
from models.imported import keep
from models.parareal import PararealNetwork
from models.tearing import plan_tearing
from orchestrator.config import TORN, TrialConfig, config_of
from orchestrator.config.own import is_named, named
from orchestrator.one_process import in_one_process, untorn
from orchestrator.own_code import fingerprint
from orchestrator.storage import checkpoint
from orchestrator.storage.store import best_epoch

Epoch = int | Literal["last", "best"]

_MOST = 20  # trials that a message lists


def load_network(
    store: str | Path,
    trial: str | None = None,
    *,
    epoch: Epoch = "last",
    accept_changed_code: bool = False,
    **options: Any,
) -> PararealNetwork:
    """The network that a trial has trained, whatever trained it: on the CPU, in eval mode.

    Args:
        store: the folder that a sweep wrote.
        trial: its ``trial_id``; not needed where the options leave one alone.
        epoch: after which epoch. A store has the last two, and the best with ``--keep best``.
        accept_changed_code: whether another version of a user's own network is as good.
        **options: of :class:`~orchestrator.config.TrialConfig`, such as ``n_subnetworks=3, seed=0``; of a
            network or task that cannot be imported, such as a notebook's, the function itself.

    Raises:
        ValueError: no trial or several, no checkpoint of that epoch, or a network that is not the one that
            was trained; the message says what there is.
        StoreError: the folder is no result store.
    """
    row = _find(Path(store), trial, options, accept_changed_code=accept_changed_code)
    config = config_of(row)
    for name, own in options.items():
        if not isinstance(own, tuple) and named(own) is not own:
            keep(str(getattr(config, name)), own)
    network = _build(row, config, accept_changed_code=accept_changed_code)
    states = _states(Path(store), row, epoch)
    loaded = {
        part: torch.load(io.BytesIO(s), map_location="cpu", weights_only=True) for part, s in states.items()
    }
    try:
        network.load_state_dict(_renamed(loaded, "module", row))
        for name, value in _renamed(loaded, "other_buffers", row).items():
            network.get_buffer(name).copy_(value)
    except (AttributeError, RuntimeError) as error:
        said = " ".join(str(error).split())
        raise ValueError(
            f"the network of {row['trial_id']} is not what was trained ({said}): bring back the versions of "
            f"that time, project {row['project']} {row['commit']}"
        ) from error
    return network


def _find(
    store: Path, trial: str | None, options: Mapping[str, Any], *, accept_changed_code: bool
) -> dict[str, Any]:
    """The row of the one trial that is meant.

    Raises:
        ValueError: there is none, or several.
    """
    names = {option.name for option in fields(TrialConfig)}
    if unknown := options.keys() - names:
        raise ValueError(
            f"no trial has an option {', '.join(sorted(unknown))}: give some of {', '.join(sorted(names))}"
        )
    trials = load(store).trials
    rows: Any = trials.astype(object).where(trials.notna(), None).to_dict("records")
    said = ((name, value if isinstance(value, tuple) else named(value)) for name, value in options.items())
    asked = ", ".join([*filter(None, [trial]), *(f"{name}={value!r}" for name, value in said)])
    found = [
        row
        for row in rows
        if trial in (None, row["trial_id"]) and _has(row, options, whatever_key=accept_changed_code)
    ]
    if len(found) == 1:
        return cast(dict[str, Any], found[0])
    shown = trials[trials["trial_id"].isin([row["trial_id"] for row in found])] if found else trials
    raise ValueError(
        f"{store} has {len(found) or 'no'} trials ({asked or 'any'}): give one of {_listed(shown)}"
    )


def _has(row: Mapping[str, Any], options: Mapping[str, Any], *, whatever_key: bool) -> bool:
    """Whether a trial has these values."""
    if not options:
        return True
    config = config_of(row)
    return all(
        getattr(config, name) == value
        if isinstance(value, tuple)
        else is_named(value, getattr(config, name), whatever_key=whatever_key)
        for name, value in options.items()
    )


def _listed(trials: pd.DataFrame) -> str:
    """Trials for a reader: what they differ in, and their ids."""
    if trials.empty:
        return "none: it is empty"
    named = [
        f"{name} ({key})" if name != key else name
        for name, key in zip(short_labels(trials), trials["trial_id"], strict=True)
    ]
    more = f" and {len(named) - _MOST} more" if len(named) > _MOST else ""
    return "; ".join(named[:_MOST]) + more


def _build(row: Mapping[str, Any], config: TrialConfig, *, accept_changed_code: bool) -> PararealNetwork:
    """The trial's network in eval mode, with the weights that it began with.

    Raises:
        ValueError: the code of a user's own network is not what was trained, or cannot be imported.
    """
    trial_id = row["trial_id"]
    input_shape, n_classes, vocabulary = _data(row, config)
    network = untorn(config, input_shape=input_shape, n_classes=n_classes, vocabulary=vocabulary)
    then, now = row["code_fingerprint"], fingerprint(config.network, config.task)
    if then not in (None, now) and not accept_changed_code:
        own = " and ".join(name for name in (config.network, config.task) if ":" in name)
        raise ValueError(
            f"the code of {own} is not what {trial_id} was trained with (then {then}, now {now}): bring back "
            "the code, or accept changed code if the change makes no difference"
        )
    sizes = _sizes(row)
    tearing = plan_tearing(
        network,
        len(sizes) if config.strategy in TORN else 1,
        partition=sizes if config.strategy in TORN else (sum(sizes),),
        n_coarse_units=config.n_coarse_units,
        preprocess=config.preprocess,
        coarse=config.coarse,
        seed=config.seed,
    )
    compute = replace(config.compute(torch.device("cpu")), compiled=False, graphs=False)
    built = PararealNetwork(tearing, config.n_iterations)
    compute.place(built)
    return built.eval()


def _data(row: Mapping[str, Any], config: TrialConfig) -> tuple[Shape, int, int | None]:
    """Shape of an input, number of outputs, vocabulary; of an early store by reading the data again."""
    if row["input_shape"] is not None:
        vocabulary = None if row["vocabulary"] is None else int(row["vocabulary"])
        return tuple(map(int, row["input_shape"].split("×"))), int(row["n_classes"]), vocabulary
    from orchestrator.data.datasets import load_dataset

    data = load_dataset(config.dataset, reading=config.reading)
    return data.input_shape, len(data.classes), None


def _sizes(row: Mapping[str, Any]) -> tuple[int, ...]:
    """Units of each subnetwork or stage."""
    return tuple(map(int, row["partition_sizes"].split()))


def _states(store: Path, row: Mapping[str, Any], epoch: Epoch) -> dict[str, bytes]:
    """The actors' states after an epoch.

    Raises:
        ValueError: there are none.
    """
    trial_id = row["trial_id"]
    folder = store / "checkpoints" / trial_id
    kept = checkpoint.epochs(folder)
    if not kept:
        raise ValueError(
            f"{trial_id} has no checkpoint in {store}: copy the folder checkpoints with the others"
        )
    if epoch == "last":
        last, states = checkpoint.load_latest(folder, tell=warnings.warn)
        if not last:
            raise ValueError(f"all checkpoints of {trial_id} in {store} are damaged: train it again")
        return states
    why = ""
    if epoch == "best":
        rows = read_table(store / "epochs" / f"{trial_id}.parquet").to_pylist()
        epoch = best_epoch(rows, row["better"]) or 0
        why = "; a sweep with --keep best keeps the best"
    if epoch not in kept:
        there = " and ".join(map(str, kept))
        raise ValueError(f"{trial_id} has no checkpoint of epoch {epoch}: there are those of {there}{why}")
    return checkpoint.load(folder, epoch)


def _renamed(states: Mapping[str, Mapping[str, Any]], key: str, row: Mapping[str, Any]) -> dict[str, Tensor]:
    """What the actors hold under a key, by the one-process network's names."""
    return {
        in_one_process(part, name, _sizes(row)): value
        for part, state in states.items()
        for name, value in state.get(key, {}).items()
    }
