import pytest

from analysis import load

MILLI = 1e-3


def component_times(n, seconds, repeats=1):
    """Of N subnetworks with these seconds each way in every component, by repeat."""
    names = [(name, j) for name in ("preprocess", "subnetwork") for j in range(1, n + 1)]
    names += [("coarse_network", j) for j in range(1, n)] + [("postprocess", 0)]
    return {name: [(seconds, seconds)] * repeats for name in names}


def rows(store):
    return load(store.path).steps().set_index("n_subnetworks")


def test_predictions_and_measurement_of_a_network_stand_in_one_row(store):
    for n, steps in ((1, [9.0, 4.0, 6.0]), (3, [9.0, 2.0, 2.0])):
        trial_id = store.trained(n, steps=steps)
        store.timings(trial_id, component_times(n, 1.0, 3), critical_path=[5.0 * n, 6.0 * n, 10.0 * n])
    table = rows(store)
    assert table.index.tolist() == [1, 3]
    # N = 1: C, g, h; N = 3: the slowest C and g, two F, h; each 2 s there and back
    assert table["paper_sum"].tolist() == [6.0, 10.0]
    assert table["critical_path"].tolist() == [6.0, 18.0]
    assert table[["critical_path_low", "critical_path_high"]].to_numpy().tolist() == [
        [5.5, 8.0],
        [16.5, 24.0],
    ]
    assert table["step"].tolist() == [5.0, 2.0]
    assert table["paper_sum_speed_up"].tolist() == [1.0, 0.6]
    assert table["critical_path_speed_up"].tolist() == [1.0, pytest.approx(1 / 3)]
    assert table["step_speed_up"].tolist() == [1.0, 2.5]
    assert table["bytes_sent"].tolist() == [10**6, 3 * 10**6]
    assert table["n_repeats"].tolist() == [3, 3]


def test_a_step_is_the_median_over_epochs_and_seeds_without_those_that_warm_up(store):
    store.trained(3, seed=0, steps=[50.0, 1.0, 2.0])
    store.trained(3, seed=1, steps=[60.0, 3.0, 4.0, 5.0])
    store.trained(3, seed=2, steps=[6.0])  # has no other epoch
    row = rows(store).loc[3]
    assert row[["step", "step_low", "step_high"]].tolist() == [3.5, 2.25, 4.75]
    assert row["n_epochs"] == 6
    assert row["peak_memory_bytes"] == 4 * 10**7


def test_one_value_alone_has_no_quartiles(store):
    store.timings(store.trained(3, steps=[2.0]), component_times(3, 1.0), critical_path=[5.0])
    row = rows(store).loc[3]
    for measure in ("paper_sum", "critical_path", "step"):
        assert row[measure] > 0
        assert row[[f"{measure}_low", f"{measure}_high"]].isna().all()


def test_ways_to_tear_and_to_train_are_rows_that_share_one_serial_network(store):
    store.trained(1, steps=[8.0], strategy="serial")
    store.trained(3, steps=[4.0])
    store.trained(3, steps=[3.0], partition="staggered")
    store.trained(3, steps=[2.0], strategy="data_parallel")
    store.trained(3, steps=[1.0], strategy="gpipe")
    store.trained(3, steps=[5.0], seed=1, learning_rate=0.5)  # no other step than the first one's
    table = load(store.path).steps()
    shown = table[["strategy", "partition", "step_speed_up"]].fillna("").to_numpy().tolist()
    assert sorted(shown[1:]) == [
        ["data_parallel", "", 4.0],
        ["gpipe", "uniform", 8.0],
        ["parareal", "staggered", 8 / 3],
        ["parareal", "uniform", 8 / 4.5],
    ]
    assert shown[0] == ["", "", 1.0]
    assert "learning_rate" not in table


def test_components_are_the_same_whichever_strategy_trains_a_torn_network_and_no_others(store):
    timed = store.trial(3, strategy="serial", epochs=0)
    store.timings(timed, component_times(3, 1.0), critical_path=[5.0])
    store.trained(3, steps=[2.0])
    store.trained(3, steps=[1.0], strategy="1f1b")
    table = load(store.path).steps().set_index("strategy")
    assert table.loc["parareal", ["critical_path", "step"]].tolist() == [5.0, 2.0]
    assert table.loc["1f1b", ["paper_sum", "critical_path"]].isna().all()
    assert table.loc["1f1b", "step"] == 1.0


def test_speed_ups_compare_one_device_and_batch_size(store):
    for n, device, batch_size in ((1, "cpu", 64), (3, "cuda", 64), (6, "cpu", 32)):
        store.trained(n, steps=[2.0], devices=f"{n} {device}", batch_size=batch_size)
    assert rows(store)["step_speed_up"].notna().tolist() == [False, True, False]


def test_a_gpu_that_was_timed_is_known_by_name(store):
    trial_id = store.trained(1, steps=[2.0], devices="1 cuda")
    store.timings(trial_id, component_times(1, 1.0), device="NVIDIA H200")
    store.trained(3, steps=[1.0], devices="4 cuda")
    table = rows(store)
    assert table["device"].tolist() == ["NVIDIA H200"] * 2
    assert table.loc[3, "step_speed_up"] == 2.0


@pytest.mark.parametrize("timed", [["cpu"], ["NVIDIA H200", "NVIDIA T4"]])
def test_which_gpu_trained_is_left_open_where_several_or_none_were_timed(store, timed):
    for n, device in enumerate(timed, start=1):
        store.timings(store.trial(n, epochs=0), component_times(n, 1.0), device=device)
    store.trained(1, steps=[2.0], devices="1 cuda")
    table = load(store.path).steps()
    assert table.dropna(subset="step")["device"].tolist() == ["cuda"]
    assert sorted(table["device"]) == sorted([*timed, "cuda"])


def test_half_finished_and_old_stores_leave_gaps(store):
    assert load(store.path).steps().empty
    store.trial(6, status="running")  # no epoch yet
    assert load(store.path).steps().empty
    store.timings(store.trial(3, errors=[5.0]), component_times(3, 1.0))  # neither steps nor paths
    old = rows(store).loc[3]
    assert old["paper_sum"] == 10.0
    assert old[["critical_path", "step", "paper_sum_speed_up", "bytes_sent"]].isna().all()
    store.trained(1, steps=[2.0], status="running")
    table = rows(store)
    assert table["step"].notna().tolist() == [True, False]


def test_published_speed_ups_stand_only_beside_the_papers_network(store):
    paper = {"depth": 1001, "width": 16, "dataset": "cifar10"}
    for n in (1, 3):
        store.trained(n, steps=[2.0], **paper)
    store.trained(6, steps=[2.0], **paper | {"partition": "staggered"})
    store.trained(12, steps=[2.0], **paper | {"strategy": "gpipe"})
    store.trained(18, steps=[2.0], **paper | {"dataset": "digits"})
    table = load(store.path).steps().dropna(subset="published_speed_up")
    assert table["n_subnetworks"].tolist() == [1, 3]
    assert table["published_speed_up"].tolist() == pytest.approx([1.0, 1.4607 / 0.6529])
