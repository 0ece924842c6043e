import warnings

import pytest

from analysis import load
from analysis.render import text_table1


def rows(store, **options):
    return load(store.path).table1(**options).set_index("label")


def test_error_is_mean_and_standard_deviation_over_seeds_after_the_last_epoch(store):
    for seed, last in enumerate([4.0, 5.0, 7.0]):
        store.trial(3, seed, errors=[50.0, 1.0, last])
    row = rows(store).loc["Parareal ResNet-56, N = 3"]
    assert row["error"] == pytest.approx(16 / 3)
    assert row["std"] == pytest.approx((14 / 6) ** 0.5)
    assert row["n"] == 3
    best = rows(store, epoch="best").loc["Parareal ResNet-56, N = 3"]
    assert best["error"] == 1.0


def test_last_epoch_does_not_depend_on_the_order_of_rows(store):
    trial_id = store.trial(1, errors=[9.0])
    epochs = [{"trial_id": trial_id, "epoch": e, "validation_error": v} for e, v in [(3, 2.0), (1, 9.0)]]
    store.write("epochs", trial_id, epochs)
    assert rows(store).loc["ResNet-56", "error"] == 2.0


def test_only_finished_trials_enter_the_mean_and_the_others_are_counted(store):
    store.trial(3, 0, errors=[4.0])
    store.trial(3, 1, errors=[90.0], status="diverged")
    store.trial(3, 2, errors=[60.0], status="running")
    store.trial(3, 3, status="failed")
    store.trial(6, 0, status="failed")
    table = rows(store)
    counts = ["n", "running", "diverged", "failed"]
    assert table.loc["Parareal ResNet-56, N = 3", "error"] == 4.0
    assert table.loc["Parareal ResNet-56, N = 3", counts].tolist() == [1, 1, 1, 1]
    assert table.loc["Parareal ResNet-56, N = 6", counts].tolist() == [0, 0, 0, 1]
    assert table[["error", "std"]].isna().loc["Parareal ResNet-56, N = 6"].all()


def test_configurations_are_never_mixed(store):
    store.trial(3, 0, errors=[4.0], preprocess="strided")
    store.trial(3, 1, errors=[8.0], preprocess="patch")
    store.trial(3, 2, errors=[6.0], preprocess="patch", learning_rate=0.01)
    table = load(store.path).table1()
    shown = table[["preprocess", "learning_rate", "error"]]
    assert set(shown.itertuples(index=False, name=None)) == {
        ("strided", 0.1, 4.0),
        ("patch", 0.1, 8.0),
        ("patch", 0.01, 6.0),
    }


def test_a_seed_counts_once_where_n_is_1(store):
    store.trial(1, 0, errors=[2.0], preprocess="strided")
    store.trial(1, 0, errors=[4.0], preprocess="patch")
    store.trial(1, 1, errors=[5.0])
    row = rows(store).loc["ResNet-56"]
    assert (row["error"], row["n"]) == (4.0, 2)


def test_rows_are_ordered_by_data_set_and_n(store):
    for n in (12, 3, 1):
        for dataset in ("digits", "cifar10"):
            store.trial(n, errors=[4.0], dataset=dataset)
    table = load(store.path).table1()
    order = list(zip(table["dataset"], table["n_subnetworks"], strict=True))
    assert order == [(d, n) for d in ("cifar10", "digits") for n in (1, 3, 12)]


def test_difference_to_serial_has_welchs_interval(store):
    from scipy import stats  # seconds to load, in every process

    serial, torn = [2.0, 3.0, 2.5], [4.0, 5.5]
    for seed, value in enumerate(serial):
        store.trial(1, seed, errors=[value])
    for seed, value in enumerate(torn):
        store.trial(3, seed, errors=[value], preprocess="patch")
    store.trial(6, 0, errors=[7.5])
    table = rows(store)
    row = table.loc["Parareal ResNet-56, N = 3"]
    interval = stats.ttest_ind(torn, serial, equal_var=False).confidence_interval(0.95)
    assert row["difference"] == pytest.approx(2.25)
    assert row[["ci_low", "ci_high"]].tolist() == pytest.approx([interval.low, interval.high])
    single = table.loc["Parareal ResNet-56, N = 6"]
    assert single["difference"] == 5.0
    assert single[["ci_low", "ci_high"]].isna().all()
    assert table.loc["ResNet-56", ["difference", "ci_low"]].isna().all()


def test_serial_of_another_configuration_is_no_baseline(store):
    store.trial(1, errors=[2.0], learning_rate=0.01)
    store.trial(3, errors=[4.0], learning_rate=0.1)
    assert load(store.path).table1()["difference"].isna().all()


@pytest.mark.parametrize("torn", [[4.0, 4.0], [4.0, 5.0]])
def test_equal_seeds_give_no_warning_and_no_false_certainty(store, torn):
    for seed in (0, 1):
        store.trial(1, seed, errors=[2.0])
        store.trial(3, seed, errors=[torn[seed]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row = rows(store).loc["Parareal ResNet-56, N = 3"]
    assert row["difference"] == pytest.approx(sum(torn) / 2 - 2)
    assert (row["ci_low"] < row["difference"]) == (torn[0] != torn[1])


def test_published_errors_stand_only_beside_the_papers_networks(store):
    paper = {"depth": 1001, "width": 16}
    store.trial(1, errors=[5.0], dataset="cifar10", **paper)
    store.trial(18, errors=[20.0], dataset="cifar100", **paper)
    store.trial(2, errors=[5.0], dataset="cifar10", **paper)
    store.trial(6, errors=[5.0], dataset="cifar10", preprocess="patch", **paper)
    store.trial(12, errors=[5.0], dataset="cifar10", train_subset=500, **paper)
    store.trial(3, errors=[5.0], dataset="parquet:/data/cifar10-jpeg", **paper)
    store.trial(1, errors=[5.0], dataset="cifar10", depth=164, width=16)
    table = load(store.path).table1()
    shown = table.dropna(subset="published")[["dataset", "n_subnetworks", "depth", "published"]]
    assert shown.to_numpy().tolist() == [["cifar10", 1, 1001, 5.03], ["cifar100", 18, 1001, 20.46]]


THREE = {
    ("preprocess", 1): [(1.0, 1.0), (1.0, 2.0), (1.0, 1.0)],
    ("preprocess", 2): [(2.0, 2.0), (0.5, 0.5), (1.0, 1.0)],
    ("preprocess", 3): [(1.0, 0.0), (1.0, 0.0), (1.0, 0.0)],
    ("subnetwork", 1): [(10.0, 0.0), (10.0, 1.0), (10.0, 2.0)],
    ("subnetwork", 2): [(0.0, 12.0), (0.0, 1.0), (0.0, 2.0)],
    ("subnetwork", 3): [(5.0, 5.0), (5.0, 5.0), (5.0, 5.0)],
    ("coarse_network", 1): [(1.0, 2.0), (1.0, 2.0), (1.0, 2.0)],
    ("coarse_network", 2): [(0.5, 0.5), (0.5, 0.5), (0.5, 1.5)],
    ("postprocess", 0): [(0.25, 0.25), (0.25, 0.25), (0.25, 0.25)],
}
SERIAL = {
    ("preprocess", 1): [(1.0, 1.0)],
    ("subnetwork", 1): [(10.0, 24.5)],
    ("postprocess", 0): [(0.25, 0.25)],
}


def test_times_are_slowest_of_the_parallel_parts_and_sum_of_the_coarse_network(store):
    store.timings(store.trial(1, learning_rate=0.5), SERIAL)
    store.timings(store.trial(3), THREE, critical_path=[99.0] * 3)
    table = load(store.path).table2().set_index("n_subnetworks")
    # repeats of N = 3: preprocess 4, 3, 2; subnetworks 12, 11, 12; coarse 4, 4, 5; postprocess 0.5
    row = table.loc[3]
    assert row[["preprocessing", "parallel_subnetworks"]].tolist() == [3.0, 12.0]
    assert row[["coarse_network", "postprocessing"]].tolist() == [4.0, 0.5]
    assert row["total"] == 19.5  # of 20.5, 18.5, 19.5
    assert row["total_iqr"] == 1.0
    assert row["repeats"] == 3
    assert table.loc[1, "total"] == 37.0
    assert table.loc[1, ["coarse_network"]].isna().all()
    assert table["speed_up"].tolist() == pytest.approx([1.0, 37 / 19.5])


def test_parallel_parts_and_the_coarse_network_count_in_every_iteration(store):
    seconds = {("preprocess", j): [(1.0, 0.0)] for j in (1, 2, 3)} | {("postprocess", 0): [(0.5, 0.0)]}
    seconds |= {
        ("subnetwork", 1): [(7.0, 7.0)],
        ("subnetwork", 2): [(1.0, 2.0)],
        ("subnetwork", 3): [(5.0, 0.0)],
    }
    seconds |= {("coarse_network", 1): [(0.1, 0.0)], ("coarse_network", 2): [(0.2, 0.0)]}
    for k in (None, 2, 3):  # of which the first is from a store without the option
        store.timings(store.trial(3, **({} if k is None else {"n_iterations": k})), seconds)
    table = load(store.path).table2().set_index("n_iterations")
    # g^1 and g^2 with F^1, then g^2 and g^3 with F^2; or g^1, g^2, g^3 one after the other
    assert table["parallel_subnetworks"].to_dict() == {1: 14.0, 2: 14.0 + 5.0, 3: 14.0 + 3.0 + 5.0}
    assert table.loc[[1, 2], "coarse_network"].tolist() == pytest.approx([0.3, 0.3])
    assert table["preprocessing"].tolist() == [1.0] * 3


def test_speed_up_compares_one_device_and_virtual_time_alone(store):
    serial, torn = store.trial(1), store.trial(3)
    store.timings(serial, SERIAL, device="cpu")
    store.timings(torn, THREE, device="NVIDIA H200")
    table = load(store.path).table2().set_index("n_subnetworks")
    assert table["speed_up"].isna().tolist() == [False, True]
    assert table["device"].tolist() == ["cpu", "NVIDIA H200"]
    store.timings(torn, THREE, mode="wall")
    assert load(store.path).table2()["n_subnetworks"].tolist() == [1]


def test_published_times_stand_only_beside_the_papers_networks(store):
    paper = {"depth": 1001, "dataset": "cifar10"}
    for n, batch_size in ((1, 128), (3, 128), (3, 64)):
        store.timings(store.trial(n, batch_size=batch_size, **paper), THREE, batch_size=batch_size)
    store.timings(store.trial(6, depth=164, dataset="cifar10"), THREE, batch_size=128)
    store.timings(store.trial(24, depth=1001, dataset="digits"), THREE, batch_size=128)
    table = load(store.path).table2().dropna(subset="published_total")
    assert table[["n_subnetworks", "batch_size"]].to_numpy().tolist() == [[1, 128], [3, 64], [3, 128]]
    assert table["published_total"].tolist() == [1.4607, 0.6529, 0.6529]
    assert table["published_speed_up"].tolist() == pytest.approx([1.0, *[1.4607 / 0.6529] * 2])
    assert table["published_coarse_network"].isna().tolist() == [True, False, False]


def test_empty_store_gives_empty_tables_with_all_columns(store):
    results = load(store.path)
    assert results.table1().empty
    assert results.table2().empty
    assert {"error", "published", "failed"} <= set(results.table1())
    assert {"total", "speed_up", "published_total"} <= set(results.table2())


def test_the_test_error_stands_beside_the_validation_error(store):
    for seed, tested in enumerate([5.0, 7.0]):
        store.trial(3, seed, errors=[4.0], test_error=tested)
    store.trial(1, 0, errors=[4.0], test_error=None)
    table = rows(store)
    tested = table.loc["Parareal ResNet-56, N = 3"]
    assert (tested["test_error"], tested["test_std"]) == (6.0, pytest.approx(2**0.5))
    assert table.loc["ResNet-56", ["test_error", "test_std"]].isna().all()
    text = text_table1(load(store.path).table1()).markdown()
    assert "6.00 ± 1.41" in text
    assert "Test: measured once" in text
