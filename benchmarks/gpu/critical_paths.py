"""Critical paths of ResNet-1001: a cost profile, the best staggered cuts by it, and these measured."""

from benchmarks.gpu import table2
from benchmarks.gpu.report import Report, Row, label, settings, warm_up
from benchmarks.gpu.shared_units import with_shared_units
from models import partition, plan_tearing, resnet
from models.compute import Compute
from models.feedforward import FeedForward
from models.profiling import measure_profile
from models.sizes import Sizes
from models.step_time import critical_path, paper_sum
from models.tearing import interface_factories, paper_n_coarse_units

INTERFACES = (("units", "strided"), ("shortcut", "stem"))
"""F^j and the C^j that goes with it: the paper's, and the cheapest that is as accurate."""


def run(report: Report) -> None:
    """For each way to compute and each kind of interface."""
    network = resnet(29, width=4) if report.tiny else resnet(1001)
    batch_size = 4 if report.tiny else 128
    warm_up(report.device, 1.0)
    report.note(network=network.name, batch_size=batch_size)
    for compute in sorted(settings(report.device), key=lambda compute: not compute.graphs):  # eager last
        shared = None
        for coarse, preprocess in INTERFACES:
            n_coarse_units = [0] if coarse == "shortcut" else [4, 6] if report.tiny else [1, 2, 3, 4, 6]
            row = label(compute) | {"coarse": coarse, "preprocess": preprocess}
            if not report.fits(8.0 if report.device.type == "cuda" else 0.0, **row):
                continue
            compute.settle()
            shared = shared or with_shared_units(network, compute)
            report.attempt(measure, report, network, shared, batch_size, compute, row, n_coarse_units, **row)


def measure(
    report: Report,
    network: FeedForward,
    shared: FeedForward,
    batch_size: int,
    compute: Compute,
    row: Row,
    n_coarse_units: list[int],
) -> None:
    """One profile, the paths that follow from it, and the best of them measured, with ``shared`` units."""
    c, f = interface_factories(network, preprocess=row["preprocess"], coarse=row["coarse"])
    profile = measure_profile(
        network,
        preprocess=c,
        coarse=f,
        n_coarse_units=n_coarse_units,
        batch_size=batch_size,
        compute=compute,
        repeats=1 if report.tiny else 3,
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
    best: tuple[float, Sizes] | None = None
    staggered = {}
    for n in (2, 3) if report.tiny else (18, 21) if row["coarse"] == "units" else (24, 40):
        n_c = 0 if n_coarse_units == [0] else paper_n_coarse_units(n)
        sizes = partition.staggered(profile, n, n_c)
        path = critical_path(profile.step_costs(sizes, n_c))
        staggered[n] = {"path": path, "sizes": sizes}
        best = min(best or (path, sizes), (path, sizes))
    assert best is not None
    report.add(**row, serial=serial, uniform=uniform, staggered=staggered, profile=profile.to_dict())
    tearing = plan_tearing(
        shared,
        len(best[1]),
        partition=best[1],
        preprocess=row["preprocess"],
        coarse=row["coarse"],
        n_coarse_units=0 if n_coarse_units == [0] else None,
    )
    whole = plan_tearing(shared)
    asked = [({**row, "n": one.n_subnetworks}, one) for one in (whole, tearing)]
    table2.measure(report, asked, batch_size, compute, rounds=2 if report.tiny else 5)


def lines(rows: list[Row]) -> list[str]:
    """For the terminal: speed-ups over the network in one piece that is computed in the same way."""
    one_piece = {(r["arithmetic"], r["launch"]): r["critical_path"] for r in rows if r.get("n") == 1}
    out = [
        "arithmetic, launch | coarse | serial | by the profile: uniform cuts' sum and path, staggered path"
    ]
    for r in rows:
        how = f"{r['arithmetic']}, {r['launch']} | {r['coarse']}"
        if unmeasured := r.get("skipped", r.get("error")):
            out.append(f"{how}: {unmeasured}")
        elif "profile" in r:
            serial = r["serial"]
            uniform = ", ".join(
                f"{n}: {serial / one['sum']:.2f}x {serial / one['path']:.2f}x"
                for n, one in r["uniform"].items()
            )
            staggered = ", ".join(f"{n}: {serial / one['path']:.2f}x" for n, one in r["staggered"].items())
            out.append(f"{how} | {1e3 * serial:.2f} ms | {uniform} | staggered {staggered}")
        elif r["n"] > 1:
            serial, path = one_piece[r["arithmetic"], r["launch"]], r["critical_path"]
            measured = f"{1e3 * serial:.2f} / {1e3 * path:.2f} ms = {serial / path:.2f}x"
            out.append(f"{how} | measured, N = {r['n']} staggered: {measured}, n = {r['n_rounds']}")
    return out
