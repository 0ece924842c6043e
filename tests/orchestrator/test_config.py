import re
from collections import Counter
from dataclasses import fields, replace
from itertools import product

import pytest
import torch

from orchestrator.config import GROUPS, Sweep, TrialConfig


def sweep(**options):
    """Of the network that these tests began with, whose trials have known keys."""
    return Sweep(**{"depth": 56, "width": 8} | options)


BASE = sweep(n_subnetworks=3).trials()[0]

# For each field a value other than BASE's.
OTHER = {
    "dataset": "cifar10",
    "train_subset": 400,
    "validation_subset": 400,
    "augment": False,
    "network": "vgg",
    "depth": 20,
    "width": 16,
    "n_subnetworks": 2,
    "partition": "balanced",
    "preprocess": "patch",
    "coarse": "shortcut",
    "n_coarse_units": 7,
    "strategy": "serial",
    "seed": 1,
    "initial": "weights.safetensors",
    "epochs": 13,
    "batch_size": 128,
    "learning_rate": 0.2,
    "schedule": "cosine",
    "milestones": (6,),
    "momentum": 0.8,
    "weight_decay": 0.0,
    "precision": "float64",
    "channels_last": True,
    "compiled": True,
    "graphs": True,
    "task": "regression",
    "label_smoothing": 0.1,
    "optimizer": "adamw",
    "warmup": 0.5,
    "nesterov": True,
    "beta2": 0.9,
    "decay": "weights",
    "clip_norm": 1.0,
    "n_iterations": 2,
    "n_replicas": 2,
    "batch_norm": "synchronised",
    "random_crop": "on",
    "random_flip": "off",
    "label_column": "fine_label",
    "validation_split": "test",
    "validation_fraction": 0.1,
    "image_size": 32,
    "image_mode": "grey",
}


def test_a_trial_has_one_value_of_every_option_of_a_sweep():
    assert {field.name for field in fields(Sweep)} == {field.name for field in fields(TrialConfig)}


def test_batch_norm_is_synchronised_only_where_batches_are_shared_out():
    options = {"seed": (0,), "n_replicas": (1, 2), "strategy": ("parareal", "data_parallel")}
    trials = sweep(n_subnetworks=(1, 2), batch_norm=("share", "synchronised"), **options).trials()
    found = [(t.strategy, t.n_replicas) for t in trials if t.batch_norm == "synchronised"]
    assert sorted(found) == [("data_parallel", 1), ("parareal", 2)]
    assert len(trials) == 4 + len(found)


def test_replicas_are_of_parareal_networks_alone():
    options = {"seed": (0,), "n_replicas": (1, 2), "strategy": ("parareal", "data_parallel")}
    trials = sweep(n_subnetworks=(1, 2), **options).trials()
    found = [(t.n_subnetworks, t.strategy, t.n_replicas) for t in trials]
    assert sorted(found) == [
        (1, "serial", 1),
        (2, "data_parallel", 1),
        (2, "parareal", 1),
        (2, "parareal", 2),
    ]
    for options in ({"strategy": ("serial", "gpipe")}, {"n_subnetworks": (1,)}):
        with pytest.raises(ValueError, match="--n-replicas 2 without --strategy parareal"):
            sweep(seed=(0,), n_replicas=(1, 2), **options).trials()
    with pytest.raises(ValueError, match="--n-replicas 2 with --strategy serial"):
        replace(BASE, strategy="serial", n_replicas=2)


@pytest.mark.parametrize(("batch_size", "n_replicas"), [(8, 1), (8, 2), (8, 3), (7, 7)])
def test_replicas_share_every_batch_out(batch_size, n_replicas):
    config = replace(BASE, batch_size=batch_size, n_replicas=n_replicas)
    shares = [range(batch_size)[config.share(replica)] for replica in range(1, n_replicas + 1)]
    assert [row for share in shares for row in share] == [*range(batch_size)]
    assert len(shares[0]) == config.largest_share == max(map(len, shares)) <= min(map(len, shares)) + 1


def test_every_combination_is_one_trial():
    ns, seeds, rates = (2, 3), (0, 1, 2), (0.1, 0.01)
    trials = sweep(n_subnetworks=ns, seed=seeds, learning_rate=rates).trials()
    found = Counter((t.n_subnetworks, t.seed, t.learning_rate) for t in trials)
    assert found == Counter(product(ns, seeds, rates))
    assert [(t.learning_rate, t.seed, t.n_subnetworks) for t in trials] == list(product(rates, seeds, ns))


def test_a_repeated_value_is_no_second_trial():
    assert sweep(n_subnetworks=(3, 3), seed=(0, 0)).trials() == [BASE]


def test_the_serial_network_is_one_trial_whatever_the_cuts_are_like():
    cuts = {"partition": ("uniform", "balanced"), "preprocess": ("patch", "strided")}
    coarse = {"coarse": ("shortcut", "units"), "n_coarse_units": (None, 2, 3)}
    trials = sweep(n_subnetworks=(1, 3), seed=(0,), **coarse, **cuts).trials()
    assert Counter(t.n_subnetworks for t in trials) == {1: 1, 3: 16}
    (plain,) = sweep(n_subnetworks=(1,), seed=(0,)).trials()
    assert plain in trials


STRATEGIES = ("parareal", "serial", "data_parallel", "gpipe", "1f1b")


def test_the_serial_network_is_one_trial_whatever_the_strategy():
    (trial,) = sweep(n_subnetworks=(1,), seed=(0,), strategy=STRATEGIES).trials()
    assert trial.strategy == "serial"


def test_strategies_without_a_coarse_network_are_one_trial_whatever_it_is_like():
    options = {"preprocess": ("patch", "strided"), "coarse": ("units", "shortcut"), "n_coarse_units": (1, 2)}
    trials = sweep(n_subnetworks=(4,), seed=(0,), strategy=STRATEGIES, **options).trials()
    counts = Counter(trial.strategy for trial in trials)
    assert counts == {"parareal": 6, "serial": 6, "data_parallel": 1, "gpipe": 1, "1f1b": 1}


def test_only_what_is_cut_has_partitions():
    partitions = ("uniform", "balanced", "staggered")
    trials = sweep(n_subnetworks=(4,), seed=(0,), strategy=STRATEGIES, partition=partitions).trials()
    found = {strategy: {t.partition for t in trials if t.strategy == strategy} for strategy in STRATEGIES}
    assert found["parareal"] == set(partitions)
    assert found["data_parallel"] == {"uniform"}
    assert found["gpipe"] == {"uniform", "balanced"}  # nothing to stagger without a coarse network


@pytest.mark.parametrize(
    ("n", "batch_size", "n_microbatches"),
    [(2, 64, 8), (3, 64, 8), (4, 128, 16), (18, 128, 64), (6, 10, 10), (5, 5, 5)],
)
def test_a_batch_is_cut_into_as_many_equal_microbatches_as_fit_four_a_stage(n, batch_size, n_microbatches):
    config = replace(BASE, n_subnetworks=n, batch_size=batch_size, strategy="gpipe")
    assert config.n_microbatches == n_microbatches


@pytest.mark.parametrize(
    ("strategy", "n", "batch_size", "message"),
    [
        ("data_parallel", 9, 8, "--batch-size 8 is too small for 9 workers: give 9 or more"),
        ("gpipe", 3, 97, "--batch-size 97 cannot be cut into 3 to 12 equal micro-batches for 3 stages"),
        ("1f1b", 9, 8, "cannot be cut into 9 to 36 .* give a multiple of 9"),
    ],
)
def test_a_batch_that_cannot_be_shared_out_is_refused(strategy, n, batch_size, message):
    with pytest.raises(ValueError, match=message):
        replace(BASE, strategy=strategy, n_subnetworks=n, batch_size=batch_size)


@pytest.mark.parametrize("strategy", ["data_parallel", "gpipe", "1f1b"])
def test_graphs_are_of_what_can_be_recorded(strategy):
    with pytest.raises(
        ValueError, match=rf"^--graphs True with --strategy {strategy}: only .*: leave out "
    ) as error:
        sweep(n_subnetworks=3, graphs=True, strategy=("parareal", strategy)).trials()
    assert "\n" not in str(error.value)
    serial, parareal = sweep(
        n_subnetworks=(1, 3), seed=(0,), graphs=(True,), strategy=("parareal", "serial")
    ).trials()[:2]
    assert (serial.graphs, serial.strategy) == (parareal.graphs, "serial") == (True, "serial")
    (alone,) = sweep(n_subnetworks=(1,), seed=(0,), graphs=(True,), strategy=(strategy,)).trials()
    assert alone == serial


def test_graphs_are_not_of_float64():
    with pytest.raises(
        ValueError, match=r"^--graphs True with --precision float64: .*: leave out one of them$"
    ):
        replace(BASE, graphs=True, precision="float64")


def test_iterations_are_as_many_as_change_anything():
    def asked(*ks, **options):
        trials = Sweep(seed=(0,), n_iterations=ks, **options).trials()
        return [(t.n_subnetworks, t.n_iterations) for t in trials]

    assert asked(1, 2, 5, n_subnetworks=(1, 3)) == [(1, 1), (3, 1), (3, 2), (3, 3)]
    strategies = ("data_parallel", "gpipe", "1f1b")
    assert asked(2, n_subnetworks=(3,), strategy=strategies) == [(3, 1)] * 3
    assert asked(1, 2, n_subnetworks=(3,), strategy=("serial",)) == [(3, 1), (3, 2)]
    with pytest.raises(ValueError, match=r"^--n-iterations 0: give 1 or more$"):
        asked(0)


@pytest.mark.parametrize(("strategy", "most"), [("parareal", 3), ("serial", 3), ("gpipe", 1)])
def test_a_trial_of_more_iterations_than_are_exact_is_refused(strategy, most):
    config = replace(BASE, strategy=strategy, n_iterations=most)
    with pytest.raises(
        ValueError,
        match=rf"^--n-iterations {most + 1} with --n-subnetworks 3 --strategy {strategy}: .* {most}, ",
    ):
        replace(config, n_iterations=most + 1)


def test_what_cannot_be_recorded_or_compiled_is_refused():
    with pytest.raises(ValueError, match=r"^--graphs True with --n-iterations 2: .*: leave out one of them$"):
        replace(BASE, graphs=True, n_iterations=2)
    with pytest.raises(ValueError, match="--graphs True with --n-replicas 2"):
        replace(BASE, graphs=True, n_replicas=2)
    with pytest.raises(ValueError, match="--compiled True with --batch-norm synchronised"):
        replace(BASE, compiled=True, n_replicas=2, batch_norm="synchronised")


def test_how_a_network_computes_is_as_asked():
    compute = replace(BASE, graphs=True, precision="tf32").compute(torch.device("cpu"))
    assert (compute.graphs, compute.precision, compute.compiled) == (True, "tf32", False)
    assert not BASE.compute(torch.device("cpu")).graphs


def test_coarse_units_are_the_papers_unless_given():
    trials = sweep(n_subnetworks=(1, 3, 6, 12, 18, 24), seed=(0,)).trials()
    assert [t.n_coarse_units for t in trials] == [12, 4, 2, 1, 1, 1]
    given = sweep(n_subnetworks=(3,), seed=(0,), n_coarse_units=(None, 4, 5)).trials()
    assert [t.n_coarse_units for t in given] == [4, 5]
    assert given[0].trial_id == BASE.trial_id


def test_a_shortcut_has_no_coarse_units_whatever_is_given():
    trials = sweep(seed=(0,), n_subnetworks=(3,), coarse=("shortcut",), n_coarse_units=(None, 4, 5))
    assert [t.n_coarse_units for t in trials.trials()] == [0]


def test_every_option_makes_a_trial_id_of_its_own():
    assert OTHER.keys() == {field.name for field in fields(TrialConfig)}
    ids = {replace(BASE, **{name: value}).trial_id for name, value in OTHER.items()}
    assert len(ids | {BASE.trial_id}) == len(OTHER) + 1


def test_images_of_ones_own_are_augmented_only_if_asked_for():
    def trial(dataset, **options):
        (config,) = sweep(n_subnetworks=3, dataset=dataset, **options).trials()
        return config.random_crop, config.random_flip

    for own in ("image_folder:a", "parquet:/a/b"):
        assert trial(own) == ("off", "off")
        assert trial(own, random_crop=("on",), random_flip=("on",)) == ("on", "on")
    for name in ("cifar10", "digits", "synthetic:1x8x8x4", "stripes:0.5"):
        assert trial(name) == ("auto", "auto")


def test_images_of_ones_own_keep_the_ids_of_trials_without_augmentation_alone():
    """Those with it were once cropped and mirrored unasked: what is trained now is another trial."""
    asked = sweep(dataset="parquet:/a", augment=(True, False)).trials()
    as_once = [replace(config, random_crop="auto", random_flip="auto").trial_id for config in asked]
    assert asked[0].trial_id != as_once[0]
    assert asked[1].trial_id == as_once[1]


def test_a_folder_is_one_data_set_however_it_is_written():
    paths = ("a/b", "a/b/", "a//b/.", "./a/b")
    assert len({replace(BASE, dataset=f"image_folder:{path}").trial_id for path in paths}) == 1
    assert replace(BASE, dataset="parquet:hf://a/b").dataset == "parquet:hf://a/b"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"augment": False, "random_crop": "on"}, "^--random-crop on with --augment False: leave out one"),
        ({"augment": False, "random_flip": "on"}, "^--random-flip on with --augment False"),
        ({"validation_fraction": 0.0}, "^--validation-fraction 0.0: give more than 0 and less than 1"),
        ({"validation_fraction": 1.0}, "^--validation-fraction 1.0: give"),
        ({"validation_fraction": 0.1, "validation_split": "test"}, "0.1 with --validation-split test: leave"),
        ({"image_size": 0}, "^--image-size 0: give 1 or more, or None"),
    ],
)
def test_options_of_the_data_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(BASE, **changes)


def test_network_options_are_those_that_were_given():
    assert BASE.network_options == {"depth": 56, "width": 8}
    assert replace(BASE, depth=None).network_options == {"width": 8}
    assert replace(BASE, depth=None, width=None).network_options == {}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("n_subnetworks", n) for n in (0, -3)),
        *((name, 0) for name in ("batch_size", "depth", "width")),
        *((name, 0) for name in ("train_subset", "validation_subset", "learning_rate")),
        *((name, -1) for name in ("width", "epochs", "learning_rate", "momentum", "weight_decay", "seed")),
        ("momentum", 1),
        *((name, -0.5) for name in ("warmup", "beta2", "clip_norm")),
        ("beta2", 1),
        ("clip_norm", 0),
        *(("milestones", epochs) for epochs in ((9, 6), (6, 6), (0, 3), (-1,))),
    ],
)
def test_a_value_out_of_range_names_its_option(option, value):
    values = value if option == "milestones" else (value,)
    with pytest.raises(ValueError, match=rf"^--{option.replace('_', '-')} .*: give ") as error:
        Sweep(**{option: values, "optimizer": "adamw"}).trials()
    assert str(value) in str(error.value)


@pytest.mark.parametrize("name", [field.name for field in fields(Sweep) if field.name != "milestones"])
def test_an_option_without_values_is_refused(name):
    with pytest.raises(ValueError, match=rf"^--{name.replace('_', '-')}: give at least one value"):
        Sweep(**{name: ()}).trials()


@pytest.mark.parametrize(
    ("option", "value", "remedy"),
    [
        ("depth", "56", "give int | None"),
        ("n_subnetworks", 2.5, "give int"),
        ("learning_rate", "small", "give float"),
        ("channels_last", "yes", "give bool"),
        ("milestones", (3, "5"), "give tuple[int, ...]"),
        ("schedule", "linear", "give step, cosine or cosine_by_step"),
    ],
)
def test_a_value_of_another_type_names_its_option(option, value, remedy):
    with pytest.raises(ValueError, match=rf"^--{option.replace('_', '-')} .*: {re.escape(remedy)}$"):
        Sweep(**{option: value}).trials()


def test_single_values_may_stand_as_they_are_and_several_in_any_sequence():
    asked = Sweep(n_subnetworks=[1, 3], seed=range(2), depth=56, width=(8,), milestones=[3, 5])
    assert asked == Sweep(n_subnetworks=(1, 3), seed=(0, 1), depth=(56,), width=(8,), milestones=(3, 5))
    assert asked.but(depth=(20, 29)).depth == (20, 29)
    assert asked.depth == (56,)


def test_every_option_is_declared_in_one_group():
    declared = Counter(option.name for group in GROUPS for option in fields(group))
    assert set(declared.values()) == {1}


def test_a_step_schedule_needs_no_milestones():
    assert Sweep(milestones=()).trials()[0].milestones == ()
