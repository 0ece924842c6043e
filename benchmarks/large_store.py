"""How long does a very large result store take to read, and how much memory?

    python -m benchmarks.large_store --trials 5000 --epochs 200     a million epochs' rows

Writes a store of made-up trials by the writer that real sweeps use, one file a trial and kind, unless it is
there already. Then each reader runs in a process of its own: seconds, and the most memory it ever held.
"""

import argparse
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from analysis.reading import read_table, sealed_parquet
from orchestrator.config import TrialConfig, config_columns
from orchestrator.storage.provenance import versions
from orchestrator.storage.store import Row, Store

MODULES = {
    "imports alone": ["-c", "import analysis, pandas, pyarrow.parquet, orchestrator.storage.store"],
    "analysis.load": ["-c", "import analysis, sys; analysis.load(sys.argv[1])"],
    "status": ["-m", "orchestrator.status"],
    "look for damage": [
        "-c",
        "import sys; from orchestrator.storage.store import Store; Store(sys.argv[1]).set_aside_damaged()",
    ],
    "what is left to run": [
        "-c",
        "import sys; from orchestrator.storage.store import Store; s = Store(sys.argv[1]); "
        "s.set_aside_damaged(); rows = s.read_all('trials'); ids = [row['trial_id'] for row in rows]; "
        "[s.values(k, c, ids) for k, c in (('trials', 'status'), ('epochs', 'epoch'), ('timings', 'mode'))]",
    ],
    "report": ["-m", "analysis.report"],
}
"""By name, what the interpreter is given before the store's path."""


def write(path: Path, n_trials: int, n_epochs: int, n_options: int = 0) -> None:
    """Fill a store; what is there already stays.

    With options, each trial has so many more columns, of which every setting has other values.
    """
    store = Store(path)
    made_with = versions()
    for number in range(n_trials):
        # Five seeds of each setting, the settings differ in the learning rate and in N.
        setting, seed = divmod(number, 5)
        config = TrialConfig(seed=seed, n_subnetworks=1 + setting % 4, n_coarse_units=1)
        trial_id = f"made-up-{number:05d}"
        if store.status(trial_id):
            continue
        store.write("epochs", trial_id, _epochs(trial_id, number, n_epochs))
        columns = config_columns(config) | {"learning_rate": 0.1 / (1 + setting // 4), "epochs": n_epochs}
        now = datetime.now(UTC)
        row = columns | made_with | {"trial_id": trial_id, "status": "finished", "error": ""}
        store.write("trials", trial_id, [row | {"started": now, "finished": now}])
        if n_options:
            _add_options(path / "trials" / f"{trial_id}.parquet", setting, n_options)


def _add_options(file: Path, setting: int, n: int) -> None:
    """What a later version's store may hold: options of which this one does not know."""
    table, chance = read_table(file), np.random.default_rng(setting)
    for number, value in enumerate(chance.integers(5, size=n).tolist()):
        table = table.append_column(f"option_{number:03d}", pa.array([value] * table.num_rows))
    file.write_bytes(sealed_parquet(table.replace_schema_metadata()))


def _epochs(trial_id: str, seed: int, n: int) -> list[Row]:
    noise = np.random.default_rng(seed).random((n, 3))
    return [
        {
            "trial_id": trial_id,
            "epoch": epoch,
            "learning_rate": 0.1,
            "train_loss": 2.0 / epoch + a,
            "train_error": 60.0 / epoch + a,
            "validation_loss": 2.2 / epoch + b,
            "validation_error": 70.0 / epoch + b,
            "seconds": 10.0 + c,
            "samples_per_second": 5000.0 / (1 + c),
            "step_seconds": 0.02 + c / 1000,
            "bytes_sent": 1_000_000,
            "peak_memory_bytes": 200_000_000,
        }
        for epoch, (a, b, c) in enumerate(noise.tolist(), start=1)
    ]


def measure(arguments: list[str]) -> dict[str, Any]:
    """Seconds, those of a processor, the most memory (MB) and the exit status of a Python process."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    status, most = Path(f"/proc/{process.pid}/status"), 0.0
    before = os.times()
    # Not from wait4(): what that tells begins with the memory of this process at the fork.
    while process.poll() is None:
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                most = int(line.split()[1]) / 1024
        time.sleep(0.02)
    after = os.times()
    busy = after.children_user + after.children_system - before.children_user - before.children_system
    return {
        "seconds": time.perf_counter() - start,
        "processor": busy,
        "MB": most,
        "status": process.returncode,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--options", type=int, default=0, help="columns of options that vary, beside ours")
    parser.add_argument("--store", type=Path, default=Path("results/large_store"))
    parser.add_argument("--only", nargs="+", choices=MODULES, default=list(MODULES))
    asked = parser.parse_args()
    start = time.perf_counter()
    write(asked.store, asked.trials, asked.epochs, asked.options)
    print(f"written in {time.perf_counter() - start:.0f} s\n")
    print("| | seconds | of a processor | MB | status |\n|:--|--:|--:|--:|--:|")
    for name in asked.only:
        of = measure([*MODULES[name], str(asked.store)])
        print(
            f"| {name} | {of['seconds']:.1f} | {of['processor']:.1f} | {of['MB']:.0f} | {of['status']} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
