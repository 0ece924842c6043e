"""What becomes of a trained network that is torn as it is: C^j and F^j are fitted to it, without labels.

    python -m benchmarks.trained_network FILE [--seeds 8] [--n 3 6] [--k 1 2 3] [--coarse shortcut units]

Trains ResNet-56 of width 8 and ViT-12 of width 48 on digits in one piece (8 epochs, as elsewhere), tears
each, fits C^j and F^j for every K < N with ``models.fitting`` over 8 epochs of the same images, and
validates. Then all parameters are trained for two more epochs, with labels (SGD from a rate of 0.01). FILE
gets a line of JSON for each, and those that are in it are not run again: errors (%) of f, of f̃_K once fitted
and once fine-tuned, how far what h reads was from f's when fitting ended, seconds of training f and of
fitting, and how much shorter than f's the path of a forward pass is, by components' times measured here.
``--report`` prints the table: mean ± standard deviation, and the difference to f with its 95 % interval, of
pairs; of paths the median.
"""

import argparse
import json
import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from scipy import stats
from torch import nn

from benchmarks.iterations import error_of
from benchmarks.one_process import one_process
from models import PararealNetwork, plan_tearing
from models.cost_profile import CostProfile
from models.fitting import fit_interfaces
from models.profiling import measure_profile
from models.step_time import Cost, critical_path
from orchestrator.config import Sweep
from orchestrator.data.batches import Batches
from orchestrator.data.datasets import load_dataset

NETWORKS = (("resnet", 56, 8), ("vit", 12, 48))


def torn(serial: PararealNetwork, n: int, *, coarse: str, n_iterations: int, seed: int) -> PararealNetwork:
    """The network torn into N, with the weights and statistics of the one in one piece."""
    network = PararealNetwork(plan_tearing(serial.tearing.network, n, coarse=coarse, seed=seed), n_iterations)
    units = [unit for g in network.subnetworks for unit in g.children()]
    pairs = [
        (network.preprocesses[0], serial.preprocesses[0]),
        *zip(units, serial.subnetworks[0].children(), strict=True),
        (network.postprocess, serial.postprocess),
    ]
    for module, trained in pairs:
        module.load_state_dict(trained.state_dict())
    return network


def fine_tune(network: PararealNetwork, batches: Batches, epochs: int) -> None:
    """Train all parameters, with labels."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * batches.n_train_steps)
    network.train()
    for epoch in range(1, epochs + 1):
        for step in range(batches.n_train_steps):
            images, labels = batches.train(epoch, step)
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images), labels).backward()
            optimizer.step()
            schedule.step()


def forward_path(profile: CostProfile, network: PararealNetwork, n_coarse_units: int) -> float:
    """Seconds of the longest chain through a forward pass."""
    costs = profile.step_costs(network.tearing.sizes, n_coarse_units, network.n_iterations)
    there: dict[str, Any] = {
        name: tuple(Cost(cost.forward, 0.0) for cost in getattr(costs, name))
        for name in ("preprocess", "subnetworks", "coarse_network")
    }
    return critical_path(replace(costs, postprocess=Cost(costs.postprocess.forward, 0.0), **there))


def report(table: pd.DataFrame) -> str:
    """A row for each network and way to tear it."""
    rows = []
    for (network, n, coarse, k), of in table.groupby(["network", "n", "coarse", "k"]):
        difference = of["error"] - of["error_of_f"]
        low, high = stats.ttest_1samp(difference, 0.0).confidence_interval()
        rows.append(
            {
                **{"network": network, "error of f (%)": _spread(of["error_of_f"])},
                **{"N": n, "F^j": coarse, "K": k, "distance": _spread(of["distance"])},
                "error (%)": _spread(of["error"]),
                "difference to f": f"{difference.mean():+.2f} [{low:+.2f}, {high:+.2f}]",
                "after fine-tuning": _spread(of["error_fine_tuned"]),
                "forward path": f"{of['forward_speed_up'].median():.1f}×",
                "n": len(of),
            }
        )
    return str(pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True))


def _spread(values: pd.Series) -> str:
    return f"{values.mean():.2f} ± {values.std():.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--n", type=int, nargs="+", default=[3, 6])
    parser.add_argument("--k", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--coarse", nargs="+", default=["shortcut", "units"])
    parser.add_argument("--report", action="store_true")
    asked = parser.parse_args()
    if asked.report:
        print(report(pd.read_json(asked.file, lines=True)))
        return
    torch.set_num_threads(1)
    data = load_dataset("digits")
    known = [json.loads(line) for line in asked.file.read_text().splitlines()] if asked.file.exists() else []
    done = {tuple(row[name] for name in ("network", "seed", "n", "k", "coarse")) for row in known}
    for seed in range(asked.seeds):
        for name, depth, width in NETWORKS:
            (config,) = Sweep(network=name, depth=depth, width=width, n_subnetworks=1, seed=seed).trials()
            start = time.perf_counter()
            serial, _ = one_process(config, data)
            trained = time.perf_counter() - start
            batches = Batches(data, batch_size=config.batch_size, seed=seed)
            steps = [(epoch, step) for epoch in range(1, 9) for step in range(batches.n_train_steps)]
            images = [batches.train(*step)[0] for step in steps]
            for k, n, coarse in product(asked.k, asked.n, asked.coarse):
                if k >= n or (name, seed, n, k, coarse) in done:
                    continue
                network = torn(serial, n, coarse=coarse, n_iterations=k, seed=seed)
                start = time.perf_counter()
                *_, distance = fit_interfaces(network, images)
                fitting = time.perf_counter() - start
                tearing = network.tearing
                profile = measure_profile(
                    tearing.network,
                    preprocess=tearing.preprocess,
                    coarse=tearing.coarse,
                    n_coarse_units=(tearing.n_coarse_units,),
                    batch_size=config.batch_size,
                )
                row = {
                    **{"network": name, "seed": seed, "n": n, "k": k, "coarse": coarse},
                    "error_of_f": error_of(serial, batches),
                    "error": error_of(network, batches),
                    "distance": distance,
                    "seconds_training": round(trained, 1),
                    "seconds_fitting": round(fitting, 1),
                    "forward_speed_up": forward_path(profile, serial, tearing.n_coarse_units)
                    / forward_path(profile, network, tearing.n_coarse_units),
                }
                fine_tune(network, batches, 2)
                row["error_fine_tuned"] = error_of(network, batches)
                with asked.file.open("a") as file:
                    file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
