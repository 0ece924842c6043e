"""What a stage of the benchmark has measured: a file that is whole at any moment."""

import json
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from models.compute import Compute

Row = dict[str, Any]


@dataclass
class Report:
    """Rows of measurements in a JSON file, written anew after each of them.

    Attributes:
        path: the file.
        device: what is measured.
        tiny: whether this is a rehearsal: small networks, few repeats.
        deadline: ``time.monotonic()`` at which the stage is cut off.
    """

    path: Path
    device: torch.device
    tiny: bool
    deadline: float
    rows: list[Row] = field(default_factory=list)
    facts: Row = field(default_factory=dict)

    def left(self) -> float:
        """Seconds until the stage is cut off."""
        return self.deadline - time.monotonic()

    def add(self, **row: Any) -> None:
        """One measurement."""
        self.rows.append(row)
        self.save()

    def note(self, **facts: Any) -> None:
        """What holds for all rows."""
        self.facts |= facts
        self.save()

    def save(self) -> None:
        """Write the file, which is the old one or the new one, never a part."""
        unfinished = self.path.with_suffix(".new")
        unfinished.write_text(json.dumps({"facts": self.facts, "rows": self.rows}, indent=1))
        unfinished.replace(self.path)

    def fits(self, seconds: float, **row: Any) -> bool:
        """Whether so many seconds are left; if not, a row says that this was skipped."""
        if self.left() > seconds:
            return True
        self.add(**row, skipped=f"{self.left():.0f} s left, {seconds:.0f} needed")
        return False

    def attempt(self, measure: Callable[..., object], *args: Any, **row: Any) -> None:
        """Measure; an error is a result too, and the other measurements go on."""
        try:
            measure(*args)
        except Exception as error:  # noqa: BLE001 - whatever it is
            where = traceback.extract_tb(error.__traceback__)[-1]
            said = f"{type(error).__name__}: {error} ({Path(where.filename).name}, line {where.lineno})"
            self.add(**row, error=said[:800])


def label(compute: Compute) -> Row:
    """How a row was computed: arithmetic and launch."""
    arithmetic = {"float32": "IEEE float32", "tf32": "TF32", "bfloat16": "bfloat16", "float64": "float64"}
    return {
        "arithmetic": arithmetic[compute.precision] + " channels-last" * compute.channels_last,
        "launch": "+".join(["compiled"] * compute.compiled + ["graphs" if compute.graphs else "eager"]),
    }


def settings(device: torch.device, *, compiled: bool = False) -> list[Compute]:
    """The ways to compute that are compared, slowest first; on a CPU those that it has."""
    if device.type != "cuda":
        return [Compute(device), Compute(device, channels_last=True)]
    ways = [
        Compute(device, "float32", graphs=True, compiled=compiled),
        Compute(device, "tf32", graphs=True, compiled=compiled),
        Compute(device, "bfloat16", channels_last=True, graphs=True, compiled=compiled),
    ]
    return ways if compiled else [Compute(device), *ways]


def warm_up(device: torch.device, seconds: float = 2.0) -> None:
    """Matrix products: an idle GPU runs at a fifth of its clock."""
    if device.type == "cuda":
        matrix = torch.randn(8192, 8192, device=device)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for _ in range(5):
                matrix = (matrix @ matrix).clamp_(-1, 1)
            torch.cuda.synchronize()
