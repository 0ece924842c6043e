"""A sweep from beginning to end: prepared, and refused if it cannot work, then run on Ray and reported."""

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import ray
from rich.console import Console

from analysis.command import complain, exit_status
from orchestrator import cluster, environment, ray_watch
from orchestrator.changes import refuse_changed
from orchestrator.component_times import run_timings
from orchestrator.config import Options, Sweep
from orchestrator.costs import Costs
from orchestrator.cuts import hopeless, look_at_cuts
from orchestrator.devices import Available, local_devices
from orchestrator.forecast import forecast
from orchestrator.last_words import last_words
from orchestrator.plan import Plan, make_plan, pending, plan_table, untimed
from orchestrator.storage.files import writing
from orchestrator.storage.mirror import Mirror, MirrorError, following
from orchestrator.storage.store import Store, StoreError, usable
from orchestrator.trial import Job, labels
from orchestrator.turns import Pair, run_turns, uncompared

if TYPE_CHECKING:
    from analysis import Results

STORE = "results/sweep"
"""Where the results of a sweep go whose options name no other folder."""


class SweepError(RuntimeError):
    """Some trials of a sweep have not finished; their results, and why, are in the store all the same."""


def run(sweep: Sweep, options: Options | None = None) -> "Results":
    """Run a sweep from a script or a notebook, and return what the store holds then.

        results = run(Sweep(network=my_network, n_subnetworks=(1, 3)), Options(store="results/mine"))

    It is the sweep of ``python -m orchestrator.sweep``: what is in the store already is not run again, and an
    interruption loses no finished epoch. A Ray that runs already is used, and left running.

    Args:
        sweep: what to sweep.
        options: how and where to run it; the results go to :data:`STORE` unless they name another folder.

    Raises:
        ValueError: it cannot work; says what to do. Nothing has begun.
        OSError: neither can it, because of a file; or while it ran, a disk is full.
        SweepError: a trial has failed or diverged.
        LostError: the Ray that it ran on is gone; the same call goes on.
        KeyboardInterrupt: it was interrupted; the same call goes on.
    """
    options = replace(options or Options(), dry_run=False)
    options = replace(options, store=options.store or STORE)
    console = _console()
    keep_ray = ray.is_initialized()
    try:
        prepared = prepare(sweep, options, console)
        with prepared.lock, following(prepared.mirror, lambda line: say(console, str(line))):
            execute(prepared)
            unfinished = _unfinished(prepared.plan, prepared.store)
    finally:
        if not keep_ray:
            cluster.disconnect()
    if unfinished:
        raise SweepError("\n".join(unfinished))
    from analysis import load

    return load(prepared.store.path)


def _console() -> Console:
    """Where to say how it goes: in a notebook plain lines, since a live table would need widgets."""
    return Console(force_jupyter=False, force_terminal=False) if Console().is_jupyter else Console()


def dry_run(sweep: Sweep, options: Options | None = None) -> None:
    """Print what :func:`run` would run, what a step would take, and what other numbers of devices would buy.

    Raises:
        ValueError: it cannot work; says what to do.
    """
    options = options or Options()
    console = _console()
    folder = usable(options.store or STORE)
    keep_ray = ray.is_initialized()
    try:
        available = _available(options, console)
        costs = Costs(folder, address=options.address, timeout=options.timeout)
        plan = make_plan(sweep, options, available, costs)
        there = Store(folder) if folder.exists() else None
        if there is not None:
            refuse_changed(plan.jobs, there, accept_changed_code=options.accept_changed_code)
        console.print(plan_table(plan, there))
        console.print(*forecast(plan, costs, options))
        console.print(*look_at_cuts(plan), *hopeless(plan))
    finally:
        if not keep_ray:
            cluster.disconnect()


@dataclass(frozen=True, kw_only=True)
class Missing:
    """What of a sweep its store does not hold yet.

    Attributes:
        train: trials to train.
        time: those whose components are to be timed.
        compare: those whose steps are to be measured in turns.
    """

    train: list[Job]
    time: list[Job]
    compare: list[Pair]

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(self.train or self.time or self.compare)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A sweep that can begin.

    Attributes:
        plan: its trials, checked.
        missing: what is to be done.
        store: where results go.
        lock: holds the store for this process, as a context.
        mirror: what keeps a copy of the store.
        options: how to run it.
        console: where to say how it goes.
    """

    plan: Plan
    missing: Missing
    store: Store
    lock: AbstractContextManager[object]
    mirror: Mirror | None
    options: Options
    console: Console

    @property
    def how_to_go_on(self) -> str:
        """What to say of a sweep that has ended early."""
        return f"every finished epoch is in {self.store.path}; the same command goes on from there"


def prepare(sweep: Sweep, options: Options, console: Console) -> Prepared:
    """Check everything, and find out what is missing; nothing begins.

    Raises:
        ValueError: it cannot work; says what to do.
        OSError: neither can it, because of a file.
    """
    if options.forecast is not None:
        raise ValueError(f"--forecast {options.forecast} without --dry-run: pass both, or leave it out")
    folder = usable(options.store or STORE)
    available = _available(options, console)
    mirror = Mirror(folder, options.mirror) if options.mirror else None
    if mirror:
        mirror.pull()
    costs = Costs(folder, address=options.address, timeout=options.timeout)
    plan = make_plan(sweep, options, available, costs)
    if options.mlflow is not None:
        from orchestrator.observers.mlflow import check  # long to import, and optional

        check(options.mlflow)
    store = Store(folder)
    lock = store.lock()
    for line in store.set_aside_damaged():
        say(console, line)
    refuse_changed(plan.jobs, store, accept_changed_code=options.accept_changed_code)
    costs.save()
    timed = plan.jobs if options.timing_repeats else []
    missing = Missing(
        train=pending(plan.jobs, store),
        time=untimed(timed, store),
        compare=uncompared(timed, store, available.cpus),
    )
    named = labels(plan.jobs)
    trained = store.values("trials", "status", [job.config.trial_id for job in missing.train])
    for trial_id, status in trained.items():
        if status in (["finished"], ["diverged"]):
            say(console, f"{named[trial_id]}: epochs are missing in the store: it is trained again")
    return Prepared(
        plan=plan,
        missing=missing,
        store=store,
        lock=lock,
        mirror=mirror,
        options=options,
        console=console,
    )


def _available(options: Options, console: Console) -> Available:
    """The devices that there are."""
    environment.check_folders(options.address)  # a dry run may start Ray too, to measure
    if options.address is None:
        return local_devices()
    cluster.connect(options.address)
    return cluster.devices(console.print)


def perform(prepared: Prepared) -> int:
    """Run a sweep as a command: do what is missing and show the results; returns the exit status."""
    console = prepared.console
    try:
        with prepared.lock, following(prepared.mirror, complain):
            execute(prepared)
            return conclude(prepared.plan, prepared.store, console)
    except KeyboardInterrupt:
        say(console, f"interrupted: {prepared.how_to_go_on}")
        return exit_status()
    except ray_watch.LostError as error:
        complain(f"{error}; {prepared.how_to_go_on}")
        return 1
    except (cluster.StartError, MirrorError, StoreError, OSError) as error:
        complain(error)
        return 1


def execute(prepared: Prepared) -> None:
    """Show the plan, and do on Ray what is missing."""
    plan, store, options, console = prepared.plan, prepared.store, prepared.options, prepared.console
    console.print(plan_table(plan, store), *hopeless(plan))
    if not prepared.missing:
        console.print("every trial is in the store already: nothing to run")
        return
    from orchestrator.execution import run_jobs  # Tune is long to import

    console.print("starting Ray" if options.address is None else f"on {options.address}")
    with last_words(f"the sweep was killed, or its Ray cluster is gone: {prepared.how_to_go_on}"):
        cluster.connect(options.address)
        with ray_watch.watching(timeout=options.timeout):
            run_jobs(prepared.missing.train, plan.data, store, options, console)
            run_timings(prepared.missing.time, store, options, console)
            run_turns(prepared.missing.compare, plan.data, store, options, console)


def conclude(plan: Plan, store: Store, console: Console) -> int:
    """Show and write the results, and the trials without one; returns the exit status."""
    from analysis import load  # long to import, with all that reports take
    from analysis.report import Report

    store.gather()
    report = Report(load(store.path))
    report.print(console)
    unfinished = _unfinished(plan, store)
    for line in unfinished:
        say(console, line)
    with writing(store.path / "report"):
        *others, page = report.write()
    say(console, f"wrote {os.path.relpath(page)}, and {len(others)} figures and tables beside it")
    if left := pending(plan.jobs, store):
        say(console, "the same command tries again what failed, from its last checkpoint on")
    return 1 if left or unfinished else 0


def _unfinished(plan: Plan, store: Store) -> list[str]:
    """What is to be said of each trial without a result."""
    lines = []
    statuses = store.values("trials", "status", [job.config.trial_id for job in plan.jobs])
    for trial_id, label in labels(plan.jobs).items():
        (status,) = statuses.get(trial_id, [None])
        if status != "finished":
            error = store.read("trials", trial_id)[0]["error"] if status else _NO_ROW
            lines.append(f"{label}: {status or 'failed'}: {error or 'its end could not be stored'}")
    return lines


_NO_ROW = "no row of it is in the store: it could not be written, or has been removed"


def say(console: Console, line: str) -> None:
    """Print a line as it is: a path may look like markup."""
    console.print(line, soft_wrap=True, highlight=False, markup=False)
