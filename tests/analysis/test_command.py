"""How commands begin and end, in processes of their own."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from analysis import command
from analysis.command import exit_status


def heed_signals():
    """As from a terminal: tests that run in the background have interruptions ignored, and hand that on."""
    for number in command.SIGNALS:
        signal.signal(number, signal.SIG_DFL)


BEGIN = "import os, signal, sys, time\nfrom analysis.command import command\ndef main(arguments):\n    "


def run(body, *, shell="{}", **options):
    """A command with this body, started by the shell as it says there."""
    program = f"{sys.executable} -c 'exec(os.environ[\"CODE\"])'".replace("exec(", "import os; exec(")
    environment = os.environ | {"CODE": f"{BEGIN}{body}\ncommand(main)"} | options
    return subprocess.run(
        ["bash", "-c", shell.format(program)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=heed_signals,
    )


def test_arguments_go_in_and_the_status_comes_out():
    done = run("print(arguments); return 3", shell="{} a b; echo $?")
    assert done.stdout.splitlines() == ["['a', 'b']", "3"]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_a_terminal_does_not_know_becomes_a_question_mark(encoding):
    done = run(r'print("N \u2264 3, caf\udce9"); return 0', PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stdout, done.stderr) == (0, "N ? 3, caf?\n", "")


def test_a_name_that_is_not_utf_8_can_be_printed():
    done = run(r'print("caf\udce9"); print("caf\udce9", file=sys.stderr); return 0', PYTHONIOENCODING="utf-8")
    assert (done.returncode, done.stdout, done.stderr) == (0, "caf?\n", "caf?\n")


def test_a_warning_of_ours_is_one_line_and_that_of_others_says_where():
    ours = "import warnings, analysis; warnings.warn('no file', analysis.StoreWarning); "
    done = run(f"{ours}warnings.warn('old'); return 0")
    first, second = done.stderr.splitlines()
    assert first == "warning: no file"
    assert second.endswith("UserWarning: old")


@pytest.mark.parametrize("error", ["MemoryError()", "RuntimeError('you tried to allocate memory')"])
def test_memory_that_is_short_is_said_in_a_line_and_another_error_whole(error):
    done = run(f"raise {error}")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: memory does not suffice (")
    assert "Traceback" in run("raise RuntimeError('a fault of ours')").stderr


PRINT_MUCH = "[print(i, flush=True) for i in range(9)]; time.sleep(0.2); print(9); return 7"


@pytest.mark.parametrize(
    ("shell", "said"),
    [
        (
            "{} > /dev/full",
            "the output cannot be written (No space left on device): going on without it\n",
        ),
        ("{} | sleep 0; exit ${{PIPESTATUS[0]}}", ""),
    ],
)
def test_output_that_is_gone_is_said_once_and_changes_nothing(shell, said):
    done = run("time.sleep(0.5); " + PRINT_MUCH, shell=shell)
    assert (done.returncode, done.stderr) == (7, said)


@pytest.mark.parametrize("shell", ["{} >&-", "{} 2>&-", "{} <&- >&- 2>&-", "{} > /dev/full 2> /dev/full"])
def test_without_standard_streams_it_goes_on_and_files_do_not_get_their_numbers(shell):
    done = run(
        f"assert os.open(os.devnull, os.O_RDONLY) > 2; print('!', file=sys.stderr); {PRINT_MUCH}", shell=shell
    )
    assert done.returncode == 7
    assert done.stderr in ("", "!\n")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGXCPU"])
def test_a_signal_ends_it_in_good_order_with_a_status_that_says_which(name):
    body = f"\n    try: os.kill(os.getpid(), signal.{name})\n    finally: print('closed')"
    done = run(body)
    assert done.returncode == 128 + getattr(signal, name)
    assert (done.stdout, done.stderr) == ("closed\n", "")


def test_a_second_interruption_does_not_disturb_the_end():
    kill = "os.kill(os.getpid(), signal.SIGINT)"
    done = run(f"\n    try: {kill}\n    finally: {kill}; time.sleep(0.1); print('closed')")
    assert (done.returncode, done.stdout) == (130, "closed\n")


def test_an_end_that_does_not_come_is_not_waited_for():
    kill = "os.kill(os.getpid(), signal.SIGTERM)"
    hurry = "from analysis import command; command.PATIENCE = 0"
    done = run(f"{hurry}\n    try: {kill}\n    finally: time.sleep(0.1); {kill}; print('closed')")
    assert (done.returncode, done.stdout) == (143, "")


def test_what_is_ignored_stays_so():
    done = run("os.kill(os.getpid(), signal.SIGHUP); return 0", shell="trap '' HUP; {}")
    assert done.returncode == 0


def test_the_signal_is_remembered_where_a_library_raises_an_interruption_of_its_own():
    kill = "os.kill(os.getpid(), signal.SIGTERM)"
    assert run(f"\n    try: {kill}\n    except KeyboardInterrupt: raise KeyboardInterrupt").returncode == 143


def test_a_plain_interruption_is_ctrl_c():
    assert exit_status() == 130


def test_handlers_come_back_and_a_thread_leaves_them_alone():
    kept = command.handlers()
    signal.signal(signal.SIGUSR1, lambda *_: None)
    thread = threading.Thread(target=command.restore, args=[kept])
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGUSR1) != kept[signal.SIGUSR1]
    command.restore(kept)
    assert command.handlers() == kept


def test_an_error_is_one_line_whatever_a_name_holds(capsys):
    command.complain("a\nb\x1b[31m\udce9 café")
    assert capsys.readouterr().err == "error: a\\nb\\x1b[31m\\udce9 café\n"
