"""Faults of processes: killed, stopped, or sent a signal."""

import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from random import Random
from time import sleep

import psutil

from benchmarks.faults.fault import DEAR, Fault, NotNowError, Undo, nothing
from benchmarks.faults.running import Running

ACTOR, TRIAL = r"ray::\w+Actor", r"ray::ImplicitFunc"
AT_WORK = ACTOR + r"\.run_epoch"
RAYLET, GCS = r"^raylet ", r"^gcs_server "
HELPERS = r"ray::DashboardAgent|ray::RuntimeEnvAgent|/monitor\.py |/log_monitor\.py |/dashboard\.py "


def victim(running: Running, rng: Random, title: str) -> psutil.Process:
    """One of the processes of that title."""
    try:
        return rng.choice(running.processes(title))
    except (IndexError, psutil.NoSuchProcess) as error:
        raise NotNowError(title) from error


def send(title: str, number: signal.Signals, *, weight: float = 1.0) -> Fault:
    """A signal to one of the processes of that title."""

    def strike(running: Running, rng: Random) -> Undo:
        with suppress(psutil.NoSuchProcess):
            victim(running, rng, title).send_signal(number)
            return nothing
        raise NotNowError(title)

    return Fault(strike, weight=weight)


def _continue(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):  # ended meanwhile
        process.resume()


def stop(find: Callable[[Running, Random], psutil.Process], seconds: float, *, weight: float = 0.5) -> Fault:
    """A process stopped for so long."""

    def strike(running: Running, rng: Random) -> Undo:
        process = find(running, rng)
        with suppress(psutil.NoSuchProcess):
            process.suspend()
            return partial(_continue, process)
        raise NotNowError

    return Fault(strike, seconds, weight)


def freeze(title: str) -> Fault:
    """A process stopped for good."""

    def strike(running: Running, rng: Random) -> Undo:
        with suppress(psutil.NoSuchProcess):
            victim(running, rng, title).suspend()
            return nothing
        raise NotNowError(title)

    return Fault(strike, weight=DEAR)


def to_main(*numbers: signal.Signals) -> Fault:
    """Signals to the main process, one after the other."""

    def strike(running: Running, rng: Random) -> Undo:
        if not any(number == len(running.commands) - 1 for _, number, _ in list(running.said)):
            raise NotNowError("the command has said nothing yet")
        process = running.commands[-1].process
        for number in numbers:
            process.send_signal(number)
            sleep(0.2)
        return nothing

    return Fault(strike, weight=DEAR)


def _main(running: Running, rng: Random) -> psutil.Process:
    return running.main


OF_PROCESSES: dict[str, Fault] = {
    "actor killed": send(ACTOR, signal.SIGKILL),
    "actor: SIGSEGV": send(ACTOR, signal.SIGSEGV),
    "actor: SIGTERM": send(ACTOR, signal.SIGTERM),
    "actor: SIGINT": send(ACTOR, signal.SIGINT),
    "actor stopped for good": freeze(AT_WORK),
    "actor stopped for 3 s": stop(partial(victim, title=ACTOR), 3),
    "trial's process killed": send(TRIAL, signal.SIGKILL),
    "trial's process: SIGTERM": send(TRIAL, signal.SIGTERM),
    "trial's process stopped for good": freeze(TRIAL + r"\.train"),
    "main process killed": to_main(signal.SIGKILL),
    "main process: SIGHUP": to_main(signal.SIGHUP),
    "main process: SIGQUIT": to_main(signal.SIGQUIT),
    "main process: SIGUSR1": to_main(signal.SIGUSR1),
    "main process: SIGTERM": to_main(signal.SIGTERM),
    "main process: SIGINT three times": to_main(*[signal.SIGINT] * 3),
    "main process stopped for 5 s": stop(_main, 5),
    "raylet killed": send(RAYLET, signal.SIGKILL, weight=DEAR),
    "raylet stopped for 5 s": stop(partial(victim, title=RAYLET), 5),
    "raylet stopped for 45 s": stop(partial(victim, title=RAYLET), 45, weight=DEAR / 3),
    "GCS killed": send(GCS, signal.SIGKILL, weight=DEAR),
    "GCS stopped for 5 s": stop(partial(victim, title=GCS), 5),
    "GCS stopped for 45 s": stop(partial(victim, title=GCS), 45, weight=DEAR / 3),
    "agent or monitor of Ray killed": send(HELPERS, signal.SIGKILL, weight=DEAR),
}
"""By name."""
