"""Options of how and where a sweep runs."""

import pytest

from orchestrator.config import Options


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("timeout", value) for value in (0, -1)),
        *((name, -1) for name in ("max_failures", "timing_repeats")),
        *(("cpus_per_actor", value) for value in (0, -0.5)),
        *(("gpus_per_actor", value) for value in (0, -0.5, 0.00001, 1.01, 2)),
    ],
)
def test_an_option_of_the_run_out_of_range_is_named(option, value):
    with pytest.raises(ValueError, match=rf"^--{option.replace('_', '-')} {value}: give "):
        Options(**{option: value})


@pytest.mark.parametrize("share", [1, 0.25])
def test_one_option_says_who_shares_a_gpu(share):
    assert Options(gpus_per_actor=share).gpus_per_actor == share
    with pytest.raises(
        ValueError, match=rf"^--gpus-per-actor {share} with --driver-shares-gpu: .*: leave out one"
    ):
        Options(gpus_per_actor=share, driver_shares_gpu=True)
