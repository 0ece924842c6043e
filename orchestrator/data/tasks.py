"""Work on a data set in other processes of this host, and how far it is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from orchestrator.data.errors import DatasetError
from orchestrator.reason import reason

Argument = TypeVar("Argument")
Result = TypeVar("Result")


class Tasks:
    """Ray's tasks on the host of this process.

    Args:
        address: of the cluster that the process belongs to; None starts one here when the first task does.
    """

    def __init__(self, address: str | None = None) -> None:
        self._address = address
        self.advance: Callable[[int], None] = lambda n: None

    @contextmanager
    def progress(self, what: str, n: int) -> Iterator[None]:
        """Show on a terminal how far it is: :attr:`advance` is called with how many of n are done."""
        console = Console(stderr=True)
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
            task = shown.add_task(what, total=n)
            self.advance = lambda done: shown.advance(task, done)
            yield

    def run(
        self,
        function: Callable[[Argument], Result],
        calls: Iterator[tuple[Argument, Callable[[Result], None]]],
    ) -> None:
        """Call a function with each argument, in a process for each core, and pass on what it returns.

        Only as many arguments are read ahead as keep the processes busy. What a process was ended at, another
        does again.
        """
        first = next(calls, None)
        if first is None:
            return
        import ray
        from ray.exceptions import RayError, RayTaskError
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        from orchestrator import cluster
        from orchestrator.devices import local_devices

        cluster.connect(self._address)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        # No cores are reserved: a head may have none to give, and nothing else of this sweep has begun.
        remote = ray.remote(function).options(num_cpus=0, scheduling_strategy=here)
        n_processes = max(1, int(local_devices().cpus))
        running: dict[Any, Callable[[Result], None]] = {}

        def wait(most: int) -> None:
            while len(running) > most:
                (done,), _ = ray.wait(list(running))
                try:
                    result = ray.get(done)
                except RayTaskError as error:
                    raise error.cause from error
                except RayError as error:
                    raise DatasetError(
                        f"a process that reads data has died ({reason(error)}): run the same command again"
                    ) from error
                running.pop(done)(result)

        for argument, take in chain([first], calls):
            wait(n_processes - 1)
            running[remote.remote(argument)] = take
        wait(0)
