"""A sweep that is struck: the real command, repeated by a patient user until it is done."""

import os
import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from ray._common.utils import get_default_ray_temp_dir

from orchestrator.heir import started_by
from tests.integration.command import Command

EPOCH = re.compile(r"^\S.*: epoch (\d+)/")
ORPHANS_AFTER = 30.0
"""Seconds after the end of a sweep when no process of it may be left."""
PAUSE = 1.0
"""Seconds between a command that has failed and the next."""
# Root passes over permissions unless it gives that up.
_AS_OTHERS = [
    "setpriv",
    "--bounding-set=-dac_override,-dac_read_search",
    "--inh-caps=-dac_override,-dac_read_search",
]


@dataclass
class Running:
    """The command on a store: repeated when it ends early, its output kept with its times.

    Attributes:
        store: where its results go.
        options: of the command.
        group: the control group in which it runs, if any.
        said: when each line of the output came, of which command, and the line.
        commands: those given so far.
        statuses: with which they have ended.
    """

    store: Path
    options: list[str]
    group: Path | None = None
    said: list[tuple[float, int, str]] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)

    def start(self) -> None:
        """Give the command, again or for the first time."""
        prefix = list(_AS_OTHERS) if os.geteuid() == 0 else []
        if self.group is not None:
            prefix = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', f"{self.group}/cgroup.procs", *prefix]
        # The priority is the benchmark's own, not that and Ray's.
        command = Command(*self.options, "--store", str(self.store), prefix=prefix, RAY_worker_niceness="0")
        number = len(self.commands)
        self.commands.append(command)

        def listen() -> None:
            for line in command.lines():
                self.said.append((time.monotonic(), number, line.rstrip("\n")))

        threading.Thread(target=listen, daemon=True).start()

    def finished(self) -> bool:
        """Whether the sweep is over; repeats the command as a user would if it has failed."""
        status = self.commands[-1].process.poll()
        if status is None:
            return False
        if len(self.statuses) < len(self.commands):
            self.statuses.append(status)
        if status != 0:
            time.sleep(PAUSE)
            self.start()
        return status == 0

    @property
    def main(self) -> psutil.Process:
        """The main process of the last command."""
        return psutil.Process(self.commands[-1].process.pid)

    def processes(self, title: str) -> list[psutil.Process]:
        """Those of the last command whose name or command line matches."""
        found = []
        for process in self.main.children(recursive=True):
            try:
                if re.search(title, f"{process.name()} {' '.join(process.cmdline())}"):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
        return found

    def epochs_since(self, moment: float) -> list[float]:
        """When epochs were finished after that moment."""
        return [at for at, _, line in list(self.said) if at > moment and EPOCH.match(line)]

    def orphans(self) -> list[psutil.Process]:
        """What is left of all its commands some time after the end."""
        left = {process for command in self.commands for process in command.descendants()}
        # Ray's agents overwrite the mark that the others have.
        for command in self.commands:
            for number in started_by(get_default_ray_temp_dir(), command.process.pid):
                with suppress(psutil.NoSuchProcess):
                    left.add(psutil.Process(number))
        return psutil.wait_procs(left, timeout=ORPHANS_AFTER)[1]

    def give_up(self) -> None:
        """End all that it has started."""
        for command in self.commands:
            for process in command.descendants():
                process.kill()
            command.process.wait()
