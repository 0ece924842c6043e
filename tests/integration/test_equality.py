"""Actor-parallel training equals training the same network in one process, gradient by gradient."""

import pytest

from orchestrator.actors import gang
from tests.integration.apart import DriverApart, SubnetworkApart
from tests.integration.equality import check_equality

# Training is chaotic: more steps would blow rounding up, whatever rounds.
ONE_STEP_IN_FLOAT32 = {"precision": "float32", "train_subset": 10, "batch_size": 10, "epochs": 1}
ONE_STEP_IN_BFLOAT16 = ONE_STEP_IN_FLOAT32 | {"precision": "bfloat16", "channels_last": True}

ADAMW = {"optimizer": "adamw", "learning_rate": 1e-3, "warmup": 1.0, "clip_norm": 0.5}
CHARACTERS = ADAMW | {
    "network": "tests.integration.characters:transformer",
    "dataset": "tests.integration.characters:text",
    "task": "next_token",
    "depth": None,
    "width": None,
    "n_coarse_units": 1,
}
REPLICAS = {"n_replicas": 2, "network": "mlp", "depth": 8, "width": 12}
SYNCHRONISED = {"batch_norm": "synchronised", "depth": 29, "n_coarse_units": 1}  # with BatchNorm everywhere
TABULAR = {
    "network": "mlp",
    "dataset": "tests.integration.characters:tabular",
    "task": "regression",
    "depth": 8,
    "width": 12,
    "learning_rate": 0.01,
}


@pytest.mark.parametrize(
    ("n_subnetworks", "options"),
    [
        (1, {}),
        (2, {}),
        (3, {"preprocess": "patch"}),
        (6, {"depth": 38}),
        (3, ONE_STEP_IN_FLOAT32),
        (2, ONE_STEP_IN_BFLOAT16),
        (3, {"preprocess": "stem", "coarse": "shortcut", "channels_last": True}),
        (3, {"strategy": "serial"}),
        (6, {"n_iterations": 3, "coarse": "shortcut", "depth": 38}),
        (2, ONE_STEP_IN_BFLOAT16 | {"n_iterations": 2}),
        (3, ONE_STEP_IN_FLOAT32 | {"n_iterations": 2, "channels_last": True}),
        (3, {"n_iterations": 2, "strategy": "serial"}),
        (3, {"n_iterations": 3, "network": "vit", "depth": 6, "width": 12}),
        (3, {"n_iterations": 2, "network": "mlp", "depth": 8, "width": 12}),
        (3, {"n_iterations": 2, "network": "vgg", "depth": 11, "width": 4, "epochs": 1}),
        *((n, {"network": "mlp", "depth": 8, "width": 12}) for n in (1, 2, 3)),
        *((n, {"network": "vgg", "depth": 11, "width": 4, "preprocess": "patch"}) for n in (1, 2, 3)),
        *((n, {"network": "vit", "depth": 6, "width": 12}) for n in (1, 2, 3)),
        (1, {"optimizer": "adamw", "clip_norm": 0.5}),
        (3, {"optimizer": "adamw", "warmup": 1.0, "clip_norm": 0.5, "decay": "weights", "weight_decay": 0.1}),
        (2, {"nesterov": True, "schedule": "cosine_by_step", "clip_norm": 1e-2}),
        (3, {"n_iterations": 2, "optimizer": "adamw", "clip_norm": 0.5}),
        (3, {"strategy": "data_parallel", "network": "mlp", "depth": 6, "width": 12, "clip_norm": 0.1}),
        (2, {"strategy": "1f1b", "network": "mlp", "depth": 6, "width": 12, "clip_norm": 0.1}),
        (3, {"label_smoothing": 0.1}),
        (2, REPLICAS),
        (2, REPLICAS | {"n_replicas": 3, "optimizer": "adamw", "clip_norm": 0.5}),  # shares of 3, 3, 2
        (3, REPLICAS | {"n_iterations": 2, "clip_norm": 1e-2}),
        (2, SYNCHRONISED | {"n_replicas": 3, "preprocess": "stem"}),  # shares of 3, 3, 2
        (3, SYNCHRONISED | {"n_replicas": 2, "n_iterations": 2, "preprocess": "stem", "batch_size": 7}),
        (2, SYNCHRONISED | {"strategy": "data_parallel", "batch_size": 7}),
        (3, {"task": "tests.integration.expectation:Expectation"}),
        (
            2,
            {
                "task": "tests.integration.expectation:Expectation",
                "strategy": "data_parallel",
                "network": "mlp",
                "depth": 6,
                "width": 12,
            },
        ),
        (
            2,
            {
                "task": "tests.integration.expectation:Expectation",
                "strategy": "gpipe",
                "network": "mlp",
                "depth": 6,
                "width": 12,
            },
        ),
        *((n, CHARACTERS) for n in (1, 2, 3, 6)),
        (3, CHARACTERS | {"n_iterations": 2}),
        (2, CHARACTERS | {"strategy": "data_parallel"}),
        (2, CHARACTERS | {"strategy": "gpipe"}),
        (3, TABULAR),
        (3, {"strategy": "data_parallel", "network": "mlp", "depth": 6, "width": 12}),  # shares of 3, 3, 2
        (2, {"strategy": "gpipe", "network": "mlp", "depth": 6, "width": 12}),
        (2, ONE_STEP_IN_BFLOAT16 | {"strategy": "gpipe", "network": "mlp", "depth": 6, "width": 12}),
        (
            3,
            {
                "strategy": "1f1b",
                "network": "vit",
                "depth": 7,
                "width": 12,
                "train_subset": 12,
                "batch_size": 6,
            },
        ),
    ],
)
def test_actor_run_equals_one_process_run(pooled, start_gang, trial, n_subnetworks, options):
    check_equality(start_gang, trial(n_subnetworks=n_subnetworks, **options))


@pytest.mark.usefixtures("pooled")
@pytest.mark.parametrize(
    ("network", "n_subnetworks", "strategy"),
    [
        ("dropout_everywhere", 3, "parareal"),
        ("dropout_everywhere", 3, "serial"),
        ("parametrised", 2, "parareal"),
        ("unused", 2, "data_parallel"),
    ],
)
def test_a_users_network_is_trained_in_a_gang_of_its_own(start_gang, trial, network, n_subnetworks, strategy):
    options = {"depth": None, "width": None, "n_coarse_units": 1, "strategy": strategy}
    network = f"tests.integration.networks:equal_{network}"
    check_equality(start_gang, trial(network=network, n_subnetworks=n_subnetworks, **options))


@pytest.mark.usefixtures("pooled")
@pytest.mark.parametrize("network", ["dropout_everywhere", "stochastic_depth"])
def test_replicas_normalise_and_draw_each_for_its_own_share(start_gang, trial, network):
    options = {"network": f"tests.integration.networks:equal_{network}", "depth": None, "width": None}
    config = trial(n_replicas=2, n_coarse_units=1, batch_size=7, **options)
    check_equality(start_gang, config, in_shares=True)


@pytest.mark.parametrize("n_iterations", [1, 2])
def test_actors_on_different_hosts_equal_one_process_as_well(start_gang, trial, monkeypatch, n_iterations):
    monkeypatch.setattr(gang, "DriverActor", DriverApart)
    monkeypatch.setattr(gang, "SubnetworkActor", SubnetworkApart)
    check_equality(start_gang, trial(n_subnetworks=3, channels_last=True, n_iterations=n_iterations))
