import pytest

from orchestrator.actors.transport import Rendezvous, TransportError, open_store

HOST = "127.0.0.1"


def test_a_store_that_is_gone_is_an_error_that_says_where_it_was(capfd):
    store, rendezvous = open_store(HOST, timeout=0.3)
    del store
    with pytest.raises(TransportError, match=rf"^the store at {HOST}:{rendezvous.port}: "):
        rendezvous.join()


def test_a_rendezvous_carries_the_timeout_of_its_store():
    _store, rendezvous = open_store(HOST, timeout=12.5)
    assert rendezvous == Rendezvous(HOST, rendezvous.port, 12.5)
