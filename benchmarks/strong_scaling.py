"""What do D devices buy with the same batch? From what ``python -m benchmarks.gpu`` has measured on one.

    python -m benchmarks.strong_scaling docs/gpu          links of 450 GB/s (NVLink) and 50 (400 Gbit/s)

The forecast of ``--dry-run`` (:mod:`models.ways`) from a GPU's costs of ResNet-1001 at batch 128. With a part
of a batch, every component is taken to be as much faster as the whole network was when that was measured.
Prints two tables, and draws ``strong_scaling.svg`` and ``.png`` beside the measurements.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pandas as pd

from analysis.devices import draw_devices
from models import resnet
from models.compute import Compute
from models.cost_profile import CostProfile, Shares, scaled
from models.feedforward import FeedForward
from models.footprint import Footprint
from models.simulation import Machine
from models.tearing import interface_factories, paper_n_coarse_units
from models.ways import Interfaces, Way, Ways

DEVICES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
ARITHMETIC = "IEEE float32"
KINDS = {"units": "paper's F", "shortcut": "shortcut"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--bandwidth", type=float, nargs="+", default=[450.0, 50.0], help="GB/s, a panel each"
    )
    parser.add_argument("--latency", type=float, default=10.0, help="µs")
    asked = parser.parse_args()
    content = {name: _rows(asked.folder, name) for name in ("strong_scaling", "critical_paths")}
    whole = {row["batch_size"]: row["seconds"] for row in content["strong_scaling"] if "seconds" in row}
    profiles = [row for row in content["critical_paths"] if "profile" in row and row["launch"] == "graphs"]
    network = resnet(1001)
    interfaces = tuple(interfaces_of(row, whole, network) for row in profiles)
    ways, panels = Ways(max(whole), interfaces), {}
    for bandwidth in asked.bandwidth:
        machine = Machine(bandwidth=1e9 * bandwidth, latency=1e-6 * asked.latency)
        ways = replace(ways, machine=machine)
        frame = pd.DataFrame([way for d in DEVICES for way in ways.on(d)], columns=Way._fields)
        frame["speed_up"] = ways.serial.seconds / frame["seconds"]
        title = f"links of {bandwidth:g} GB/s"
        print(f"\n{title}\n")
        table = frame.pivot_table("speed_up", "n_devices", "name", sort=False)
        print(table.to_markdown(floatfmt=".2f"))
        best = frame.loc[frame.groupby("name", sort=False)["seconds"].idxmin()]
        print("\n" + best.to_markdown(index=False, floatfmt=".4g"))
        panels[title] = frame
    figure = draw_devices(panels)
    for suffix in ("svg", "png"):
        figure.savefig(asked.folder / f"strong_scaling.{suffix}", dpi=150)


def _rows(folder: Path, name: str) -> list[dict]:
    """What was measured with the arithmetic that is compared."""
    rows = json.loads((folder / f"{name}.json").read_text())["rows"]
    return [row for row in rows if row.get("arithmetic") == ARITHMETIC]


def interfaces_of(row: dict, whole: dict[int, float], network: FeedForward) -> Interfaces:
    """A kind of C^j and F^j, whose profile was measured with a whole batch."""
    profile = CostProfile.from_dict(row["profile"])
    shares = {
        size: scaled(profile, seconds / whole[profile.batch_size], size) for size, seconds in whole.items()
    }
    factories = interface_factories(network, preprocess=row["preprocess"], coarse=row["coarse"])
    measured = {n_coarse_units for _, _, n_coarse_units in profile.coarse}
    n_coarse_units = (lambda n: 0) if measured == {0} else paper_n_coarse_units
    return Interfaces(
        KINDS[row["coarse"]], Shares(shares), Footprint(network, *factories, Compute()), n_coarse_units
    )


if __name__ == "__main__":
    main()
