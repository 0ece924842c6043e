"""How accurate networks are with several iterations, in one process.

    python -m benchmarks.iterations FILE [--seeds 8] [--n 3 6] [--k 1 2 3] [--coarse units shortcut]

Trains ResNet-56 of width 8 on digits as ``benchmarks.accuracy digits`` does, but with the default C^j, for
every N and K, and once in one piece. What was trained with K = 1 is then used with every other K as well:
with the statistics that its BatchNorms have, and after these were taken anew, over the training images, with
that K. FILE gets a line of JSON for each; trials that are in it are not run again. ``--report`` prints the
table: mean ± standard deviation, and the difference to N = 1 with Welch's 95 % interval.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from scipy import stats
from torch import nn

from benchmarks.one_process import one_process
from models import PararealNetwork
from orchestrator.config import Sweep, TrialConfig
from orchestrator.data.batches import Batches
from orchestrator.data.datasets import Data, load_dataset

SETTING = ["n_subnetworks", "coarse", "trained", "used", "statistics"]


def rows(config: TrialConfig, data: Data, ks: list[int]) -> Iterator[dict[str, Any]]:
    """The errors (%) of one trained network: as it was trained and, with K = 1, as it can be used."""
    n, start = config.n_subnetworks, time.perf_counter()
    network, metrics = one_process(config, data)
    known = {
        "n_subnetworks": n,
        "coarse": config.coarse,
        "seed": config.seed,
        "trained": config.n_iterations,
        "seconds": round(time.perf_counter() - start, 1),
    }
    error = metrics[-1]["validation_error"]
    yield known | {"used": config.n_iterations, "statistics": "as trained", "error": error}
    if config.n_iterations > 1 or n == 1:
        return
    batches = Batches(data, batch_size=config.batch_size, seed=config.seed)
    trained = {name: value.clone() for name, value in network.state_dict().items()}
    for k in sorted({*ks, n}):
        network.n_iterations = 1
        network.load_state_dict(trained)
        if k > 1:
            network.n_iterations = k
            yield known | {"used": k, "statistics": "as trained", "error": error_of(network, batches)}
        measure_statistics(network, k, batches, config.epochs)
        yield known | {"used": k, "statistics": "anew", "error": error_of(network, batches)}


@torch.no_grad()
def error_of(network: PararealNetwork, batches: Batches) -> float:
    """The validation error, in %."""
    network.eval()
    pairs = [batches.validation(step) for step in range(batches.validation.n_steps)]
    wrong = torch.cat([network(images).argmax(1) != labels for images, labels in pairs])
    return 100 * wrong.double().mean().item()


@torch.no_grad()
def measure_statistics(network: PararealNetwork, k: int, batches: Batches, epoch: int) -> None:
    """Take the running statistics of every BatchNorm and pass anew with K = k, as means over an epoch."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    network.n_iterations = k
    network.train()
    for step in range(batches.n_train_steps):
        network(batches.train(epoch, step)[0])
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def report(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each setting."""
    serial = table.loc[table["n_subnetworks"] == 1, "error"]

    def summary(errors: pd.Series) -> pd.Series:
        low, high = stats.ttest_ind(errors, serial, equal_var=False).confidence_interval()
        return pd.Series(
            {
                "error": f"{errors.mean():.2f} ± {errors.std():.2f}",
                "difference": f"{errors.mean() - serial.mean():+.2f} [{low:+.2f}, {high:+.2f}]",
                "n": len(errors),
            }
        )

    return table.groupby(SETTING)["error"].apply(summary).unstack()  # noqa: PD010 - no frame to pivot


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--n", type=int, nargs="+", default=[3, 6])
    parser.add_argument("--k", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--coarse", nargs="+", default=["units", "shortcut"])
    parser.add_argument("--report", action="store_true")
    asked = parser.parse_args()
    done = pd.read_json(asked.file, lines=True) if asked.file.exists() else pd.DataFrame()
    if asked.report:
        print(report(done).to_string())
        raise SystemExit
    torch.set_num_threads(1)
    data = load_dataset("digits")
    sweep = Sweep(
        n_subnetworks=(1, *asked.n),
        n_iterations=tuple(asked.k),
        seed=tuple(range(asked.seeds)),
        coarse=tuple(asked.coarse),
    )
    names = ["n_subnetworks", "coarse", "seed", "trained"]
    finished = {*done[names].itertuples(index=False, name=None)} if len(done) else set()
    for config in sorted(sweep.trials(), key=lambda config: config.seed):
        if (config.n_subnetworks, config.coarse, config.seed, config.n_iterations) in finished:
            continue
        found = list(rows(config, data, asked.k))
        with asked.file.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in found)
