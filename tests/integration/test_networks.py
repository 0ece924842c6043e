"""Whatever network the plan accepts, actors train as one process does."""

import pytest

from tests.integration import networks
from tests.integration.equality import check_equality

pytestmark = pytest.mark.usefixtures("pooled")


def of_user(trial, name, **options):
    """A trial of a user's network, in which what is not to be trained would show at once."""
    options |= {"n_subnetworks": 3, "n_coarse_units": 1, "weight_decay": 1e-2, "depth": None, "width": None}
    return trial(network=f"tests.integration.networks:equal_{name}", **options)


@pytest.mark.parametrize("name", networks.EQUAL)
def test_actors_train_what_one_process_trains(start_gang, trial, name):
    check_equality(start_gang, of_user(trial, name))


@pytest.mark.parametrize(
    "name",
    [
        *(
            "frozen_in_between",
            "frozen_at_the_cuts",
            "parameter_free_at_the_cuts",
            "unused",
            "in_place_units",
        ),
        *("in_place_at_the_cuts", "dropout_everywhere", "noise_in_evaluation_too", "buffers"),
        *(
            "attributes_without_effect",
            "norms",
            "parametrised",
            "older_norms_of_weights",
            "checkpointed",
            "tokens",
        ),
    ],
)
def test_actors_iterate_as_one_process_does(start_gang, trial, name):
    check_equality(start_gang, of_user(trial, name, n_iterations=2, learning_rate=0.01))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("buffers", {}),
        ("dropout_everywhere", {}),
        ("parametrised", {}),
        ("stochastic_depth", {"n_iterations": 2}),
    ],
)
def test_actors_that_go_on_from_a_checkpoint_train_the_same(start_gang, trial, name, options):
    config = of_user(trial, name, **options)
    with start_gang(config) as actors:
        first, second = (actors.run_epoch(epoch) for epoch in (1, 2))
    with start_gang(config) as actors:
        actors.restore({part: report.state for part, report in first.items()})
        again = actors.run_epoch(2)
    for part, report in second.items():
        assert again[part].metrics == report.metrics
        assert again[part].state == report.state, part
