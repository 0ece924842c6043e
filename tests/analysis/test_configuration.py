import pytest

from analysis import load
from analysis.configuration import identify, label, one_row_each, short_labels, variants, varying


def test_seeds_alone_share_a_configuration(store):
    store.trial(3, seed=0, commit="a", host="x")
    store.trial(3, seed=1, commit="b", host="y")
    store.trial(3, seed=0, weight_decay=0.0)
    store.trial(6, seed=0)
    runs = identify(load(store.path).trials)
    assert runs["configuration"].tolist() == [0, 0, 1, 2]


def test_a_config_value_nobody_knows_keeps_trials_apart(store):
    store.trial(3, novelty="a")
    store.trial(3, seed=1, novelty="b")
    runs = identify(load(store.path).trials)
    assert runs["configuration"].nunique() == 2
    assert varying(runs) == ["novelty"]


def test_how_it_is_torn_makes_no_difference_at_n_1(store):
    store.trial(1, preprocess="strided", n_coarse_units=12)
    store.trial(1, preprocess="patch", n_coarse_units=1)
    store.trial(3, preprocess="strided")
    store.trial(3, preprocess="patch")
    runs = identify(load(store.path).trials)
    assert runs["configuration"].tolist() == [0, 0, 1, 2]
    assert runs["family"].nunique() == 1
    assert varying(runs) == ["preprocess"]


def test_what_follows_from_n_is_not_said_to_vary(store):
    store.trial(1)
    store.trial(3)
    store.trial(6)
    assert varying(identify(load(store.path).trials)) == []
    store.trial(6, n_coarse_units=1)
    assert varying(identify(load(store.path).trials)) == ["n_coarse_units"]


def test_what_a_strategy_leaves_out_makes_no_difference(store):
    store.trial(3, preprocess="patch", partition="staggered")
    for strategy in ("data_parallel", "gpipe"):
        for preprocess in ("strided", "patch"):
            store.trial(3, strategy=strategy, preprocess=preprocess, partition="uniform")
    store.trial(3, strategy="data_parallel", partition="balanced", partition_sizes="18")
    store.trial(3, strategy="gpipe", partition="balanced", partition_sizes="5 6 7")
    runs = identify(load(store.path).trials)
    assert runs["configuration"].tolist() == [0, 1, 1, 2, 2, 1, 3]
    assert runs["family"].nunique() == 1
    assert varying(runs) == ["partition", "strategy"]


def test_cuts_are_left_unsaid_where_the_partition_explains_them(store):
    store.trial(3, partition="uniform", partition_sizes="6 6 6")
    store.trial(3, partition="staggered", partition_sizes="4 6 8")
    assert varying(identify(load(store.path).trials)) == ["partition"]


def test_what_the_data_were_found_to_be_tells_no_experiments_apart(store):
    store.trial(3, n_train=10, n_validation=5, input_shape="1×8×8", n_classes=2, crop=1, flip=True, cores=2.0)
    store.trial(3, seed=1)  # of a store that does not say
    runs = identify(load(store.path).trials)
    assert runs["configuration"].nunique() == 1
    assert varying(runs) == []


def labels(store):
    return short_labels(load(store.path).trials).tolist()


def test_short_labels_say_n_and_what_differs(store):
    store.trial(3)
    assert labels(store) == ["N = 3"]
    store.trial(1, seed=1, strategy="serial")
    assert labels(store) == ["N = 3, seed 0", "N = 1, seed 1"]
    store.trial(3, seed=1, preprocess="stem", graphs=True, learning_rate=0.2)
    store.trial(3, seed=1, strategy="data_parallel", depth=20)
    assert labels(store) == [
        "ResNet-56, N = 3, strided, parareal, learning rate 0.1, no graphs, seed 0",
        "ResNet-56, N = 1, learning rate 0.1, no graphs, seed 1",
        "ResNet-56, N = 3, stem, parareal, learning rate 0.2, graphs, seed 1",
        "ResNet-20, N = 3, data parallel, learning rate 0.1, no graphs, seed 1",
    ]


def test_iterations_tell_torn_networks_apart(store):
    store.trial(1, strategy="serial")  # from a store of before there were any
    store.trial(3, n_iterations=1)
    store.trial(3, n_iterations=2)
    assert labels(store) == ["N = 1", "N = 3, K = 1", "N = 3, K = 2"]
    rows, columns = one_row_each(identify(load(store.path).trials))
    assert "n_iterations" in columns
    (family,) = rows["family"].unique()
    assert [name for name, _ in variants(rows[rows["family"] == family], ["n_iterations"])] == [
        "K = 1",
        "K = 2",
    ]


def test_replicas_tell_torn_networks_apart(store):
    store.trial(1, strategy="serial", n_replicas=1, errors=[5.0])
    for d in (1, 2):
        store.trial(3, n_replicas=d, errors=[4.0 - d])
    assert labels(store) == ["N = 1", "N = 3, D = 1", "N = 3, D = 2"]
    table = load(store.path).table1()
    assert table[["n_subnetworks", "n_replicas", "error"]].to_numpy().tolist()[1:] == [
        [3, 1, 3.0],
        [3, 2, 2.0],
    ]
    rows, _ = one_row_each(identify(load(store.path).trials))
    assert [name for name, _ in variants(rows, ["n_replicas"])] == ["D = 1", "D = 2"]  # Figure 3's curves


def test_short_labels_are_ids_where_nothing_else_tells_trials_apart(store):
    store.trial(3)
    store.trial(3)
    store.trial(6)
    store.write("trials", "t003", [{"trial_id": "t003", "status": "running"}])
    assert labels(store) == ["t000", "t001", "N = 6", "t003"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (("resnet", 56, 1, "parareal"), "ResNet-56"),
        (("resnet", 56, 3, "parareal"), "Parareal ResNet-56, N = 3"),
        (("my.nets:mlp", None, 1, "parareal"), "my.nets:mlp"),
        (("resnet", 56, 3, "serial"), "Parareal ResNet-56, N = 3"),
        (("vgg", 16, 2, "data_parallel"), "Data parallel VGG-16, N = 2"),
        (("vgg", 16, 2, "gpipe"), "GPipe VGG-16, N = 2"),
    ],
)
def test_labels(values, expected):
    assert label(*values) == expected
