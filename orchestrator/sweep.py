"""Runs a sweep: ``python -m orchestrator.sweep [--preset NAME] [options]``."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from analysis.command import command, exit_status
from orchestrator import cluster, environment
from orchestrator.arguments import parse
from orchestrator.changes import refuse_changed
from orchestrator.component_times import run_timings
from orchestrator.config import Options
from orchestrator.costs import Costs
from orchestrator.cuts import look_at_cuts
from orchestrator.devices import local_devices
from orchestrator.forecast import forecast
from orchestrator.last_words import last_words
from orchestrator.plan import Plan, make_plan, pending, plan_table, untimed
from orchestrator.storage.files import writing
from orchestrator.storage.mirror import Mirror, MirrorError, following
from orchestrator.storage.store import Store, StoreError
from orchestrator.trial import Job, labels
from orchestrator.turns import Pair, run_turns, uncompared


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


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit status: 0 all trials finished, 1 some did not, 2 refused,
    128 + n ended by signal n.
    """
    console = Console()
    try:
        environment.check_names(arguments)
        asked = parse(arguments)
        options = asked.options
        environment.check_folders(options.address)  # a dry run may start Ray too, to measure
        if options.address is not None:
            cluster.connect(options.address)
        available = local_devices() if options.address is None else cluster.devices(console.print)
        folder = Path(options.store or Path("results", asked.preset)).expanduser()
        mirror = Mirror(folder, options.mirror) if options.mirror and not options.dry_run else None
        if mirror:
            mirror.pull()
        costs = Costs(folder, address=options.address, timeout=options.timeout)
        plan = make_plan(asked.sweep, options, available, costs)
        if options.dry_run:
            there = Store(folder) if folder.exists() else None
            if there is not None:
                refuse_changed(plan.jobs, there, accept_changed_code=options.accept_changed_code)
            console.print(plan_table(plan, there))
            console.print(*forecast(plan, costs, options))
            console.print(*look_at_cuts(plan))
            return 0
        if options.mlflow is not None:
            from orchestrator.observers.mlflow import check  # long to import, and optional

            check(options.mlflow)
        store = Store(folder)
        lock = store.lock()
        for line in store.set_aside_damaged():
            _say(console, line)
        refuse_changed(plan.jobs, store, accept_changed_code=options.accept_changed_code)
        costs.save()
        timed = plan.jobs if options.timing_repeats else []
        missing = Missing(
            train=pending(plan.jobs, store),
            time=untimed(timed, store),
            compare=uncompared(timed, store, available.cpus),
        )
        named = labels(plan.jobs)
        for trial_id in (job.config.trial_id for job in missing.train):
            if store.status(trial_id) in ("finished", "diverged"):
                _say(console, f"{named[trial_id]}: epochs are missing in the store: it is trained again")
    except (OSError, ValueError) as error:  # whatever it is, nothing has begun
        _complain(error)
        return 2
    except KeyboardInterrupt:
        _say(console, "interrupted: nothing had begun")
        return exit_status()
    else:
        try:
            with lock, following(mirror, _complain):
                return run(plan, missing, store, options, console)
        except (MirrorError, OSError) as error:
            _complain(error)
            return 1
    finally:
        cluster.disconnect()


def _complain(error: object) -> None:
    """Say on the error stream what is wrong."""
    _say(Console(stderr=True), f"error: {error}")


def run(plan: Plan, missing: Missing, store: Store, options: Options, console: Console) -> int:
    """Do what is missing and show the results; returns the exit status."""
    console.print(plan_table(plan, store))
    how_to_go_on = f"every finished epoch is in {store.path}; the same command goes on from there"
    try:
        if missing:
            with last_words(f"the sweep was killed, or its Ray cluster is gone: {how_to_go_on}"):
                execute(plan, missing, store, options, console)
        else:
            console.print("every trial is in the store already: nothing to run")
        return conclude(plan, store, console)
    except KeyboardInterrupt:
        _say(console, f"interrupted: {how_to_go_on}")
        return exit_status()
    except (cluster.StartError, StoreError, OSError) as error:
        _complain(error)
        return 1


def execute(plan: Plan, missing: Missing, store: Store, options: Options, console: Console) -> None:
    """Do on Ray what is missing."""
    from orchestrator.execution import run_jobs  # Tune is long to import

    console.print("starting Ray" if options.address is None else f"on {options.address}")
    cluster.connect(options.address)
    run_jobs(missing.train, plan.data, store, options, console)
    run_timings(missing.time, store, options, console)
    run_turns(missing.compare, plan.data, store, options, console)


def conclude(plan: Plan, store: Store, console: Console) -> int:
    """Show and write the results, and the trials without one; returns the exit status."""
    from analysis import load
    from analysis.report import print_tables, write_report

    print_tables(load(store.path), console)
    statuses = {job.config.trial_id: store.status(job.config.trial_id) for job in plan.jobs}
    named = labels(plan.jobs)
    for trial_id, status in statuses.items():
        if status != "finished":
            error = store.read("trials", trial_id)[0]["error"] if status else "nothing of it could be stored"
            _say(
                console, f"{named[trial_id]}: {status or 'failed'}: {error or 'its end could not be stored'}"
            )
    report = store.path / "report"
    with writing(report):
        for path in write_report(store.path):
            _say(console, f"wrote {os.path.relpath(path)}")
    if left := pending(plan.jobs, store):
        _say(console, "the same command tries again what failed, from its last checkpoint on")
    return 1 if left or set(statuses.values()) != {"finished"} else 0


def _say(console: Console, line: str) -> None:
    """Print a line as it is: a path may look like markup."""
    console.print(line, soft_wrap=True, highlight=False, markup=False)


if __name__ == "__main__":
    command(main)
