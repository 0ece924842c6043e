import threading
import time

import torch

from orchestrator.actors.clock import Clock


def spend(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def test_seconds_add_up_by_name():
    clock = Clock(torch.device("cpu"))
    start = time.perf_counter()
    for _ in range(3):
        with clock("forward"):
            spend(0.002)
        with clock("backward"):
            spend(0.001)
    elapsed = time.perf_counter() - start
    seconds = clock.seconds()
    assert seconds.keys() == {"forward", "backward"}
    assert seconds["forward"] >= 0.006
    assert seconds["backward"] >= 0.003
    assert sum(seconds.values()) <= elapsed


def test_what_lies_between_blocks_does_not_count():
    clock = Clock(torch.device("cpu"))
    with clock("forward"):
        pass
    spend(0.01)
    with clock("forward"):
        pass
    assert clock.seconds()["forward"] < 0.01


def test_processor_time_counts_work_and_not_waiting():
    clock = Clock(torch.device("cpu"))
    with clock("forward"):
        spend(0.03)
    with clock("wait"):
        threading.Event().wait(0.03)
    processor = clock.processor_seconds()
    assert processor.keys() == clock.seconds().keys()
    assert 0 < processor["forward"] <= clock.seconds()["forward"] + 1e-4  # of two clocks
    assert processor["wait"] < 0.01 < 0.03 <= clock.seconds()["wait"]
