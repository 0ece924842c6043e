"""The trials that Tune's schedulers stop, played from epochs that are known."""

import numpy as np
import pandas as pd


def test_a_trial_that_falls_behind_is_stopped_once_there_is_something_to_compare_it_with() -> None:
    from benchmarks.adaptive import N_EPOCHS, RULES, play  # Tune is long to load, in every process

    trials = pd.DataFrame({"errors": [[1.0] * N_EPOCHS] * 6 + [[9.0] * N_EPOCHS]})
    for name, rule in RULES.items():
        last = play(trials, rule, np.arange(7))
        assert [*last[:6]] == [N_EPOCHS] * 6, name
        assert last[6] < N_EPOCHS, name
        first = play(trials, rule, np.arange(7)[::-1])
        assert [*first] == [N_EPOCHS] * 7, name
