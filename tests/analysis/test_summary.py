from analysis import load
from analysis.summary import headlines, progress, provenance, unfinished


def test_progress_counts_by_status(store):
    assert progress(load(store.path).trials) == "The store is empty: no trial has been started yet."
    store.trial(1)
    store.trial(3)
    store.trial(6, status="failed")
    assert progress(load(store.path).trials) == "3 trials: 2 finished, 1 failed."
    store.trial(12, status="running")
    assert progress(load(store.path).trials).endswith("1 running. The numbers will change.")


def test_provenance_lists_every_value_once_and_in_order(store):
    store.trial(6, 1, host="b")
    store.trial(1, 0, host="a", preprocess="patch")  # without effect at N = 1
    store.trial(3, 0, host="a")
    facts = provenance(load(store.path).trials)
    assert facts["N"] == "1, 3, 6"
    assert facts["Seed"] == "0, 1"
    assert facts["Host"] == "a, b"
    assert facts["Preprocess"] == "strided"
    assert "Width" not in facts


def test_headlines_name_what_was_run_when_and_where(store):
    assert headlines(load(store.path).trials) == {}
    store.trial(6, 1, host="b", dataset="cifar10")
    store.trial(1, 0, host="a", depth=None, network="my.nets:net")
    assert headlines(load(store.path).trials) == {
        "Networks": "ResNet-56, my.nets:net",
        "Data sets": "CIFAR-10, digits",
        "Numbers of subnetworks N": "1, 6",
        "Seeds": "0, 1",
        "First trial started": "2026-03-01 12:00 UTC",
        "Last trial ended": "2026-03-01 13:01 UTC",
        "Started on": "a, b",
        "Devices of a trial": "2 cpu",
    }


def test_unfinished_says_which_and_why_in_a_line(store):
    store.trial(1)
    store.trial(3, status="running")
    store.trial(3, 1, status="failed", error="Traceback (most recent call last):\n  x\nOSError: disk full")
    store.trial(6, 2, status="diverged", error=f"loss is\nnot finite {'very ' * 100}")
    store.trial(6, 3, status="failed")
    lost = unfinished(load(store.path).trials)
    assert lost["Seed"].tolist() == ["1", "2", "3"]
    assert lost["Network"].tolist()[0] == "Parareal ResNet-56, N = 3"
    traceback, long, none = lost["Reason"]
    assert traceback == "OSError: disk full"
    assert long.startswith("loss is not finite very")
    assert len(long) <= 300
    assert none == "not recorded"
