"""What it would save and cost to stop trials that fall behind, or to go on with K = 2 from half-way.

    python -m benchmarks.adaptive FILE [--seeds 5] [--networks resnet vgg mlp vit]
    python -m benchmarks.adaptive FILE --report

Trains narrow networks on digits (8 epochs) in one piece and torn into 3 and 6, with C^j that work and C^j
that do not, with K = 1 to the end, and once more with K = 2 from epoch 5 on. FILE gets a line of JSON for
each, with the validation errors (%) of all epochs; those that are in it are not run again.

The report plays the epochs of the trials with K = 1, two trials at a time and in 50 random orders, to Ray
Tune's own schedulers, a sweep for each network and learning rate: how many epochs they save, whom they stop,
and what is left of the differences to N = 1 when stopped trials are left out.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from ray.tune.schedulers import AsyncHyperBandScheduler, MedianStoppingRule, TrialScheduler

from benchmarks.one_process import one_process
from models import PararealNetwork
from orchestrator.config import Sweep, TrialConfig
from orchestrator.data.datasets import load_dataset

N_EPOCHS, HALF, N_ORDERS = 8, 4, 50

AT_CHANCE = 80.0
"""Errors (%) above which a network has learnt next to nothing of ten classes."""

NETWORKS: dict[str, dict[str, Any]] = {
    "resnet": {"depth": 56, "width": 8},
    "vgg": {"depth": 16, "width": 16, "preprocess": ("auto", "strided")},
    "mlp": {"depth": 14, "width": 64, "preprocess": ("auto", "strided"), "learning_rate": (0.02, 0.05)},
    "vit": {"depth": 12, "width": 48},
}

SWEEP, SETTING = ["network", "learning_rate"], ["n_subnetworks", "preprocess"]

USUAL: dict[str, Any] = {"metric": "error", "mode": "min", "time_attr": "training_iteration"}
RULES: dict[str, Callable[[], Any]] = {
    "ASHA, Tune's defaults": lambda: AsyncHyperBandScheduler(**USUAL, max_t=N_EPOCHS),
    "ASHA, one half at half-time": lambda: AsyncHyperBandScheduler(
        **USUAL, max_t=N_EPOCHS, grace_period=HALF, reduction_factor=2
    ),
    "median stopping": lambda: MedianStoppingRule(**USUAL, grace_period=1),
    "median stopping from half-time": lambda: MedianStoppingRule(**USUAL, grace_period=HALF),
}


class Trial(NamedTuple):
    """What Tune's schedulers know of a trial."""

    trial_id: str


def train(config: TrialConfig, data: Any, *, switches: bool) -> dict[str, Any]:
    """The errors of a trial, epoch by epoch."""

    def switch(network: PararealNetwork, epoch: int) -> None:
        network.n_iterations = 2 if switches and epoch > HALF else 1

    start = time.perf_counter()
    _, metrics = one_process(config, data, before_epoch=switch)
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "errors": [epoch["validation_error"] for epoch in metrics],
    }


def play(trials: pd.DataFrame, rule: Callable[[], Any], order: np.ndarray) -> np.ndarray:
    """How many epochs each trial gets, two at a time in this order."""
    scheduler, nobody = rule(), SimpleNamespace(get_live_trials=list)
    waiting, epochs = list(order), np.zeros(len(trials), dtype=int)
    running: list[int] = []
    names = [Trial(str(i)) for i in range(len(trials))]
    while waiting or running:
        while waiting and len(running) < 2:
            running.append(waiting.pop(0))
            scheduler.on_trial_add(nobody, names[running[-1]])
        for i in list(running):
            epochs[i] += 1
            error = trials["errors"].iloc[i][epochs[i] - 1]
            result = {"training_iteration": epochs[i], "error": error}
            if epochs[i] == N_EPOCHS:
                scheduler.on_trial_complete(nobody, names[i], result)
                running.remove(i)
            elif scheduler.on_trial_result(nobody, names[i], result) == TrialScheduler.STOP:
                running.remove(i)
    return epochs


def stopping(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """A row for each sweep and rule."""
    for sweep, trials in table[table["k"] == 1].groupby(SWEEP):
        last = trials["errors"].str[-1].to_numpy()
        settings = trials.groupby(SETTING).ngroup().to_numpy()
        serial = (trials["n_subnetworks"] == 1).to_numpy()
        good = last <= last[serial].mean() + 1
        for name, rule in RULES.items():
            rows = []
            for seed in range(N_ORDERS):
                order = np.random.default_rng(seed).permutation(len(trials))
                epochs = play(trials, rule, order)
                left = epochs == N_EPOCHS
                means = [last[left & (settings == s)].mean() for s in np.unique(settings[left])]
                true = [last[settings == s].mean() for s in np.unique(settings[left])]
                rows.append(
                    {
                        "epochs saved, %": 100 * (1 - epochs.sum() / (N_EPOCHS * len(trials))),
                        "stopped, %": 100 * (~left).mean(),
                        "of the good stopped, %": 100 * (~left)[good].mean(),
                        "settings with no trial left, %": 100 * (1 - len(means) / len(np.unique(settings))),
                        "means too good by": np.subtract(true, means).mean() if means else np.nan,
                        "serial stopped, %": 100 * (~left)[serial].mean(),
                    }
                )
            yield dict(zip(SWEEP, sweep, strict=True)) | {"rule": name, **pd.DataFrame(rows).mean()}


def report(table: pd.DataFrame) -> None:
    """Print what each setting ended with, what stopping does, and what a switch does."""
    table["error"] = table["errors"].str[-1]
    table["half"] = table["errors"].str[HALF - 1]
    by = table.groupby([*SWEEP, *SETTING, "k"])
    print(by[["half", "error", "seconds"]].agg(["mean", "std", "size"]).round(2).to_string())
    pairs = table.pivot_table(index=[*SWEEP, *SETTING, "seed"], columns="k", values="error").dropna()
    change = (pairs[2] - pairs[1]).groupby([*SWEEP, *SETTING])
    print(change.agg(["mean", "std", "size"]).round(2).to_string())
    once = table[table["k"] == 1]
    chance = once[once["half"] > AT_CHANCE]
    learnt = (chance["error"] < AT_CHANCE).sum()
    print(f"{len(chance)} of {len(once)} trials at chance at half-time, {learnt} of them not at the end")
    print(pd.DataFrame(stopping(table)).round(2).to_string(index=False))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--report", action="store_true")
    asked = parser.parse_args()
    rows = [json.loads(line) for line in asked.file.read_text().splitlines()] if asked.file.exists() else []
    if asked.report:
        report(pd.DataFrame(rows))
        return
    names = [*SWEEP, *SETTING, "seed", "k"]
    done = {tuple(row[name] for name in names) for row in rows}
    torch.set_num_threads(1)
    data = load_dataset("digits")
    for seed in range(asked.seeds):
        for network in asked.networks:
            options = NETWORKS[network]
            sweep = Sweep(network=network, n_subnetworks=(1, 3, 6), seed=seed, epochs=N_EPOCHS)
            for config in sweep.but(**options).trials():
                for k in (1, 2) if config.n_subnetworks > 1 else (1,):
                    row: dict[str, Any] = {name: getattr(config, name) for name in names[:-1]} | {"k": k}
                    if tuple(row.values()) not in done:
                        row |= train(config, data, switches=k == 2)
                        with asked.file.open("a") as file:
                            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
