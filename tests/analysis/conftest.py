"""A small result store, written with pandas alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

CONFIG: dict[str, Any] = {
    "network": "resnet",
    "depth": 56,
    "width": None,
    "dataset": "digits",
    "partition": "uniform",
    "preprocess": "strided",
    "strategy": "parareal",
    "epochs": 3,
    "batch_size": 64,
    "learning_rate": 0.1,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "milestones": "6 9",
    "augment": True,
    "train_subset": None,
    "validation_subset": None,
    "precision": "float32",
}


class StoreWriter:
    """Writes trials the way a sweep does: one file per trial and kind."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for kind in ("trials", "epochs", "timings"):
            (path / kind).mkdir(parents=True)

    def trial(
        self,
        n: int,
        seed: int = 0,
        *,
        errors: Sequence[float] = (),
        status: str = "finished",
        error: str = "",
        **config: Any,
    ) -> str:
        """Add a trial with these validation errors (%), one an epoch; return its trial_id."""
        trial_id = f"t{len(list((self.path / 'trials').iterdir())):03d}"
        started = pd.Timestamp("2026-03-01 12:00", tz="UTC") + pd.Timedelta(minutes=seed)
        row = {
            "trial_id": trial_id,
            "status": status,
            "error": error,
            "started": started,
            "finished": pd.NaT if status == "running" else started + pd.Timedelta(hours=1),
            "n_subnetworks": n,
            "partition_sizes": " ".join(["18"] if n == 1 else ["6"] * n),
            "n_coarse_units": -(-12 // n),
            "seed": seed,
            **CONFIG,
            "parameters": 1000 + n,
            "parameters_coarse_network": n - 1,
            "python": "3.11.9",
            "torch": "2.15.0",
            "ray": "2.60.0",
            "project": "0.1.0",
            "commit": "abc1234",
            "host": "node1",
            "devices": "2 cpu",
            **config,
        }
        self.write("trials", trial_id, [row])
        if errors:
            epochs = [
                {
                    "trial_id": trial_id,
                    "epoch": epoch,
                    "learning_rate": 0.1,
                    "train_loss": 1.0,
                    "train_error": value,
                    "validation_loss": 1.0,
                    "validation_error": value,
                    "seconds": 2.0,
                    "samples_per_second": 700.0,
                    "peak_memory_bytes": None,
                }
                for epoch, value in enumerate(errors, start=1)
            ]
            self.write("epochs", trial_id, epochs)
        return trial_id

    def timings(
        self,
        trial_id: str,
        seconds: dict[tuple[str, int], Sequence[tuple[float, float]]],
        *,
        mode: str = "virtual",
        batch_size: int = 64,
        device: str = "cpu",
        critical_path: Sequence[float] = (),
    ) -> None:
        """Add {(component, j): [(forward, backward) of repeat 0, of repeat 1, …]} of one trial.

        ``critical_path`` is the whole step's, by repeat.
        """
        measured = [
            (component, j, direction, repeat, duration)
            for (component, j), repeats in seconds.items()
            for repeat, pair in enumerate(repeats)
            for direction, duration in zip(("forward", "backward"), pair, strict=True)
        ]
        measured += [("step", 0, "critical_path", *path) for path in enumerate(critical_path)]
        names = ("component", "subnetwork", "direction", "repeat", "seconds")
        shared = {"trial_id": trial_id, "mode": mode, "batch_size": batch_size, "device": device}
        rows = [shared | dict(zip(names, values, strict=True)) for values in measured]
        self.write("timings", trial_id, rows)

    def trained(self, n: int, seed: int = 0, *, steps: Sequence[float], **config: Any) -> str:
        """Add a trial with these median seconds of a training step, one an epoch; return its trial_id.

        Its actors send N MB a step, and the largest takes 10 MB more each epoch.
        """
        trial_id = self.trial(n, seed, **config)
        epochs = [
            {
                "trial_id": trial_id,
                "epoch": epoch,
                "validation_error": 5.0,
                "step_seconds": seconds,
                "bytes_sent": n * 10**6,
                "peak_memory_bytes": epoch * 10**7,
            }
            for epoch, seconds in enumerate(steps, start=1)
        ]
        self.write("epochs", trial_id, epochs)
        return trial_id

    def write(self, kind: str, trial_id: str, rows: list[dict[str, Any]]) -> None:
        pd.DataFrame(rows).to_parquet(self.path / kind / f"{trial_id}.parquet", index=False)


@pytest.fixture(scope="session")
def writer() -> type[StoreWriter]:
    """For stores that several tests read."""
    return StoreWriter


@pytest.fixture
def store(tmp_path: Path) -> StoreWriter:
    return StoreWriter(tmp_path / "results" / "small")
