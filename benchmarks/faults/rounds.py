"""One sweep through many faults."""

import itertools
import re
import time
from pathlib import Path
from random import Random

import psutil

from benchmarks.faults.fault import Fault, NotNowError, Undo
from benchmarks.faults.files import OF_FILES
from benchmarks.faults.memory import OF_MEMORY, memory_group
from benchmarks.faults.processes import OF_PROCESSES
from benchmarks.faults.running import Running
from benchmarks.faults.sweeps import SWEEPS, compare, disk, ordinary, undisturbed

FAULTS = OF_PROCESSES | OF_FILES | OF_MEMORY
LONGEST_PAUSE = 2.0
"""Seconds at most between one recovery and the next fault."""
IN_FLIGHT = 0.5
"""Seconds after a fault in which a finished epoch may have been on its way already."""
HOPELESS = 300.0
"""Seconds without an epoch after which a sweep counts as hung."""
SETTLING = 120.0
"""Seconds for a command that repairs what faults have damaged after the last epoch."""

_PAGES = re.compile(r"Traceback|^\s+File \"|\(raylet\)|\.cc:\d+|^\[20\d\d-")
"""What no line of ours has."""

Row = dict[str, object]


class HungError(RuntimeError):
    """A sweep makes no progress any more."""


def _await(running: Running, start: float, undo: Undo, seconds: float) -> float:
    """Wait until an epoch is finished after the fault; returns the longest time without one.

    NaN: the sweep was over without another epoch.

    Raises:
        HungError: see there.
    """
    undone: float | None = None
    while not running.finished():
        now = time.monotonic()
        if undone is None and now >= start + seconds:
            undo()
            undone = now
        if undone is not None and running.epochs_since(max(start + IN_FLIGHT, undone)):
            break
        if now - start > HOPELESS + seconds:
            raise HungError(f"no epoch for {now - start:.0f} s")
        time.sleep(0.05)
    if undone is None:
        time.sleep(max(0.0, start + seconds - time.monotonic()))
        undo()
    times = [start, *running.epochs_since(start + IN_FLIGHT)]
    gaps = [b - a for a, b in itertools.pairwise(times)]
    return max(gaps, default=float("nan"))


def _pause(running: Running, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not running.finished():
        time.sleep(0.05)


def _strike(running: Running, rng: Random, names: list[str]) -> tuple[str, Fault, float, Undo] | None:
    """Strike with the first of some kinds, in random order, that has something to strike."""
    order = sorted(names, key=lambda name: rng.random() ** (1 / FAULTS[name].weight), reverse=True)
    for name in order:
        start = time.monotonic()
        try:
            return name, FAULTS[name], start, FAULTS[name].strike(running, rng)
        except (NotNowError, psutil.NoSuchProcess):
            continue
    return None


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())[:100]
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def one_round(folder: Path, number: int, names: list[str], most: int) -> tuple[list[Row], Row]:
    """Run one sweep through at most so many faults of these names; returns them, and what became of it."""
    sweep = list(SWEEPS)[number % len(SWEEPS)]
    reference = undisturbed(folder, sweep)
    usual = {ordinary(line) for line in reference.with_suffix(".output").read_text("utf-8").splitlines()}
    rng = Random(f"{folder.name} {number}")
    began = time.monotonic()
    struck: list[Row] = []
    marks: list[tuple[float, str]] = []
    hung = ""
    name = f"{folder.name}-{number}"
    with disk(folder / f"sweep-{number}") as mounted, memory_group(f"faults-{name}") as group:
        running = Running(mounted / "store", SWEEPS[sweep], group)
        running.start()
        try:
            while not running.finished():
                _pause(running, rng.uniform(0, LONGEST_PAUSE))
                if len(struck) >= most or running.finished():
                    continue
                if (hit := _strike(running, rng, names)) is None:
                    continue
                name, fault, start, undo = hit
                marks.append((start, name))
                struck.append({"sweep": number, "fault": name, "seconds": float("nan")})
                struck[-1]["seconds"] = _await(running, start, undo, fault.seconds)
                print(f"  {start - began:5.0f} s  {name}: {struck[-1]['seconds']:.1f} s", flush=True)
            # What was damaged after its last use is found by whoever gives the command again.
            lost_at_first, _ = compare(running.store, reference)
            if any(name in OF_FILES for _, name in marks):
                running.start()
                _settle(running)
            lost, wrong = compare(running.store, reference)
        except (HungError, OSError) as error:
            hung = f"{type(error).__name__}: {error}"
            lost_at_first, lost, wrong = 0, 0, []
            running.give_up()
        orphans = running.orphans()
        kept = [
            *[(at, f"=== {name}") for at, name in marks],
            *[(at, line) for at, _, line in list(running.said)],
        ]
        log = "\n".join(f"{at - began:7.1f} {line}" for at, line in sorted(kept, key=lambda each: each[0]))
        (folder / f"sweep-{number}.log").write_text(log, encoding="utf-8")
        _count_words(struck, marks, running, usual)
        running.give_up()
    outcome: Row = {
        "sweep": number,
        "of": sweep,
        "seconds": round(time.monotonic() - began),
        "faults": len(struck),
        "commands": len(running.commands),
        "lost": lost,
        "lost at first": lost_at_first,
        "wrong": len(wrong),
        "left over": len(orphans),
        "hung": hung,
    }
    print(f"sweep {number}: {outcome}", *wrong[:9], *map(_title, orphans), sep="\n  ", flush=True)
    return struck, outcome


def _settle(running: Running) -> None:
    end = time.monotonic() + SETTLING
    while not running.finished():
        if time.monotonic() > end:
            raise HungError(f"not done {SETTLING:g} s after all epochs")
        time.sleep(0.1)


def _count_words(
    struck: list[Row], marks: list[tuple[float, str]], running: Running, usual: set[str]
) -> None:
    """Add how many lines were said of each fault at most by one command, and whether any is not ours."""
    ends = [at for at, _ in marks[1:]] + [float("inf")]
    for row, (start, _), end in zip(struck, marks, ends, strict=True):
        unusual: dict[int, list[str]] = {}
        for at, command, line in list(running.said):
            if start <= at < end and line.strip() and ordinary(line) not in usual:
                unusual.setdefault(command, []).append(line)
        row["lines"] = max(map(len, unusual.values()), default=0)
        row["pages"] = sum(bool(_PAGES.search(line)) for lines in unusual.values() for line in lines)
