import warnings

import numpy as np
import pandas as pd
import pytest

import orchestrator.storage.store
from analysis import StoreError, StoreWarning, load
from analysis.configuration import identify, varying
from analysis.frames import FIGURES, TABLES
from analysis.schema import SCHEMAS


def test_dtypes_do_not_depend_on_what_happens_to_be_missing(store):
    store.trial(1, errors=[5.0], depth=None)
    store.trial(3, errors=[4.0], depth=56, status="running")
    trials = load(store.path).trials
    assert trials["depth"].dtype == "Int64"
    assert trials["depth"].isna().tolist() == [True, False]
    assert trials["seed"].dtype == "Int64"
    assert trials["learning_rate"].dtype == "float64"
    assert str(trials["started"].dt.tz) == str(trials["finished"].dt.tz) == "UTC"
    assert trials["finished"].isna().tolist() == [False, True]


def test_epochs_join_with_the_config_and_keep_their_own_learning_rate(store):
    trial_id = store.trial(3, errors=[5.0, 4.0], learning_rate=0.5)
    results = load(store.path)
    joined = results.with_config(results.epochs)
    assert joined["trial_id"].tolist() == [trial_id] * 2
    assert joined["n_subnetworks"].tolist() == [3, 3]
    assert joined["learning_rate"].tolist() == [0.1, 0.1]
    assert joined["learning_rate_config"].tolist() == [0.5, 0.5]


def test_unknown_columns_are_kept_and_lists_spelt_out(store):
    store.trial(1, errors=[5.0])
    store.trial(1, errors=[5.0], milestones_of_stages=[80, 120], novelty=1.5)
    trials = load(store.path).trials
    assert trials["milestones_of_stages"].tolist()[1] == "[80, 120]"
    assert np.isnan(trials["novelty"][0])
    assert trials["novelty"][1] == 1.5


@pytest.mark.parametrize("kept_bytes", [0, 100])
def test_truncated_file_is_named_and_the_rest_read(store, kept_bytes):
    store.trial(1, errors=[5.0])
    broken = store.path / "epochs" / f"{store.trial(3, errors=[4.0])}.parquet"
    broken.write_bytes(broken.read_bytes()[:kept_bytes])
    with pytest.warns(StoreWarning, match=broken.name):
        results = load(store.path)
    assert results.epochs["validation_error"].tolist() == [5.0]
    assert len(results.trials) == 2


def test_temporary_files_and_other_folders_are_none_of_ours(store):
    store.trial(1, errors=[5.0])
    (store.path / "trials" / ".t001.parquet").write_bytes(b"half")
    (store.path / "checkpoints").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load(store.path).trials) == 1


def test_a_store_without_an_option_of_later_versions_did_not_use_it(store):
    before, after = store.trial(3), store.trial(3, graphs=False)
    recorded = store.trial(3, graphs=True)
    trials = load(store.path).trials
    assert trials["graphs"].dtype == bool
    runs = identify(trials).set_index("trial_id")["configuration"]
    assert runs[before] == runs[after] != runs[recorded]
    assert varying(identify(trials)) == ["graphs"]


def test_empty_store_has_all_columns(store):
    results = load(store.path)
    assert results.trials.empty
    assert {"status", "n_subnetworks", "dataset"} <= set(results.trials)
    assert {"epoch", "validation_error"} <= set(results.epochs)
    assert results.timings["seconds"].dtype == "float64"


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir(), lambda path: path.touch()])
def test_no_store_is_an_error_that_names_the_path(tmp_path, make):
    path = tmp_path / "elsewhere"
    make(path)
    with pytest.raises(StoreError, match="elsewhere is no result store"):
        load(path)


def test_contradicting_types_are_an_error_that_names_the_column(store):
    store.trial(1)
    store.trial(1, seed=1, batch_size="many")
    with pytest.raises(StoreError, match="batch_size"):
        load(store.path)


def test_plain_pandas_reads_the_same_epochs(store):
    store.trial(1, errors=[5.0, 4.0])
    store.trial(3, errors=[6.0])
    direct = pd.read_parquet(store.path / "epochs")["validation_error"].tolist()
    assert sorted(load(store.path).epochs["validation_error"]) == sorted(direct)


def test_results_show_how_far_they_are_and_what_to_ask_for(store):
    store.trial(1, errors=[5.0, 4.0], dataset="parquet:<b>")
    store.trial(3, status="running")
    results = load(store.path)
    for shown in (repr(results), results._repr_html_()):
        assert "2 trials: 1 finished, 1 running." in shown
        assert "(2 rows)" in shown
        for name in (*TABLES, *FIGURES):
            assert f".{name}()" in shown
    assert "4.00" in results._repr_html_()
    assert "<b>" not in results._repr_html_()


def test_schema_is_that_of_the_files_a_sweep_writes():
    assert orchestrator.storage.store.SCHEMAS is SCHEMAS
