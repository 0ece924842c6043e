import time

from orchestrator.clock import Clock


def spend(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def test_seconds_add_up_by_name():
    clock = Clock()
    start = time.perf_counter()
    for _ in range(3):
        with clock("forward"):
            spend(0.002)
        with clock("backward"):
            spend(0.001)
    elapsed = time.perf_counter() - start
    assert clock.seconds.keys() == {"forward", "backward"}
    assert clock.seconds["forward"] >= 0.006
    assert clock.seconds["backward"] >= 0.003
    assert sum(clock.seconds.values()) <= elapsed


def test_what_lies_between_blocks_does_not_count():
    clock = Clock()
    with clock("forward"):
        pass
    spend(0.01)
    with clock("forward"):
        pass
    assert clock.seconds["forward"] < 0.01
