"""How much faster could it be? Critical paths of ResNet-1001 up to N = 64, by partition and coarse network.

    python -m benchmarks.critical_path                            this machine's CPU, batch 32
    python -m benchmarks.critical_path --device cuda --batch-size 128 --precision bfloat16 --channels-last

Measures what every kind of component costs on one core or GPU, then finds the best cuts for each N. Needs
no Ray. Writes a table and a figure, and the measured costs, to results/critical-path.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import matplotlib.pyplot as plt
import pandas as pd
import torch

from analysis.published import published_table2
from models import resnet
from models.compute import Compute, Precision
from models.cost_profile import CostProfile
from models.feedforward import FeedForward
from models.profiling import measure_profile
from models.step_time import critical_path, paper_sum
from models.tearing import interface_factories, paper_n_coarse_units, plan_tearing

NS = [*range(2, 27), *range(28, 65, 4)]

PARTITIONS = ("uniform", "balanced", "staggered")

LINES: dict[str, dict[str, Any]] = {
    "paper's sum, uniform": {"color": "0.6", "linestyle": ":"},
    "uniform": {"color": "C0", "linestyle": "--"},
    "balanced": {"color": "C1", "linestyle": "-."},
    "staggered": {"color": "C2", "linestyle": "-"},
    "staggered, shortcut": {"color": "C3", "linestyle": "-", "marker": "o", "markersize": 3},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--depth", type=int, default=1001)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=get_args(Precision), default="float32")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--graphs", action="store_true", help="replay recorded passes; needs a GPU")
    parser.add_argument("--folder", type=Path, default=Path("results/critical-path"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    compute = Compute(
        *(torch.device(asked.device), asked.precision, asked.channels_last, asked.compiled, asked.graphs)
    )
    if compute.graphs and compute.device.type != "cuda":
        parser.error(f"--graphs needs a GPU, not --device {asked.device}: leave out one of them")
    compute.settle()
    network = resnet(asked.depth)
    profiles: dict[str, CostProfile] = {}
    asked.folder.mkdir(parents=True, exist_ok=True)
    # The cheaper coarse network comes with the C^j that keeps torn networks accurate with it.
    for coarse, preprocess, n_coarse_units in (
        ("units", "strided", sorted({paper_n_coarse_units(n) for n in NS})),
        ("shortcut", "stem", [0]),
    ):
        c, f = interface_factories(network, preprocess=preprocess, coarse=coarse)
        profiles[coarse] = measure_profile(
            network,
            preprocess=c,
            coarse=f,
            n_coarse_units=n_coarse_units,
            batch_size=asked.batch_size,
            compute=compute,
            repeats=asked.repeats,
        )
        text = json.dumps(profiles[coarse].to_dict())
        (asked.folder / f"costs-{coarse}.json").write_text(text)
    # The same units in both: what is compared is the interfaces.
    profiles["shortcut"] = replace(
        profiles["units"],
        interface_preprocess=profiles["shortcut"].interface_preprocess,
        coarse=profiles["shortcut"].coarse,
    )
    table = speed_ups(network, profiles)
    serial = critical_path(profiles["units"].step_costs((network.n_units,), 1))
    print(f"serial step {1e3 * serial:.1f} ms, batch {asked.batch_size}, {compute}")
    shown = table.drop(columns="sizes").astype(object)
    text = shown.where(shown.notna(), None).to_markdown(
        index=False, floatfmt=("g", "g", *[".2f"] * 5), missingval="–"
    )
    print(text)
    (asked.folder / "speed_up.md").write_text(text + "\n")
    table.to_csv(asked.folder / "speed_up.csv", index=False)
    draw(table, asked.folder)


def speed_ups(network: FeedForward, profiles: dict[str, CostProfile]) -> pd.DataFrame:
    """Predicted speed-ups over N = 1, a row for each N that the network can be torn into.

    Args:
        network: what is torn.
        profiles: what its components cost, by coarse network: "units" and "shortcut".

    Returns:
        Columns: N, N_c of F^j of units, those of LINES (missing where the partition is impossible), and
        sizes, the units of each subnetwork of "staggered".
    """
    serial = critical_path(profiles["units"].step_costs((network.n_units,), 1))
    rows = []
    for n in NS:
        row: dict[str, object] = {}
        for line, coarse, n_coarse_units in (
            *((partition, "units", paper_n_coarse_units(n)) for partition in PARTITIONS),
            ("staggered, shortcut", "shortcut", 0),
        ):
            profile, partition = profiles[coarse], line.partition(",")[0]
            try:
                tearing = plan_tearing(
                    network,
                    n,
                    partition=partition,
                    costs=profile,
                    coarse=coarse,
                    n_coarse_units=n_coarse_units,
                )
            except ValueError:  # too few units, or the paper's rule leaves a subnetwork empty
                continue
            costs = profile.step_costs(tearing.sizes, n_coarse_units)
            row[line] = serial / critical_path(costs)
            if line == "uniform":
                row["paper's sum, uniform"] = serial / paper_sum(costs)
            if line == "staggered":
                row["sizes"] = " ".join(map(str, tearing.sizes))
        if row:
            rows.append({"N": n, "N_c": paper_n_coarse_units(n)} | row)
    return pd.DataFrame(rows, columns=["N", "N_c", *LINES, "sizes"])


def draw(table: pd.DataFrame, folder: Path) -> None:
    """Speed-up over the untorn network against N."""
    figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    axes.plot([1, 64], [1, 64], color="0.85", linewidth=1)
    axes.annotate("N", (20.6, 21), color="0.6")
    for name, style in LINES.items():
        drawn = table.dropna(subset=name)
        axes.plot(drawn["N"], drawn[name], label=name, **style)
    paper = published_table2()
    axes.plot(*(paper["n_subnetworks"], paper["speed_up"]), "kx", label="published (Table 2, GPU)")
    axes.set(xlabel="Number of subnetworks N", ylabel="Predicted speed-up over N = 1")
    axes.set(xlim=(0, 65), ylim=(0, 1.1 * table[[*LINES]].max().max()))
    axes.legend(frameon=False, fontsize="small")
    for suffix in ("svg", "png"):
        figure.savefig(folder / f"speed_up.{suffix}", dpi=150)


if __name__ == "__main__":
    main()
