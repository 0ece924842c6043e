"""The whole network at parts of the batch: what data parallel and pipelines compute on D devices."""

from functools import partial
from math import ceil
from statistics import median

from benchmarks.gpu.report import Report, Row, label, settings, warm_up
from benchmarks.gpu.shared_units import with_shared_units
from benchmarks.gpu.table2 import spread
from models import PararealNetwork, plan_tearing, resnet
from models.recorder import WARMUP
from models.timing import Component

DEVICES = (1, 2, 3, 4, 6, 8, 12, 16, 24)
MICROBATCHES = (8, 4, 2)


def run(report: Report) -> None:
    """Forward and backward passes of ResNet-1001 at batch 128 / D, and at the size of micro-batches."""
    network = resnet(29, width=4) if report.tiny else resnet(1001)
    whole = 8 if report.tiny else 128
    sizes = sorted({ceil(whole / d) for d in DEVICES} | {b for b in MICROBATCHES if b < whole}, reverse=True)
    warm_up(report.device, 1.0)
    report.note(network=network.name, batch_size=whole, parameters=plan_tearing(network).n_parameters)
    ways = settings(report.device)
    for compute in [way for way in ways if way.graphs and way.precision != "tf32"] or ways[:1]:
        compute.settle()
        shared = with_shared_units(network, compute)
        tearing = plan_tearing(shared)
        for size in sizes:
            row = label(compute) | {"batch_size": size}
            if not report.fits(2.0 if report.device.type == "cuda" else 0.0, **row):
                continue
            build = Component(
                partial(PararealNetwork, tearing),
                network.input_shape,
                is_preprocess=True,
                with_loss=True,
            )
            passes = build.passes(size, compute)
            for _ in range(1 + (WARMUP + 1) * compute.graphs):
                passes()
            times = [passes().total for _ in range(2 if report.tiny else 7)]
            report.add(**row, seconds=median(times), quartiles=spread(times), n=len(times))


def lines(rows: list[Row]) -> list[str]:
    """For the terminal: a line for each way to compute."""
    out = ["arithmetic, launch | batch: ms"]
    for how in dict.fromkeys((r["arithmetic"], r["launch"]) for r in rows):
        those = [r for r in rows if (r["arithmetic"], r["launch"]) == how]
        times = ", ".join(
            f"{r['batch_size']}: " + ("skipped" if "skipped" in r else f"{1e3 * r['seconds']:.2f}")
            for r in those
        )
        out.append(f"{', '.join(how)} | {times}")
    return out
