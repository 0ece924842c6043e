from concurrent.futures import ThreadPoolExecutor

import pytest
from torch import distributed as dist

from orchestrator.actors.gloo import GlooWords, gloo_group
from orchestrator.actors.transport import TransportError, open_store
from orchestrator.actors.words import N_KINDS, READY, TENSOR, WORD

HOST = "127.0.0.1"


def connect(timeout=30.0):
    """Both ends of a way of words."""
    store, rendezvous = open_store(HOST, timeout=30)
    options = {"host": HOST, "timeout": timeout}
    with ThreadPoolExecutor(1) as pool:
        there = pool.submit(gloo_group, dist.PrefixStore("words", rendezvous.join()), rank=1, **options)
        here = gloo_group(dist.PrefixStore("words", store), rank=0, **options)
    return GlooWords("link", here, 1, timeout), GlooWords("link", there.result(), 0, timeout)


def test_kinds_do_not_wait_for_each_other():
    here, there = connect()
    said = [here.say(WORD, 0.1, 1e-300), here.say(TENSOR, 12), here.say(READY)]
    assert there.hear(READY) == []
    assert there.hear(TENSOR, 1) == [12]
    assert there.hear(WORD, 2) == [0.1, 1e-300]
    for transfer in said:
        transfer.wait()
    assert len({WORD, TENSOR, READY}) == N_KINDS
    assert here.bytes_sent == 32


def test_a_peer_that_says_nothing_is_an_error_after_the_timeout():
    here, _there = connect(timeout=0.2)
    with pytest.raises(TransportError, match=r"^link: .*200ms"):
        here.hear(TENSOR, 1)
