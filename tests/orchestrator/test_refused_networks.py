"""What actors could not train as one process does, the plan refuses before anything starts."""

from dataclasses import replace

import pytest

from orchestrator.config import Options, Sweep
from orchestrator.devices import Available
from orchestrator.plan import make_plan
from tests.integration import networks

SWEEP = Sweep(
    dataset=("synthetic:1x8x8x10x64",),
    depth=(None,),
    width=(None,),
    n_subnetworks=(3,),
    n_coarse_units=(1,),
    batch_size=(16,),
    seed=(0,),
)


def plan_of(name, **changes):
    sweep = replace(SWEEP, network=(f"tests.integration.networks:{name}",), **changes)
    return make_plan(sweep, Options(), Available(cpus=8, gpus=0))


@pytest.mark.parametrize("name", networks.REFUSED)
def test_a_network_that_could_not_be_torn_is_refused_in_a_line(name):
    with pytest.raises(ValueError, match=networks.REFUSED[name][1]) as error:
        plan_of(f"refused_{name}")
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(("strategy", "n"), [("serial", 1), ("data_parallel", 2), ("gpipe", 3), ("1f1b", 3)])
def test_a_network_without_anything_to_train_is_refused(strategy, n):
    with pytest.raises(ValueError, match="network has no parameter to train: each is frozen"):
        plan_of("equal_frozen_all_but_the_cuts", strategy=(strategy,), n_subnetworks=(n,))
    assert plan_of("equal_frozen_all_but_the_cuts", strategy=("serial",)).jobs


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": (1,)}, "--batch-size 1 lets a pass have one image, but unit 5 .* more than 1 value"),
        (
            {"batch_size": (2,), "strategy": ("data_parallel",), "n_subnetworks": (2,)},
            "2, in 2 parts, .* unit 5",
        ),
        (
            {"batch_size": (6,), "strategy": ("gpipe",)},
            "--batch-size 6, in 6 parts, lets .* unit 5 .*: raise it",
        ),
    ],
)
def test_batch_norm_that_would_read_one_value_is_refused_with_the_numbers(options, message):
    with pytest.raises(ValueError, match=message):
        plan_of("equal_one_value", **options)
    assert plan_of("equal_one_value", batch_size=(32,), strategy=("gpipe",)).jobs
    assert plan_of("equal_frozen_trunk", batch_size=(1,)).jobs


def test_trials_that_differ_in_how_a_network_is_torn_share_it():
    plan = plan_of("equal_plain", n_subnetworks=(1, 2, 3), seed=(0, 1))
    assert len({id(job.tearing.network) for job in plan.jobs}) == 2


def test_a_pipeline_needs_the_gradient_that_comes_back_to_its_stages():
    with pytest.raises(ValueError, match=r"unit 2 .* passes no gradient back to what it reads: give what"):
        plan_of("equal_without_gradient", strategy=("gpipe",))
    assert plan_of("equal_without_gradient").jobs
    assert plan_of("equal_without_gradient", strategy=("gpipe",), n_subnetworks=(1,)).jobs


def test_later_iterations_need_the_gradient_that_comes_back_to_earlier_ones():
    with pytest.raises(ValueError, match=r"unit 2 .* passes no gradient back to what it reads: give what"):
        plan_of("equal_without_gradient", n_iterations=(2,))
    assert plan_of("equal_without_gradient", n_iterations=(2,), n_subnetworks=(1,)).jobs


@pytest.mark.parametrize("more", [{"n_iterations": (2,)}, {"strategy": ("gpipe",)}])
def test_hooks_that_go_by_the_parts_of_a_gradient_are_refused_where_it_comes_in_parts(more):
    for name in ("clipping", "halving"):
        with pytest.raises(ValueError, match=r"unit 0 .* has a hook on a parameter that does something else"):
            plan_of(f"parts_{name}", **more)
        assert plan_of(f"parts_{name}").jobs
    assert plan_of("equal_hooks_of_parameters", **more).jobs


def test_hooks_of_a_coarse_network_see_its_gradient_in_parts_with_several_iterations_alone():
    with pytest.raises(ValueError, match=r"F\^1 .* has a hook on a parameter that does something else"):
        plan_of("equal_coarse_that_clips", n_iterations=(2,))
    assert plan_of("equal_coarse_that_clips").jobs


def test_what_the_exact_network_does_not_use_is_nothing_to_train():
    assert plan_of("equal_frozen_all_but_the_cuts", n_iterations=(1, 2)).jobs
    with pytest.raises(ValueError, match="network has no parameter to train: each is frozen"):
        plan_of("equal_frozen_all_but_the_cuts", n_iterations=(3,))


@pytest.mark.parametrize(
    ("name", "uses_all"),
    [
        *(("plain", True), ("frozen_trunk", True), ("unused", False)),
        *(("without_gradient", False), ("experts", False)),
    ],
)
def test_workers_know_whether_every_parameter_gets_a_gradient(name, uses_all):
    (job,) = plan_of(f"equal_{name}", strategy=("data_parallel",), n_subnetworks=(2,)).jobs
    assert vars(job.tearing.network)["uses_all"] is uses_all
