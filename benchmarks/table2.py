"""Table 2 without Ray: gradient times of ResNet-1001's components on a bare machine, GPU or CPU.

    python -m benchmarks.table2 --device cuda --batch-size 128 --store results/table2-gpu
    python -m benchmarks.table2 --device cuda --precision bfloat16 --channels-last --compiled

Goes round all N several times: a machine whose speed drifts slows all of them alike. Needs torch, pandas,
pyarrow, matplotlib and scipy. The folder it writes is a result store: tables as from ``--preset table2``,
also after it has been copied to another machine.
"""

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import get_args

import pandas as pd
import torch

from analysis import load
from models import plan_tearing, resnet
from models.compute import Compute, Precision
from models.tearing import Tearing
from models.timing import ComponentTime, time_components


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--depth", type=int, default=1001)
    parser.add_argument("--n-subnetworks", type=int, nargs="+", default=[1, 3, 6, 12, 18, 24])
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5, help="through all N; each measures anew")
    parser.add_argument("--repeats", type=int, default=2, help="measurements of a component in a round")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=get_args(Precision), default="float32")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--graphs", action="store_true", help="replay recorded passes; needs a GPU")
    parser.add_argument("--store", type=Path, default=Path("results/table2-bare"))
    asked = parser.parse_args(arguments)
    compute = Compute(
        *(torch.device(asked.device), asked.precision, asked.channels_last, asked.compiled, asked.graphs)
    )
    if compute.graphs and compute.device.type != "cuda":
        parser.error(f"--graphs needs a GPU, not --device {asked.device}: leave out one of them")
    on_gpu = compute.device.type == "cuda"
    device = torch.cuda.get_device_name(compute.device) if on_gpu else "cpu"
    options = ("channels_last", "compiled", "graphs")
    how = [asked.precision, *(option.replace("_", "-") for option in options if getattr(asked, option))]
    measured: dict[int, list[dict[str, object]]] = {n: [] for n in asked.n_subnetworks}
    for turn in range(asked.rounds):
        for n, rows in measured.items():
            tearing = plan_tearing(resnet(asked.depth), n, preprocess="strided")
            words = ["resnet", asked.depth, f"n{n}", f"b{asked.batch_size}", *device.split(), *how]
            trial_id = "-".join(map(str, words))
            shared = {
                "trial_id": trial_id,
                "mode": "virtual",
                "batch_size": asked.batch_size,
                "device": device,
            }
            time_all = partial(measure, tearing, asked.batch_size, compute, asked.repeats)
            if on_gpu:
                times = time_all()
                torch.cuda.empty_cache()
            else:
                # A process of its own each time: what one has used, its allocator would keep from the next.
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                    times = process.submit(time_all).result()
            for time in times:
                rows.append(shared | asdict(time) | {"repeat": turn * asked.repeats + time.repeat})
            trial = {
                **{"trial_id": trial_id, "status": "finished", "error": "", "epochs": 0, "seed": 0},
                **{"network": "resnet", "depth": asked.depth, "width": 16, "dataset": "synthetic"},
                **{"n_subnetworks": n, "partition": "uniform", "preprocess": "strided", "strategy": "serial"},
                **{"precision": asked.precision, "channels_last": asked.channels_last},
                **{"compiled": asked.compiled, "graphs": asked.graphs},
                **{"coarse": "units", "n_coarse_units": tearing.n_coarse_units},
                **{"batch_size": asked.batch_size, "parameters": tearing.n_parameters},
                **{"devices": f"1 {compute.device.type}", "torch": torch.__version__},
            }
            for kind, content in {"trials": [trial], "timings": rows}.items():
                (asked.store / kind).mkdir(parents=True, exist_ok=True)
                pd.DataFrame(content).to_parquet(asked.store / kind / f"{trial_id}.parquet", index=False)
        print(load(asked.store).table2().to_string(), flush=True)


def measure(tearing: Tearing, batch_size: int, compute: Compute, repeats: int) -> list[ComponentTime]:
    """Time all components on one core or GPU."""
    torch.set_num_threads(1)
    compute.settle()
    return list(time_components(tearing, batch_size=batch_size, compute=compute, repeats=repeats, warmup=1))


if __name__ == "__main__":
    main()
