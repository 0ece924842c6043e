import signal
import subprocess

import psutil
import pytest

from orchestrator.heir import end_ray


@pytest.fixture
def writer(tmp_path):
    """Starts processes whose output goes to a session's log."""
    started = []

    def start(session: str, *, mode: str = "w") -> psutil.Process:
        log = tmp_path / session / "logs" / "process.out"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()
        with log.open(mode) as file:
            started.append(subprocess.Popen(["sleep", "300"], stdin=file, stdout=file))
        return psutil.Process(started[-1].pid)

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_what_writes_to_the_sessions_of_a_process_is_ended_however_frozen_and_nothing_else(tmp_path, writer):
    at_work, frozen, spared = (writer("session_2026-01-01_00-00-00_000000_4711") for _ in range(3))
    frozen.suspend()
    reader = writer("session_2026-01-01_00-00-00_000000_4711", mode="r")
    of_others = writer("session_2026-01-01_00-00-00_000000_14711")
    end_ray(str(tmp_path), 4711, patience=0, but=[spared.pid])
    gone, alive = psutil.wait_procs([at_work, frozen, spared, reader, of_others], timeout=1)
    assert set(gone) == {at_work, frozen}
    assert set(alive) == {spared, reader, of_others}


def test_who_ends_in_time_is_not_killed(tmp_path, writer):
    process = writer("session_x_4711")
    process.send_signal(signal.SIGTERM)
    end_ray(str(tmp_path), 4711, patience=5)
    assert process.wait(timeout=1) == -signal.SIGTERM


def test_a_session_whose_folder_is_a_link_or_has_been_removed_counts_too(tmp_path, writer):
    process = writer("session_x_4711")
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    (tmp_path / "session_x_4711" / "logs" / "process.out").unlink()
    end_ray(str(link), 4711, patience=0)
    assert process.wait(timeout=1) == -signal.SIGKILL
