"""Runs a sweep: ``python -m orchestrator.sweep [--preset NAME] [options]``."""

from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console

from analysis.command import command, complain, exit_status
from orchestrator import cluster, environment
from orchestrator.arguments import parse
from orchestrator.running import dry_run, perform, prepare, say


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit status: 0 all trials finished, 1 some did not, 2 refused,
    128 + n ended by signal n.
    """
    console = Console()
    try:
        environment.check_names(arguments)
        asked = parse(arguments)
        options = replace(asked.options, store=asked.options.store or f"results/{asked.preset}")
        if options.dry_run:
            dry_run(asked.sweep, options)
            return 0
        prepared = prepare(asked.sweep, options, console)
    except (OSError, ValueError) as error:  # whatever it is, nothing has begun
        complain(error)
        return 2
    except KeyboardInterrupt:
        say(console, "interrupted: nothing had begun")
        return exit_status()
    else:
        return perform(prepared)
    finally:
        cluster.disconnect()


if __name__ == "__main__":
    command(main)
