"""A data set larger than the memory that any process may take: decoded, trained on, and found again.

    python -m benchmarks.larger_than_memory --gib 1 8     solid pictures of 3×256×256, by sizes of the set
    python -m benchmarks.larger_than_memory --load parquet:DIR     memory and time to load a set of your own

Every process has RLIMIT_DATA: what it allocates for itself counts, the system's cache of files does not. What
is only set aside counts too, most of the limit; what is in use is printed.
"""

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from torch import nn

from analysis.command import command

LIMIT = 2 * 2**30
SIDE, BATCH = 256, 64
N_CLASSES = 4


def network(*, input_shape: tuple[int, ...], n_classes: int) -> nn.Sequential:
    """A small one, which sees 8×8 means of each picture."""
    see = nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.Flatten(), nn.Linear(64 * input_shape[0], 16))
    units = [nn.Sequential(nn.Linear(16, 16), nn.ReLU()) for _ in range(4)]
    return nn.Sequential(see, *units, nn.Linear(16, n_classes))


def write_pictures(folder: Path, n_bytes: int) -> None:
    """Solid pictures, which decode to so much: files of a hundredth of it."""
    colours = np.random.default_rng(0).integers(256, size=(n_bytes // (3 * SIDE**2), 3), dtype=np.uint8)
    for split, of_split in (("train", colours[:-64]), ("validation", colours[-64:])):
        contents = []
        for colour in of_split:
            buffer = io.BytesIO()
            Image.new("RGB", (SIDE, SIDE), tuple(colour.tolist())).save(buffer, "PNG", compress_level=1)
            contents.append(buffer.getvalue())
        labels = np.arange(len(contents)) % N_CLASSES
        table = pa.table({"image": pa.array(contents, pa.binary()), "label": labels})
        pq.write_table(table, folder / f"{split}-00000-of-00001.parquet", row_group_size=500)


def sweep(folder: str) -> None:
    """What a measured process does: decode, unless that is done, and train one epoch in a gang of three."""
    from orchestrator import Options, Sweep, run

    asked = Sweep(
        dataset=f"parquet:{folder}",
        network="benchmarks.larger_than_memory:network",
        n_subnetworks=(2,),
        n_coarse_units=(1,),
        batch_size=BATCH,
        epochs=1,
        learning_rate=1e-6,
    )
    options = Options(store=f"{folder}/results", data_dir=f"{folder}/data", timing_repeats=0)
    start = time.perf_counter()
    run(asked, options)
    print(f"seconds {time.perf_counter() - start:.0f}", flush=True)


def load(dataset: str) -> None:
    """What the measured process does: load a data set as a sweep does before it trains."""
    from orchestrator.data.datasets import Reading, load_dataset

    before = status("self")["VmRSS"]
    with tempfile.TemporaryDirectory(dir=".") as folder:
        start = time.perf_counter()
        data = load_dataset(dataset, data_dir=folder, reading=Reading(validation_split="test"))
        data.settle()
        _ = data.fingerprint
        seconds = time.perf_counter() - start
    pixels = sum(prod(inputs.shape) for inputs, _ in data.splits())
    peak = (status("self")["VmHWM"] - before) / pixels
    print(json.dumps({"seconds": round(seconds, 2), "memory / pixels": round(peak, 2)}))


def limit() -> None:
    """Limit this process, and all that it starts."""
    resource.setrlimit(resource.RLIMIT_STACK, (2**20, 2**20))
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))


def status(process: str) -> dict[str, int]:
    """Bytes of a process, by the kernel's names; empty if it is gone."""
    try:
        lines = Path("/proc", process, "status").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in lines)
    return {name: int(value.split()[0]) * 1024 for name, value in pairs if value.endswith("kB")}


def family(root: int) -> list[str]:
    """A process and all that it has started."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[stat.parent.name] = stat.read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
    found = [str(root)]
    for one in found:
        found += [process for process, parent in parents.items() if parent == one]
    return found


def name_of(process: str) -> str:
    """What a process is for."""
    try:
        words = Path("/proc", process, "cmdline").read_text().replace("\0", " ").split()
    except OSError:
        return "gone"
    if words and words[0].startswith("ray::"):
        return words[0].removeprefix("ray::").partition(".")[0]
    return "command" if "benchmarks.larger_than_memory" in " ".join(words) else "Ray itself"


def watch(folder: str, most: dict[str, int]) -> int:
    """Run a command; returns its seconds, and notes the most memory that a process of each kind has taken."""
    measured = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.larger_than_memory", "--sweep", folder],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=limit,
        # Else what is only set aside would count: of each thread 8 MiB, and a heap of its own.
        env={**os.environ, "MALLOC_ARENA_MAX": "2"},
    )
    while measured.poll() is None:
        for process in family(measured.pid):
            kind = name_of(process)
            most[kind] = max(most.get(kind, 0), status(process).get("RssAnon", 0))
        time.sleep(0.2)
    assert measured.stdout is not None
    output = measured.stdout.read()
    if measured.returncode:
        raise SystemExit(output)
    (seconds,) = (int(line.split()[1]) for line in output.splitlines() if line.startswith("seconds "))
    return seconds


def main(arguments: Sequence[str]) -> int:
    """Print what was measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gib", type=float, nargs="+", default=[1, 8])
    parser.add_argument("--load")
    parser.add_argument("--sweep", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.sweep:
        sweep(asked.sweep)
    elif asked.load:
        load(asked.load)
    else:
        for gib in asked.gib:
            with tempfile.TemporaryDirectory(dir=".") as folder:
                write_pictures(Path(folder), int(gib * 2**30))
                most: dict[str, int] = {}
                first, second = (watch(str(Path(folder).absolute()), most) for _ in range(2))
            shown = {kind: f"{n_bytes / 2**20:.0f} MiB" for kind, n_bytes in sorted(most.items())}
            print(f"{gib:g} GiB: first command {first} s, second {second} s; {shown}", flush=True)
    return 0


if __name__ == "__main__":
    command(main)
