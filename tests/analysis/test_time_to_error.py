import pandas as pd
import pytest

from analysis import load


def trained(store, n, seed, errors, seconds, **config):
    """A trial whose epochs take ``seconds`` each."""
    trial_id = store.trial(n, seed, **config)
    rows = [
        {"trial_id": trial_id, "epoch": epoch, "validation_error": error, "seconds": seconds}
        for epoch, error in enumerate(errors, start=1)
    ]
    store.write("epochs", trial_id, rows[::-1])  # whatever their order in the file


def by_n(frame):
    return frame.set_index(["n_subnetworks", "threshold"])


def test_time_is_the_sum_of_epochs_until_the_first_that_is_good_enough(store):
    trained(store, 1, 0, [9.0, 5.0, 6.0, 2.0], seconds=10.0)
    times = by_n(load(store.path).time_to_error(thresholds=[5.0, 2.5, 1.0]))
    assert times["seconds"].tolist()[:2] == [20.0, 40.0]
    assert times["epoch"].tolist()[:2] == [2, 4]
    assert times["reached"].tolist() == [1, 1, 0]
    assert pd.isna(times.loc[(1, 1.0), "seconds"])


def test_median_over_the_seeds_that_got_there_and_first_only_where_all_did(store):
    for seed, errors in enumerate([[4.0], [9.0, 4.0], [9.0, 9.0]]):
        trained(store, 3, seed, errors, seconds=2.0)
    for seed in (0, 1):
        trained(store, 1, seed, [9.0, 4.0], seconds=8.0)
    times = by_n(load(store.path).time_to_error(thresholds=[5.0]))
    assert times.loc[(3, 5.0), ["seconds", "reached", "n", "first"]].tolist() == [3.0, 2, 3, False]
    assert times.loc[(1, 5.0), ["seconds", "reached", "n", "first"]].tolist() == [16.0, 2, 2, True]


def test_a_few_round_errors_tell_the_configurations_apart(store):
    trained(store, 1, 0, [60.0, 1.8], seconds=1.0)
    trained(store, 3, 0, [60.0, 11.0], seconds=1.0)
    trained(store, 6, 0, [60.0], seconds=1.0, status="diverged")
    times = load(store.path).time_to_error()
    errors = times["threshold"].unique().tolist()
    assert errors == sorted(errors, reverse=True)
    assert errors[0] == pytest.approx(15)  # all that finished reach it
    assert errors[-1] == pytest.approx(2)  # one does
    assert len(errors) == 4


def test_data_sets_have_errors_of_their_own_and_a_first_each(store):
    for dataset, error in (("digits", 1.8), ("cifar10", 40.0)):
        for n in (1, 3):
            trained(store, n, 0, [error], seconds=float(n), dataset=dataset)
    times = load(store.path).time_to_error()
    assert times.groupby("dataset")["threshold"].min().to_dict() == pytest.approx(
        {"digits": 2, "cifar10": 50}
    )
    first = times[times["first"]]
    assert set(first["dataset"]) == {"digits", "cifar10"}
    assert set(first["n_subnetworks"]) == {1}


def test_errors_beyond_all_round_ones_are_no_fault(store):
    trained(store, 1, 0, [90.0], seconds=1.0)
    trained(store, 3, 0, [0.0], seconds=1.0)
    assert load(store.path).time_to_error()["reached"].sum() >= 1


def test_without_epochs_it_is_empty_with_all_columns(store):
    trained(store, 1, 0, [4.0], seconds=1.0)
    full = load(store.path).time_to_error()
    (store.path / "epochs" / "t000.parquet").unlink()
    empty = load(store.path).time_to_error()
    assert empty.empty
    assert list(empty) == list(full)
