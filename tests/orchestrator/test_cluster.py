import socket
import time

import pytest
import ray

from orchestrator import cluster
from orchestrator.sweep import main


@pytest.fixture
def nobody():
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"127.0.0.1:{port}"


def test_where_nobody_answers_it_takes_no_minute_to_say_so(nobody):
    started = time.monotonic()
    with pytest.raises(ValueError, match=f"^no Ray cluster answers at {nobody}: start one, or leave out"):
        cluster.connect(nobody)
    assert time.monotonic() - started < 10
    assert not ray.is_initialized()


def test_auto_where_no_cluster_was_started(monkeypatch):
    monkeypatch.setattr(cluster, "canonicalize_bootstrap_address_or_die", nothing_started)
    with pytest.raises(ValueError, match=r"^no Ray cluster answers at auto: "):
        cluster.connect("auto")


def nothing_started(address):
    raise ConnectionError("Could not find any running Ray instance")


def test_the_command_is_refused_there_without_a_traceback(nobody, capsys):
    assert main(["--address", nobody]) == 2
    assert capsys.readouterr().err.startswith(f"error: no Ray cluster answers at {nobody}")
