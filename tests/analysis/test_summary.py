import io

import pytest
from rich.console import Console

from analysis import load
from analysis.report import Report, write_report
from analysis.summary import at_chance, beyond_n, data_sets, headlines, lost, progress, provenance, unfinished


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


def test_data_sets_are_told_by_what_they_were_found_to_be(store):
    found = {"n_train": 50_000, "n_validation": 10_000, "input_shape": "3×32×32", "n_classes": 10}
    store.trial(1, dataset="mnist")  # of a store that does not say
    for n in (1, 3):
        store.trial(n, dataset="cifar10", crop=4, flip=True, **found)
    store.trial(1, dataset="cifar10", augment=False, crop=0, flip=False, **found)
    start = "CIFAR-10: train 50,000, validation 10,000 images, 3×32×32, 10 classes; "
    assert data_sets(load(store.path).trials) == [f"{start}crop 4, flip", f"{start}no crop, no flip"]


def test_samples_that_several_splits_hold_are_told_with_their_data_set(store):
    found = {"n_train": 50, "n_validation": 10, "input_shape": "7", "n_classes": 2, "classes": "[]"}
    store.trial(
        1, dataset="my:data", crop=0, flip=False, n_validation_shared=7, n_test_shared=1, n_test=9, **found
    )
    assert data_sets(load(store.path).trials) == [
        "my:data: train 50, validation 10, test 9 samples of shape 7, 2 outputs; 7 of the validation samples "
        "are training samples too, bit for bit: errors on them say little; 1 of the test samples are "
        "training or validation samples too, bit for bit: errors on them say little"
    ]


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


def sentences(store) -> list[str]:
    results = load(store.path)
    return at_chance(results.trials, results.table1())


def test_a_torn_network_at_chance_is_said_where_the_one_in_one_piece_learned(store):
    vgg = {"network": "vgg", "depth": 16, "n_classes": 10}
    store.trial(1, errors=[0.7], **vgg)
    store.trial(3, errors=[90.1], **vgg)
    store.trial(6, errors=[80.9], **vgg)  # little, but learned
    expected = (
        "Parareal VGG-16, N = 3: 90.1 % error on digits is chance (10 classes) while N = 1 has 0.7 %: "
        "try --preprocess stem, --coarse shortcut or a lower --learning-rate."
    )
    assert sentences(store) == [expected]
    write_report(store.path)
    for name in ("report.md", "report.html"):
        assert expected in (store.path / "report" / name).read_text(encoding="utf-8")
    Report(load(store.path)).print(Console(file=(printed := io.StringIO()), width=300))
    assert expected in printed.getvalue()


def test_what_is_at_chance_is_named_by_what_it_differs_in(store):
    store.trial(1, errors=[0.7], n_classes=10)
    for preprocess, error in (("strided", 90.0), ("stem", 1.0)):
        store.trial(3, errors=[error], n_classes=10, preprocess=preprocess)
    (sentence,) = sentences(store)
    assert sentence.startswith("Parareal ResNet-56, N = 3, Preprocess = strided: 90.0 % error")


@pytest.mark.parametrize(
    ("serial", "torn", "n_classes"),
    [
        ([90.0], [90.0], {"n_classes": 10}),  # neither has learned
        ([], [90.0], {"n_classes": 10}),  # nothing to compare with
        ([1.0], [48.0], {"n_classes": 10}),
        ([1.0], [], {"n_classes": 2}),
        ([1.0], [90.0], {}),  # a store from before there was this column
        ([1.0], [90.0], {"n_classes": None}),
    ],
)
def test_no_alarm_without_a_reason(store, serial, torn, n_classes):
    store.trial(1, errors=serial, **n_classes)
    store.trial(3, errors=torn, **n_classes)
    assert sentences(store) == []


def test_two_classes_are_at_chance_from_45_percent_on(store):
    store.trial(1, errors=[1.0], n_classes=2)
    store.trial(3, errors=[48.0], n_classes=2)
    assert "48.0 % error on digits is chance (2 classes)" in sentences(store)[0]


def test_rows_of_finished_trials_that_are_lost_are_said(store):
    whole = [store.trial(1, seed=seed, errors=(9.0, 8.0, 7.0)) for seed in range(5)]
    thinner = store.trial(3, errors=(9.0, 7.0))
    store.trial(3, seed=1, errors=(9.0,), status="running")
    for trial_id in (*whole[1:], thinner):
        waits = [{"trial_id": trial_id, "mode": "wall", "repeat": epoch} for epoch in range(3)]
        store.write("timings", trial_id, waits[: 2 if trial_id == whole[4] else 3])
    results = load(store.path)
    epochs, timings = lost(results.trials, results.epochs, results.timings)
    assert epochs.startswith(
        f"Epochs of finished trials are missing in the store, {thinner}: the same command"
    )
    assert timings.startswith(
        f"Wall-clock timings of finished trials are missing in the store, {whole[0]}, {whole[4]}: "
    )
    out = io.StringIO()
    Report(results).print(Console(file=out, width=1000))
    write_report(store.path)
    for text in (
        out.getvalue(),
        *((store.path / "report" / f"report.{kind}").read_text() for kind in ("md", "html")),
    ):
        assert epochs in text
        assert timings in text


def test_many_trials_with_lost_rows_are_counted(store):
    ids = [store.trial(1, seed=seed) for seed in range(5)]
    results = load(store.path)
    epochs, _ = lost(results.trials, results.epochs, results.timings)
    assert f"{ids[0]}, {ids[1]}, {ids[2]} and 2 more: " in epochs


def test_virtual_times_that_no_n_devices_could_reach_are_said_once_with_the_worst(store):
    def timed(n, seconds):
        trial_id = store.trial(n)
        parts = {("subnetwork", j): [(0.5 * seconds, 0.5 * seconds)] for j in range(1, n + 1)}
        store.timings(trial_id, parts, critical_path=[seconds])

    timed(1, 1.0)
    timed(3, 0.32)  # within what times differ by
    assert beyond_n(load(store.path).steps()) == []
    timed(6, 0.1)
    timed(2, 0.4)
    (said,) = beyond_n(load(store.path).steps())
    assert said.startswith("Parareal ResNet-56, N = 6: 10.0 times as fast as N = 1 is more than N devices ")
    assert "(and so for 1 more)" in said
    report = Report(load(store.path))
    console = Console(file=io.StringIO(), width=200)
    report.print(console)
    assert "is more than N devices can be" in console.file.getvalue()
