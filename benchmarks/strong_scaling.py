"""What do D devices buy with the same batch? From what ``python -m benchmarks.gpu`` has measured on one.

    python -m benchmarks.strong_scaling docs/gpu

Data parallel and pipelines: the whole network at a share of the batch, ideally balanced over the devices;
their exchange of gradients and activations counts nothing. Parareal: the critical path of staggered cuts,
N + 1 = D. Prints a table, and draws ``strong_scaling.svg`` and ``.png`` beside the measurements.
"""

import argparse
import json
from math import ceil, nan
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from models.cost_profile import CostProfile
from models.partition import staggered
from models.step_time import critical_path
from models.tearing import paper_n_coarse_units

DEVICES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 41)
MICROBATCHES = (2, 4, 8, 16, 32)
ARITHMETIC = "IEEE float32"

LINES = {
    "data parallel": {"color": "C0", "linestyle": "--", "marker": "s"},
    "pipeline": {"color": "0.5", "linestyle": ":", "marker": "^"},
    "parareal, the paper's F": {"color": "C2", "marker": "o"},
    "parareal, stem and shortcut": {"color": "C3", "marker": "o"},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args()
    content = {name: _rows(asked.folder, name) for name in ("strong_scaling", "critical_paths")}
    profiles = {
        row["coarse"]: CostProfile.from_dict(row["profile"])
        for row in content["critical_paths"]
        if "profile" in row and row["launch"] == "graphs"
    }
    whole = {row["batch_size"]: row["seconds"] for row in content["strong_scaling"] if "seconds" in row}
    table = pd.DataFrame([speed_ups(n, whole, profiles) for n in DEVICES])
    print(table.to_markdown(index=False, floatfmt=("g", *[".2f"] * 4), missingval="–"))
    draw(table, asked.folder)


def _rows(folder: Path, name: str) -> list[dict]:
    """What was measured with the arithmetic that is compared."""
    rows = json.loads((folder / f"{name}.json").read_text())["rows"]
    return [row for row in rows if row.get("arithmetic") == ARITHMETIC]


def speed_ups(n_devices: int, whole: dict[int, float], profiles: dict[str, CostProfile]) -> dict[str, float]:
    """Of every way to use so many devices, over one.

    Args:
        n_devices: D.
        whole: seconds of the whole network by size of batch.
        profiles: costs by coarse network.
    """
    batch = max(whole)
    alone = whole[batch]
    row: dict[str, float] = {"devices": n_devices}
    row["data parallel"] = alone / whole.get(ceil(batch / n_devices), nan)
    stages = [
        (m + n_devices - 1) * whole[batch // m] / n_devices for m in MICROBATCHES if batch // m in whole
    ]
    row["pipeline"] = alone / (min(stages) if n_devices > 1 else alone)
    for name, coarse in (("parareal, the paper's F", "units"), ("parareal, stem and shortcut", "shortcut")):
        row[name] = alone / path(profiles[coarse], n_devices - 1) if n_devices > 2 else nan
    return row


def path(profile: CostProfile, n: int) -> float:
    """Seconds of the critical path with the best cuts; what was not measured is not a number."""
    measured = {n_coarse_units for _, _, n_coarse_units in profile.coarse}
    n_coarse_units = 0 if measured == {0} else paper_n_coarse_units(n)
    if n_coarse_units not in measured:
        return nan
    return critical_path(profile.step_costs(staggered(profile, n, n_coarse_units), n_coarse_units))


def draw(table: pd.DataFrame, folder: Path) -> None:
    """Speed-up against devices."""
    figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    ideal = [1, table["devices"].max()]
    axes.plot(ideal, ideal, color="0.85", linewidth=1)
    axes.annotate("D", (26, 27), color="0.6")
    for name, style in LINES.items():
        drawn = table.dropna(subset=name)
        axes.plot(drawn["devices"], drawn[name], label=name, markersize=4, **style)
    axes.set(xlabel="devices D", ylabel="speed-up of a step over one device, batch 128")
    axes.set(xlim=(0, ideal[1] + 1), ylim=(0, 1.1 * table[[*LINES]].max().max()))
    axes.legend(frameon=False, fontsize="small")
    for suffix in ("svg", "png"):
        figure.savefig(folder / f"strong_scaling.{suffix}", dpi=150)


if __name__ == "__main__":
    main()
