"""Does a long sweep leak, or slow down? And how does one gang of very many actors fare?

    python -m benchmarks.soak --trials 200      tiny trials in one sweep: minutes on two cores
    python -m benchmarks.soak --actors 64       one gang of that many actors, whose units only wait

The first samples memory, open files, threads and processes of the sweep's main process and of Ray's
own, and /dev/shm, every two seconds, and fits a line through each. The second times how long the gang
takes to start and connect, and what a step takes beyond its critical path.
"""

import argparse
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import ray
from ray.util.placement_group import placement_group, remove_placement_group

from benchmarks.gang_steps import TIMEOUT, in_ms
from benchmarks.waiting import BATCH_SIZE, job_of, seconds_of
from orchestrator import cluster
from orchestrator.actors.gang import Gang
from orchestrator.data.datasets import load_dataset
from tests.integration.command import Command

TRIAL = ["--network", "mlp", "--depth", "4", "--width", "16", "--n-subnetworks", "1"]
TRIAL += ["--train-subset", "128", "--validation-subset", "64", "--epochs", "1", "--timing-repeats", "0"]
_WATCHED = {"raylet": "raylet", "gcs": "gcs_server", "agent": "ray::DashboardAgent"}
"""Ray's own processes, by what their command lines begin with."""


def sample(command: Command) -> dict[str, float]:
    """What the sweep's processes hold at this moment; memory in MB."""
    processes = command.descendants()
    row = {"processes": len(processes), "shm MB": psutil.disk_usage("/dev/shm").used / 1e6}
    groups = {"main": [command.process.pid]}
    for process in processes:
        try:
            program = Path(process.cmdline()[0]).name
        except (psutil.Error, IndexError):
            continue
        groups |= {name: [process.pid] for name, start in _WATCHED.items() if program.startswith(start)}
    for name, (pid,) in groups.items():
        try:
            process = psutil.Process(pid)
            row[f"{name} MB"] = (process.memory_info().rss - process.memory_info().shared) / 1e6
            row[f"{name} files"] = process.num_fds()
            row[f"{name} threads"] = process.num_threads()
        except psutil.NoSuchProcess:
            continue
    return row


def trials(n: int, store: Path) -> None:
    """Run ``n`` tiny trials and print how what they need grows, and whether they slow down."""
    shutil.rmtree(store, ignore_errors=True)
    command = Command(*TRIAL, "--seed", *map(str, range(n)), "--store", str(store))
    output: list[str] = []
    reader = threading.Thread(target=lambda: output.extend(command.lines()))
    reader.start()
    rows = []
    while command.process.poll() is None:
        done = len(list(store.glob("epochs/[!.]*.parquet")))
        rows.append({"done": done} | sample(command))
        if len(rows) % 15 == 0:
            print(f"{done} trials done", flush=True)
        time.sleep(2)
    reader.join()
    if command.process.returncode:
        raise RuntimeError("".join(output[-20:]))
    samples = pd.DataFrame(rows)
    samples.to_csv(store / "soak.csv", index=False)
    ends = pd.read_parquet(store / "trials")["finished"].sort_values().reset_index(drop=True)
    paces = [
        (part.iloc[-1] - part.iloc[0]).total_seconds() / (len(part) - 1) for part in (ends[:50], ends[-50:])
    ]
    print(f"seconds a trial: first 50 {paces[0]:.2f}, last 50 {paces[1]:.2f}\n")
    steady = samples[(samples["done"] > 0.1 * n) & (samples["done"] < n)]
    print("| | after 10 % | at the end | growth per 100 trials |\n|:--|--:|--:|--:|")
    for name in samples.columns.drop("done"):
        known = steady[["done", name]].dropna()
        slope = np.polyfit(known["done"], known[name], 1)[0]
        ends_of = known[name].iloc[:5].median(), known[name].iloc[-5:].median()
        print(f"| {name} | {ends_of[0]:.0f} | {ends_of[1]:.0f} | {100 * slope:+.1f} |")
    print("left 30 s later:", [p.name() for p in command.await_end_of_descendants(30)])


def actors(n: int, steps: int) -> None:
    """Start one gang of ``n`` actors, one of them the driver, and print what that takes."""
    images = load_dataset(f"synthetic:1x4x4x4x{BATCH_SIZE * steps}")
    job = job_of("parareal", n - 1, 1, 0.0, images, None)
    cluster.connect(None)
    group = placement_group(job.resources.bundles)
    data = ray.put(images)
    try:
        ray.get(group.ready())
        start = time.perf_counter()
        with Gang(job.config, job.tearing, data, job.resources, group) as gang:
            gang.connect(TIMEOUT)
            connected = time.perf_counter() - start
            reports = gang.run_epoch(1)
            memory = _memory()
            ending = time.perf_counter()
    finally:
        remove_placement_group(group)
        cluster.disconnect()
    ended = time.perf_counter() - ending
    path, steady = seconds_of(job, 0.0, 1), reports["driver"].step_seconds[2:]
    print(
        f"{n} actors: connected after {connected:.1f} s; steps of {in_ms(steady)} "
        f"ms, critical path {1e3 * path:.0f} ms; all processes {memory / 1e9:.1f} GB; ended in {ended:.1f} s"
    )


def _memory() -> int:
    """Private memory of this process and all below it, in bytes."""
    own = psutil.Process()
    return sum(_private(process) for process in [own, *own.children(recursive=True)])


def _private(process: psutil.Process) -> int:
    try:
        return process.memory_full_info().uss
    except psutil.Error:
        return 0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=0)
    parser.add_argument("--actors", type=int, default=0)
    parser.add_argument("--steps", type=int, default=12, help="of the gang of many actors")
    parser.add_argument("--store", type=Path, default=Path("results/soak"))
    asked = parser.parse_args()
    if asked.trials:
        trials(asked.trials, asked.store)
    if asked.actors:
        actors(asked.actors, asked.steps)


if __name__ == "__main__":
    main()
