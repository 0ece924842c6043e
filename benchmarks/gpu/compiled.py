"""Units through torch.compile, recorded as graphs: what is left to gain."""

from benchmarks.gpu import critical_paths
from benchmarks.gpu.critical_paths import measure
from benchmarks.gpu.report import Report, Row, label, settings, warm_up
from benchmarks.gpu.shared_units import with_shared_units
from models import resnet


def run(report: Report) -> None:
    """A cost profile of ResNet-1001 with compiled units, for the arithmetic that users train with."""
    if report.device.type != "cuda":
        report.add(skipped="for GPUs alone")
        return
    network = resnet(1001)
    warm_up(report.device, 1.0)
    for compute in reversed(settings(report.device, compiled=True)):
        row = label(compute) | {"coarse": "shortcut", "preprocess": "stem"}
        if not report.fits(25.0, **row):
            continue
        compute.settle()
        shared = with_shared_units(network, compute)
        report.attempt(measure, report, network, shared, 128, compute, row, [0], **row)


def lines(rows: list[Row]) -> list[str]:
    """For the terminal."""
    return critical_paths.lines([r for r in rows if "arithmetic" in r])
