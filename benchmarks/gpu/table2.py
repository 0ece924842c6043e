"""The paper's Table 2: virtual wall-clock of ResNet-1001, batch 128, by N."""

from statistics import median, quantiles

import torch

from analysis.published import published_table2
from benchmarks.gpu.report import Report, Row, label, settings, warm_up
from benchmarks.gpu.shared_units import with_shared_units
from models import plan_tearing, resnet
from models.compute import Compute
from models.feedforward import FeedForward
from models.recorder import WARMUP
from models.step_time import Cost, StepCosts, critical_path, paper_sum
from models.tearing import Tearing
from models.timing import Passes, components


def run(report: Report) -> None:
    """Time all components for every N, round by round."""
    network = resnet(29, width=4) if report.tiny else resnet(1001)
    batch_size = 4 if report.tiny else 128
    warm_up(report.device)
    report.note(network=network.name, batch_size=batch_size)
    for compute in settings(report.device):
        seconds = 12.0 if report.device.type == "cuda" else 0.0
        if report.fits(seconds, **label(compute)):
            report.attempt(measure_all, report, network, batch_size, compute, **label(compute))
        if report.device.type == "cuda":
            torch.cuda.empty_cache()


def measure_all(report: Report, network: FeedForward, batch_size: int, compute: Compute) -> None:
    """The paper's cuts, for all its N."""
    compute.settle()
    shared = with_shared_units(network, compute)
    tearings = [
        ({"n": n, "partition": "uniform", "coarse": "units"}, plan_tearing(shared, n, preprocess="strided"))
        for n in ((1, 3) if report.tiny else (1, 3, 6, 12, 18, 24))
    ]
    measure(report, tearings, batch_size, compute, rounds=2 if report.tiny else 5)


def measure(
    report: Report, tearings: list[tuple[Row, Tearing]], batch_size: int, compute: Compute, *, rounds: int
) -> None:
    """All tearings in turns; a row each with medians and quartiles of the rounds' sums and paths."""
    pool = torch.cuda.graph_pool_handle() if compute.graphs else None
    ready: list[tuple[Row, Tearing, dict[tuple[str, int], Passes]]] = []
    for how, tearing in tearings:
        passes = {
            (name, j): component.passes(batch_size, compute, pool=pool)
            for name, j, component in components(tearing)
        }
        ready.append((how, tearing, passes))
    measured: list[list[StepCosts]] = [[] for _ in ready]
    for turn in range(WARMUP + 1 + rounds if compute.graphs else 1 + rounds):
        if turn > WARMUP + 3 and report.left() < 5:
            break
        for (_, tearing, passes), costs in zip(ready, measured, strict=True):
            costs.append(step_costs(tearing, {key: one() for key, one in passes.items()}))
    for (how, tearing, _), costs in zip(ready, measured, strict=True):
        typical = costs[WARMUP + 1 :] if compute.graphs else costs[1:]
        sums, paths = [paper_sum(c) for c in typical], [critical_path(c) for c in typical]
        report.add(
            **(label(compute) | how),
            sizes=" ".join(map(str, tearing.sizes)),
            n_rounds=len(typical),
            preprocessing=median(max(c.total for c in one.preprocess) for one in typical),
            parallel_subnetworks=median(max(c.total for c in one.subnetworks) for one in typical),
            coarse_network=median(sum(c.total for c in one.coarse_network) for one in typical),
            postprocessing=median(one.postprocess.total for one in typical),
            total=median(sums),
            total_quartiles=spread(sums),
            critical_path=median(paths),
            critical_path_quartiles=spread(paths),
            peak_memory_bytes=torch.cuda.max_memory_allocated() if compute.device.type == "cuda" else None,
        )


def step_costs(tearing: Tearing, costs: dict[tuple[str, int], Cost]) -> StepCosts:
    """A round's measurements as the costs of a step."""
    n = tearing.n_subnetworks
    return StepCosts(
        preprocess=tuple(costs["preprocess", j] for j in range(1, n + 1)),
        subnetworks=tuple(costs["subnetwork", j] for j in range(1, n + 1)),
        coarse_network=tuple(costs["coarse_network", j] for j in range(1, n)),
        postprocess=costs["postprocess", 0],
    )


def spread(values: list[float]) -> list[float]:
    """First and third quartile."""
    return [values[0]] * 2 if len(values) < 2 else quantiles(values, n=4, method="inclusive")[::2]


def lines(rows: list[Row]) -> list[str]:
    """For the terminal: milliseconds, and speed-ups over N = 1 of the same kind."""
    published = published_table2().set_index("n_subnetworks")["speed_up"]
    serial = {(r["arithmetic"], r["launch"]): r["total"] for r in rows if r.get("n") == 1}
    out = [
        "arithmetic, launch | N partition coarse | pre subnetworks coarse post = total | path | paper's own"
    ]
    for r in rows:
        how = f"{r['arithmetic']}, {r['launch']}"
        if unmeasured := r.get("skipped", r.get("error")):
            out.append(f"{how}: {unmeasured}")
            continue
        one = serial[r["arithmetic"], r["launch"]]
        parts = ("preprocessing", "parallel_subnetworks", "coarse_network", "postprocessing")
        ms = " ".join(f"{1e3 * r[part]:.2f}" for part in parts)
        paper = f"{published[r['n']]:.2f}x" if r["n"] in published and r["partition"] == "uniform" else "-"
        out.append(
            f"{how} | {r['n']} {r['partition']} {r['coarse']} | {ms} = {1e3 * r['total']:.2f} ms "
            f"{one / r['total']:.2f}x | {1e3 * r['critical_path']:.2f} ms {one / r['critical_path']:.2f}x "
            f"| {paper} | n = {r['n_rounds']}"
        )
    return out
