"""Everything that one GPU can show, in a few minutes: correctness, times, accuracy.

    python -m benchmarks.gpu --minutes 8 --folder results/gpu
    python -m benchmarks.gpu --device cpu --tiny --minutes 1 --folder /tmp/rehearsal

Stages, each in a process of its own that is killed when its time is over: the others run. Results are JSON
files in the folder, one a stage, whole at any moment. Needs torch, and Ray for the gangs of the first stage.
With PARQUET=parquet:FOLDER in the environment, accuracy is measured on the images there, else on CIFAR-10.
"""

import argparse
import importlib
import json
import os
import signal
import time
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

from benchmarks.gpu.process import run_stage

STAGES = {
    "correctness": 110,
    "table2": 75,
    "critical_paths": 75,
    "strong_scaling": 40,
    "accuracy": 155,
    "compiled": 25,
}
"""Seconds of each, of 8 minutes; other ``--minutes`` in proportion. What a stage leaves is the next one's."""

GRACE = 3.0
MOST_CHARACTERS = 11_000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--folder", type=Path, default=Path("results/gpu"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a rehearsal: small networks, few repeats")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    asked = parser.parse_args()
    begin = time.monotonic()
    asked.folder.mkdir(parents=True, exist_ok=True)
    context = get_context("forkserver")  # each stage has a device to itself, and need not import torch
    context.set_forkserver_preload(["benchmarks.gpu.preload"])
    left_to_say = MOST_CHARACTERS
    scale = 60 * asked.minutes / sum(STAGES[name] for name in asked.stages)
    end = begin
    for name in asked.stages:
        end += scale * STAGES[name]
        start = time.monotonic()
        path = asked.folder / f"{name}.json"
        path.unlink(missing_ok=True)
        process = context.Process(target=run_stage, args=(name, path, asked.device, asked.tiny, end))
        process.start()
        try:
            process.join(end - start + GRACE)
            how = "" if process.exitcode == 0 else f", failed with {process.exitcode}"
            how = ", cut off" if process.is_alive() else how
        finally:
            _end(process)
        said = "\n".join([f"== {name}: {time.monotonic() - start:.0f} s{how}", *_lines(name, path)])
        print(said[: max(0, left_to_say)], flush=True)
        left_to_say -= len(said)


def _end(process: BaseProcess) -> None:
    """End a stage, if it is still at work, and what it has started."""
    if process.is_alive():
        with suppress(ProcessLookupError):  # it has no group of its own yet
            os.killpg(process.pid or 0, signal.SIGKILL)
        process.kill()
    process.join()


def _lines(name: str, path: Path) -> list[str]:
    """What a stage has to say, and what went wrong in it."""
    if not path.exists():
        return ["nothing"]
    content = json.loads(path.read_text())
    facts = {key: value for key, value in content["facts"].items() if key != "error"}
    lines = [", ".join(f"{key} {value}" for key, value in facts.items())]
    if "error" in content["facts"]:
        lines.append(f"error: {content['facts']['error'][:600]}")
    return lines + importlib.import_module(f"benchmarks.gpu.{name}").lines(content["rows"])


if __name__ == "__main__":
    main()
