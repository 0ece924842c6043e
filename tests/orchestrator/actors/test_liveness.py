import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from orchestrator.actors import liveness
from orchestrator.actors.liveness import Watch, show_life

LIVING = """
import sys, time
from orchestrator.actors.liveness import show_life
from orchestrator.actors.transport import Rendezvous
host, port, timeout = sys.argv[1:]
show_life(Rendezvous(host, int(port), float(timeout)), "a")
time.sleep(600)
"""


def poll(condition, seconds=30):
    """How long it takes until ``condition()`` is true."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, "in vain"
        time.sleep(0.05)
    return time.monotonic() - start


def test_a_frozen_process_is_silent_until_it_goes_on():
    watch = Watch(timeout=1.0)
    watch.expect("a")
    address = watch.rendezvous.host, str(watch.rendezvous.port), "1.0"
    process = subprocess.Popen([sys.executable, "-c", LIVING, *address])
    try:
        poll(lambda: watch.silent() or watch._heard["a"].limit == 1.0)  # slow to start, but not silent
        assert not watch.silent()
        with pytest.raises(AssertionError, match="in vain"):
            poll(watch.silent, seconds=2)
        process.send_signal(signal.SIGSTOP)
        assert 0.5 < poll(watch.silent) < 4
        assert watch.silent()["a"] > 1.0
        process.send_signal(signal.SIGCONT)
        poll(lambda: not watch.silent())
    finally:
        process.kill()
        process.wait()


def test_a_process_that_never_starts_is_silent_in_the_end(monkeypatch):
    monkeypatch.setattr(liveness, "SLOW_START", 1.5)
    watch = Watch(timeout=0.2)
    watch.expect("never")
    assert 1 < poll(watch.silent) < 4
    watch.dismiss("never")
    assert watch.silent() == {}


def test_who_is_started_again_is_given_time_again(monkeypatch):
    ends = []  # of the thread, which would outlive the watch as long as this process runs
    monkeypatch.setattr(liveness, "atexit", SimpleNamespace(register=ends.append))
    watch = Watch(timeout=0.2)
    show_life(watch.rendezvous, "trial")
    try:
        poll(lambda: watch._count("trial"))
        watch.dismiss("trial")
        watch.expect("trial")  # as the next process of the same name
        assert watch._heard["trial"].limit == liveness.SLOW_START
    finally:
        (end,) = ends
        end()


def test_the_watchers_own_sleep_is_nobodys_silence(monkeypatch):
    watch = Watch(timeout=0.2)
    watch.expect("a")
    watch._heard["a"].limit = 30.0
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 3600)
    assert watch.silent() == {}
