"""How evenly the kernel shares two cores: processes that do nothing but compute, and wait for each other.

    python -m benchmarks.core_sharing

Two processes, then three, compute the same amount at once on the first two cores that this one may use.
If the cores were shared equally at every moment, all would be done after half their processor time.
"""

import argparse
import multiprocessing
import os
import time
from statistics import mean
from threading import Barrier

import pandas as pd
import torch

CORES = 2


def compute(together: Barrier, n_products: int, repeats: int) -> tuple[float, float]:
    """Mean seconds until all are done, and of this process's processor time."""
    torch.set_num_threads(1)
    a = torch.randn(48, 48)  # stays in the core's own cache: nothing else is shared but the cores
    seconds = used = 0.0
    for _ in range(repeats):
        together.wait()
        start, before = time.perf_counter(), time.thread_time()
        for _ in range(n_products):
            a @ a
        used += time.thread_time() - before
        together.wait()
        seconds += time.perf_counter() - start
    return seconds / repeats, used / repeats


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=30)
    asked = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    rows = []
    for n_processes in (CORES, CORES + 1):
        for n_products in (20_000, 40_000):
            with multiprocessing.Manager() as manager, multiprocessing.Pool(n_processes) as pool:
                together = manager.Barrier(n_processes)
                calls = [(together, n_products, asked.repeats)] * n_processes
                results = pool.starmap(compute, calls, chunksize=1)
            seconds, used = (mean(column) for column in zip(*results, strict=True))
            rows.append(
                {
                    "processes": n_processes,
                    "processor time of each (ms)": f"{1e3 * used:.0f}",
                    "all done after (ms)": f"{1e3 * seconds:.0f}",
                    "by the cores' share": f"{seconds / (used * n_processes / CORES):.3f}",
                }
            )
    print(pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True))


if __name__ == "__main__":
    main()
