"""What jemalloc changes: time and memory of a training step with it, as the actors have it, and with glibc.

    python -m benchmarks.allocator            ResNet-164 whole, and the first subnetworks of N = 2 and 3

A process of its own for every measurement, one core each; both allocators in turns, ratios by round.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from statistics import median, quantiles

import pandas as pd
import torch
from ray._private.services import JEMALLOC_SO

from benchmarks.gang_steps import in_ms
from models.autograd import seed_gradient
from models.compute import Compute
from models.resnet import resnet
from models.tearing import plan_tearing
from orchestrator.actors.actor import private_memory
from orchestrator.cluster import WORKER_ENVIRONMENT

PARTS = {"whole": (54,), "first of N = 2": (18, 36), "first of N = 3": (12, 16, 26)}
ALLOCATORS = {
    "glibc": {},
    "glibc, huge pages": {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
    "jemalloc": {"LD_PRELOAD": str(JEMALLOC_SO), "MALLOC_CONF": WORKER_ENVIRONMENT["MALLOC_CONF"]},
}
BATCH, STEPS = 32, 8


def measure(sizes: tuple[int, ...]) -> tuple[list[float], float]:
    """Seconds of each step but the first two, and MiB that the process's own memory has grown by."""
    torch.set_num_threads(1)
    compute = Compute(channels_last=True)
    tearing = plan_tearing(resnet(164), len(sizes), partition=sizes, preprocess="stem", coarse="shortcut")
    module = compute.place(
        torch.nn.Sequential(
            tearing.build_preprocess(1),
            tearing.build_subnetwork(1),
            tearing.build_postprocess() if len(sizes) == 1 else torch.nn.Identity(),
        )
    )
    images = torch.randn(BATCH, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    before = private_memory()
    seconds = []
    for _ in range(STEPS):
        start = time.perf_counter()
        output = module(images)
        seed_gradient(output, torch.ones_like(output)).backward()
        module.zero_grad()
        del output
        seconds.append(time.perf_counter() - start)
    return seconds[2:], (private_memory(peak=True) - before) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", type=int, nargs="+", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(measure(tuple(asked.measure))))
        return
    results: dict[tuple[str, str], list[tuple[list[float], float]]] = {}
    for _ in range(asked.rounds):
        for part, sizes in PARTS.items():
            for name, environment in ALLOCATORS.items():
                command = [sys.executable, "-m", "benchmarks.allocator", "--measure", *map(str, sizes)]
                done = subprocess.run(
                    command, env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=True
                )
                results.setdefault((part, name), []).append(json.loads(done.stdout))
    rows = []
    for part, sizes in PARTS.items():
        for name in ALLOCATORS:
            steps = [seconds for seconds, _ in results[part, name]]
            glibc = [median(seconds) for seconds, _ in results[part, "glibc"]]
            low, ratio, high = quantiles([g / median(s) for g, s in zip(glibc, steps, strict=True)], n=4)
            memory = median(peak for _, peak in results[part, name])
            whole = median(peak for _, peak in results["whole", name])
            rows.append(
                {
                    "part": part,
                    "allocator": name,
                    "step (ms, IQR)": in_ms([second for each in steps for second in each]),
                    "glibc / this (IQR)": f"{ratio:.2f} ({high - low:.2f})",
                    "peak (MiB)": f"{memory:.0f}",
                    "peak × N / whole": f"{memory * len(sizes) / whole:.2f}",
                }
            )
    print(pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True))


if __name__ == "__main__":
    main()
