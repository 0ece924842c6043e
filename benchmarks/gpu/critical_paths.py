"""Cost profiles of ResNet-1001, from which cuts and critical paths follow at home."""

from benchmarks.gpu.report import Report, Row, label, settings, warm_up
from models import partition, resnet
from models.compute import Compute
from models.cost_profile import measure_profile
from models.feedforward import FeedForward
from models.step_time import critical_path, paper_sum
from models.tearing import interface_factories, paper_n_coarse_units

INTERFACES = (("units", "strided"), ("shortcut", "stem"))
"""F^j and the C^j that goes with it: the paper's, and the cheapest that is as accurate."""


def run(report: Report) -> None:
    """A profile for each way to compute and each kind of interface; then paths by the paper's cuts."""
    network = resnet(29, width=4) if report.tiny else resnet(1001)
    batch_size = 4 if report.tiny else 128
    warm_up(report.device, 1.0)
    report.note(network=network.name, batch_size=batch_size)
    for compute in settings(report.device):
        for coarse, preprocess in INTERFACES:
            n_coarse_units = [0] if coarse == "shortcut" else [4, 6] if report.tiny else [1, 2, 3, 4, 6]
            row = label(compute) | {"coarse": coarse, "preprocess": preprocess}
            if not report.fits(8.0 if report.device.type == "cuda" else 0.0, **row):
                continue
            repeats = 1 if report.tiny else 3
            report.attempt(measure, report, network, batch_size, compute, row, n_coarse_units, repeats, **row)


def measure(
    report: Report,
    network: FeedForward,
    batch_size: int,
    compute: Compute,
    row: Row,
    n_coarse_units: list[int],
    repeats: int,
) -> None:
    """One profile, and the paths of uniform cuts that follow from it."""
    compute.settle()
    c, f = interface_factories(network, preprocess=row["preprocess"], coarse=row["coarse"])
    profile = measure_profile(
        network,
        preprocess=c,
        coarse=f,
        n_coarse_units=n_coarse_units,
        batch_size=batch_size,
        compute=compute,
        repeats=repeats,
    )
    serial = critical_path(profile.step_costs((network.n_units,), n_coarse_units[0]))
    uniform = {}
    for n in (2, 3, 6, 12, 18, 24):
        if -(-12 // n) not in n_coarse_units and n_coarse_units != [0]:
            continue
        try:
            sizes = partition.uniform(network.n_units, n)
        except ValueError:  # a rehearsal's network has few units
            continue
        costs = profile.step_costs(sizes, 0 if n_coarse_units == [0] else paper_n_coarse_units(n))
        uniform[n] = {"sum": paper_sum(costs), "path": critical_path(costs)}
    report.add(**row, serial=serial, uniform=uniform, profile=profile.to_dict())


def lines(rows: list[Row]) -> list[str]:
    """For the terminal: speed-ups of uniform cuts."""
    out = [
        "arithmetic, launch | coarse | serial | uniform cuts: N sum path (staggered ones are found at home)"
    ]
    for r in rows:
        how = f"{r['arithmetic']}, {r['launch']} | {r['coarse']}"
        if unmeasured := r.get("skipped", r.get("error")):
            out.append(f"{how}: {unmeasured}")
            continue
        paths = ", ".join(
            f"{n}: {r['serial'] / one['sum']:.2f}x {r['serial'] / one['path']:.2f}x"
            for n, one in r["uniform"].items()
        )
        out.append(f"{how} | {1e3 * r['serial']:.2f} ms | {paths}")
    return out
