"""Where the project's commands begin and end: their output, the signals that end them, their exit status.

An exit status says: 0 done, 1 failed, 2 refused, 128 + n ended by signal n (130: Ctrl-C, 143: a polite kill).
"""

import io
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TextIO

SIGNALS = (
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU),  # of batch systems, before a job's time is over
)
"""That end a command in good order."""

PATIENCE = 5.0
"""Seconds after a signal until another one ends the command at once."""

Handlers = dict[signal.Signals, Any]


class _End:
    """A handler that interrupts, and leaves the command a while to end before the next signal ends it."""

    def __init__(self) -> None:
        self.number: int = signal.SIGINT
        self.since: float | None = None

    def __call__(self, number: int, _: FrameType | None) -> None:
        if self.since is None:
            self.number, self.since = number, time.monotonic()
            raise KeyboardInterrupt
        if time.monotonic() - self.since > PATIENCE:
            os._exit(128 + number)


_end = _End()


def exit_status() -> int:
    """What a shell is told of a command that a KeyboardInterrupt has ended: 128 and the signal's number."""
    return 128 + _end.number


def complain(error: object) -> None:
    """Say on the error stream what is wrong, in one line: names of files may hold anything."""
    text = str(error)
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    print(f"error: {line}", file=sys.stderr)


def command(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Run ``main`` with the command line's arguments, and exit with the status that it returns.

    Its output is written as far as it can be: characters that a terminal does not know become "?", and
    what cannot be written, to a broken pipe or a full disk, is dropped. :data:`SIGNALS` interrupt it.
    """
    global _errors
    _open_what_is_closed()
    _errors = os.dup(2)
    sys.stderr = _lasting(sys.stderr, _errors)
    sys.stdout = _lasting(sys.stdout, 1)
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as by nohup
            signal.signal(number, _end)
    warnings.formatwarning = _in_one_line
    try:
        status = main(sys.argv[1:])
    except KeyboardInterrupt:
        status = exit_status()
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or "allocate memory" in str(error)):  # as torch has it
            raise
        complain(
            f"memory does not suffice ({str(error).strip() or type(error).__name__}): raise the limit of "
            "this shell or job (ulimit -d and -v show it), ask for less, or take a machine with more"
        )
        status = 1
    sys.exit(status)


_errors = 2  # the descriptor of the error stream that Python writes to


def error_stream() -> int:
    """The descriptor of the error stream, for another process to say something there."""
    return _errors


def hush_libraries(*, log: Path = Path(os.devnull)) -> None:
    """Have what libraries write past Python to a command's error stream written to a file from now on.

    Such as the pages of their own logs. Outside a :func:`command`, whose stream it is, nothing happens.
    """
    if _errors != 2:
        try:
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        except OSError:  # such as in a folder of somebody else's
            descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, 2)
        os.close(descriptor)


_with_its_place = warnings.formatwarning


def _in_one_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning as a command says it: of ours, who wants to know where in the source it was raised?"""
    if category.__module__.partition(".")[0] == __package__:
        return f"warning: {message}\n"
    return _with_its_place(message, category, filename, lineno, line)


def handlers() -> Handlers:
    """What is to happen at each signal, but for what was not set by Python."""
    found = {number: signal.getsignal(number) for number in SIGNALS}
    return {number: handler for number, handler in found.items() if handler is not None}


def restore(kept: Handlers) -> None:
    """Have that happen again, whatever a library has put in its place; in a thread nobody could have."""
    if threading.current_thread() is threading.main_thread():
        for number, handler in kept.items():
            signal.signal(number, handler)


def _open_what_is_closed() -> None:
    """Open the standard streams that this process was started without: another file would become one."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free


def _lasting(stream: TextIO | None, descriptor: int) -> TextIO:
    """The stream, written by :class:`_Output`."""
    raw = _Output(descriptor, "w", closefd=False)
    if not isinstance(stream, io.TextIOWrapper):  # closed when Python began
        return io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", errors="replace")
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors="replace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class _Output(io.FileIO):
    """Output that is dropped where it cannot be written, which is said once."""

    _said = False

    def write(self, data: Any) -> int:
        """Write, or drop."""
        try:
            return super().write(data)
        except BrokenPipeError:  # whoever has stopped reading knows
            return len(data)
        except OSError as error:
            if self.fileno() == 1 and not self._said:
                self._said = True
                lost = f"the output cannot be written ({error.strerror}): going on without it"
                print(lost, file=sys.stderr)
            return len(data)
