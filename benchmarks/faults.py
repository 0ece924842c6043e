"""Kills, freezes and damages a running sweep at random, then compares every number with an undisturbed one.

    python -m benchmarks.faults --kills 50               about a quarter of an hour on two cores
    python -m benchmarks.faults --kills 1000 --minutes 240

Each round is one sweep over N = 1, 2, 3 by the real command, in a store of its own, hit by one fault
after the other at random moments; when its main process is the victim the command is repeated at once.
A fault's recovery time lasts from the fault to the next call of a training epoch in a new process.
Rounds are added to those in results/faults: run it again to go on, remove the folder to begin anew.
"""

import argparse
import random
import re
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pandas as pd
import psutil

from tests.integration.command import Command, epochs

SWEEP = ["--n-subnetworks", "1", "2", "3", "--depth", "29", "--width", "8", "--epochs", "8"]
SWEEP += ["--timing-repeats", "0", "--timeout", "10"]
LONGEST_PAUSE = 6.0
"""Seconds at most between one recovery and the next fault."""
HOPELESS = 400.0
"""Seconds without recovery after which the benchmark gives up."""
ORPHANS_AFTER = 30.0
"""Seconds after the end of a sweep when no process of it may be left."""

_ACTOR = re.compile(r"ray::\w+Actor")
_TRAINING = re.compile(r"ray::\w+Actor\.run_epoch")
_EPOCH = re.compile(r"^(\S+): epoch (\d+)/", re.MULTILINE)


class Running:
    """The command on a store: repeated when it ends early, its output kept."""

    def __init__(self, store: Path, seed: int) -> None:
        self.store = store
        self.options = [*SWEEP, "--seed", str(seed), "--store", str(store)]
        self.output: list[str] = []
        self.commands: list[Command] = []
        self.start()

    def start(self) -> None:
        """Give the command, again or for the first time."""
        command = Command(*self.options)
        self.commands.append(command)
        threading.Thread(target=lambda: self.output.extend(command.lines()), daemon=True).start()

    def finished(self) -> bool:
        """Whether the sweep is over; repeats the command as a user would if trials have failed."""
        status = self.commands[-1].process.poll()
        if status is not None and status != 0:
            print(f"  status {status}, repeated\n  {''.join(self.output[-5:])}", flush=True)
            self.start()
        return status == 0

    def orphans(self) -> list[psutil.Process]:
        """What is left of all its commands some time after the end."""
        left = [process for command in self.commands for process in command.descendants()]
        return psutil.wait_procs(left, timeout=ORPHANS_AFTER)[1]


Fault = Callable[[Running, random.Random], bool]
"""Strikes a running sweep; false if it cannot just now."""


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()[:1])
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def _has(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get("PARAREAL_TEST") == mark
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False


def _strike(running: Running, rng: random.Random, title: str, how: Callable[[psutil.Process], None]) -> bool:
    try:
        how(rng.choice(running.commands[-1].processes(title)))
    except (IndexError, psutil.NoSuchProcess):  # none there just now
        return False
    return True


def _kill(title: str) -> Fault:
    return partial(_strike, title=title, how=psutil.Process.kill)


def _freeze(title: str) -> Fault:
    return partial(_strike, title=title, how=psutil.Process.suspend)


def _kill_main(running: Running, rng: random.Random) -> bool:
    running.commands[-1].process.kill()
    running.commands[-1].process.wait()
    running.start()
    return True


def _truncate(running: Running, rng: random.Random) -> bool:
    """Cut the newest checkpoint's largest file in half, and have it needed."""
    epochs_saved = list(running.store.glob("checkpoints/*/epoch-*"))
    if not epochs_saved:
        return False
    newest = max(epochs_saved, key=lambda path: path.stat().st_mtime)
    file = max(newest.glob("*.pt"), key=lambda path: path.stat().st_size)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    kinds = "DriverActor.run_epoch", "SerialActor.run_epoch"
    return any(_strike(running, rng, kind, psutil.Process.kill) for kind in kinds)


FAULTS: dict[str, Fault] = {
    "subnetwork actor killed": _kill("SubnetworkActor"),
    "driver actor killed": _kill("DriverActor"),
    "serial actor killed": _kill("SerialActor"),
    "trial's process killed": _kill("ImplicitFunc"),
    "main process killed, command repeated": _kill_main,
    "subnetwork actor frozen": _freeze("SubnetworkActor.run_epoch"),
    "driver actor frozen": _freeze("DriverActor.run_epoch"),
    "serial actor frozen": _freeze("SerialActor.run_epoch"),
    "trial's process frozen": _freeze("ImplicitFunc.train"),
    "newest checkpoint truncated, actor killed": _truncate,
}


def _actors(title: re.Pattern[str]) -> set[psutil.Process]:
    return {process for process in psutil.process_iter() if title.match(_title(process))}


def faults_of(running: Running, rng: random.Random) -> Iterator[tuple[str, float]]:
    """Faults that struck until the end of the sweep, and seconds to recover; NaN: nothing was left to do."""
    while not running.finished():
        pause = time.monotonic() + rng.uniform(0, LONGEST_PAUSE)
        while time.monotonic() < pause and not running.finished():
            time.sleep(0.05)
        for fault in rng.sample(list(FAULTS), len(FAULTS)):
            start, old = time.monotonic(), _actors(_ACTOR)
            if FAULTS[fault](running, rng):
                break
        else:
            continue
        mark = running.commands[-1].mark
        while not any(_has(process, mark) for process in _actors(_TRAINING) - old) and not running.finished():
            if time.monotonic() - start > HOPELESS:
                raise TimeoutError(f"no recovery from {fault}:\n{''.join(running.output)}")
            time.sleep(0.05)
        yield fault, float("nan") if running.finished() else time.monotonic() - start


def compare(store: Path, reference: Path) -> tuple[int, int]:
    """Epochs that the store lacks or has twice, and numbers that differ from the reference's."""
    actual, expected = (epochs(path).set_index(["trial_id", "epoch"]) for path in (store, reference))
    shared = expected.index.intersection(actual.index)
    a, e = actual[~actual.index.duplicated()].loc[shared], expected.loc[shared]
    lost = len(expected) - len(shared) + int(actual.index.duplicated().sum())
    return lost, int((~((a == e) | (a.isna() & e.isna()))).to_numpy().sum())


def undisturbed(folder: Path, seed: int) -> Path:
    """The store of the same sweep without a fault; made when it is not there."""
    store = folder / f"undisturbed-{seed}"
    if not (store / "report").exists():
        print(f"undisturbed sweep of seed {seed}", flush=True)
        start = time.monotonic()
        status, output = Command(*SWEEP, "--seed", str(seed), "--store", str(store)).finish()
        if status != 0:
            raise RuntimeError(output)
        print(f"  {time.monotonic() - start:.0f} s", flush=True)
    return store


def one_round(folder: Path, number: int, seed: int) -> tuple[pd.DataFrame, dict[str, object]]:
    """Run one sweep through faults; returns them, and what became of the sweep."""
    reference = undisturbed(folder, seed % 3)
    store = folder / f"round-{number}"
    shutil.rmtree(store, ignore_errors=True)
    start = time.monotonic()
    running = Running(store, seed % 3)
    struck = []
    for fault, seconds in faults_of(running, random.Random(f"{seed} {number}")):
        print(f"  {time.monotonic() - start:5.0f} s  {fault}: {seconds:.1f} s", flush=True)
        struck.append({"round": number, "fault": fault, "recovery": seconds})
    orphans = running.orphans()
    lost, wrong = compare(store, reference)
    printed = Counter(_EPOCH.findall("".join(running.output)))
    outcome = {
        "round": number,
        "seconds": round(time.monotonic() - start),
        "faults": len(struck),
        "epochs": len(epochs(store)),
        "lost epochs": lost,
        "wrong numbers": wrong,
        "run again": sum(printed.values()) - len(printed),
        "orphans": len(orphans),
    }
    print(f"round {number}: {outcome}", *map(_title, orphans), flush=True)
    (folder / f"round-{number}.log").write_text("".join(running.output))
    shutil.rmtree(store)
    return pd.DataFrame(struck), outcome


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50, help="faults in all, those of earlier runs included")
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no round after this time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=Path("results/faults"))
    asked = parser.parse_args()
    asked.results.mkdir(parents=True, exist_ok=True)
    files = asked.results / "faults.csv", asked.results / "rounds.csv"
    frames = [pd.read_csv(file) if file.exists() else pd.DataFrame() for file in files]
    end = time.monotonic() + 60 * asked.minutes
    while len(frames[0]) < asked.kills and time.monotonic() < end:
        number = len(frames[1])
        struck, outcome = one_round(asked.results, number, asked.seed + number)
        frames = [pd.concat([frames[0], struck]), pd.concat([frames[1], pd.DataFrame([outcome])])]
        for frame, file in zip(frames, files, strict=True):
            frame.to_csv(file, index=False)
    struck, rounds = frames
    recovery = struck.groupby("fault")["recovery"].agg(["size", "median", "max"])
    recovery.loc["all"] = [len(struck), struck["recovery"].median(), struck["recovery"].max()]
    recovery.columns = ["n", "recovery, median (s)", "worst (s)"]
    print(recovery.astype({"n": int}).to_markdown(floatfmt=".1f"))
    print(f"\n{len(rounds)} sweeps:", rounds.drop(columns="round").sum().to_dict())


if __name__ == "__main__":
    main()
