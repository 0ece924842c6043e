"""What --dry-run says is what models.step_time says on the measured costs."""

import io
from dataclasses import replace
from functools import partial
from math import inf

import pytest
import ray
from rich.console import Console

from models.cost_profile import IMPOSSIBLE
from models.partition import COST_PARTITIONS, PARTITIONS
from models.step_time import Cost, critical_path, paper_sum, simulate
from models.tearing import paper_n_coarse_units
from orchestrator.config import Options, Sweep
from orchestrator.devices import Available
from orchestrator.forecast import forecast, recommend, serial_seconds, step_seconds
from orchestrator.plan import make_plan

SMALL = Sweep(
    n_subnetworks=(1, 3),
    seed=(0, 1),
    depth=(56,),
    width=(2,),
    dataset=("synthetic:1x8x8x4x64",),
    batch_size=(16,),
)
CORES = Available(cpus=8, gpus=0)
ALL_N_C = [1, 2, 3, 4, 6]
"""What ⌈12 / N⌉ can be from N = 2 on."""


@pytest.fixture
def forecast_of(known_costs):
    """The costs of a sweep's networks, and its forecast as a terminal of 80 columns shows it."""

    def make(*, measured=ALL_N_C, available=CORES, options=None, **changes):
        options = options or Options()
        sweep = replace(SMALL, **changes)
        uncut = make_plan(replace(sweep, partition=("uniform",)), options, available)
        costs = known_costs(uncut.jobs, measured)
        plan = make_plan(sweep, options, available, costs)
        console = Console(file=io.StringIO(), width=80)
        console.print(*forecast(plan, costs, options))
        assert not ray.is_initialized()  # nothing was measured
        return plan, costs, console.file.getvalue()

    return make


def profile_of(plan, costs, n_coarse_units=ALL_N_C):
    job = plan.jobs[-1]
    return costs.profile(job.config, job.tearing.network, job.resources, n_coarse_units)


def rows(text, header):
    """The cells of the table that begins with these column names."""
    lines = iter(text.splitlines())
    next(line for line in lines if line.split()[: len(header)] == header)
    next(lines)  # the rule
    found = []
    for line in lines:
        if not line.strip():
            break
        found.append(line.split())
    return found


def ms(seconds):
    return f"{1e3 * seconds:.2f}"


@pytest.mark.parametrize("partition", ["uniform", "balanced", "staggered"])
def test_a_step_as_asked_is_predicted_from_the_costs(forecast_of, partition):
    plan, costs, text = forecast_of(n_subnetworks=(1, 3, 6), partition=(partition,))
    profile = profile_of(plan, costs)
    expected = []
    for n in (3, 6):
        n_c = paper_n_coarse_units(n)
        (sizes, *_) = {job.tearing.sizes for job in plan.jobs if job.config.n_subnetworks == n}
        step = profile.step_costs(sizes, n_c)
        speed_up = critical_path(profile.step_costs((18,), n_c)) / critical_path(step)
        on_cores = simulate(step, n_cores=8, bandwidth=1e10, latency=5e-5, n_steps=4)[-1].end / 4
        times = (ms(paper_sum(step)), ms(critical_path(step)), f"{speed_up:.2f}×", ms(on_cores))
        expected.append([str(n), str(n_c), partition, *times])
    assert rows(text, ["N", "N_c", "partition"]) == expected
    assert f"N = 1: {ms(serial_seconds(profile))}" in text


def test_iterations_have_steps_and_recommendations_of_their_own(forecast_of):
    plan, costs, text = forecast_of(n_iterations=(1, 2), available=Available(cpus=14, gpus=0))
    profile = profile_of(plan, costs)
    (sizes,) = {job.tearing.sizes for job in plan.jobs if job.config.n_subnetworks == 3}
    paths = [critical_path(profile.step_costs(sizes, 4, k)) for k in (1, 2)]
    assert paths[0] < paths[1]
    shown = rows(text, ["N", "K", "N_c", "partition"])
    assert [row[:3] for row in shown] == [["3", "1", "4"], ["3", "2", "4"]]
    assert [row[5] for row in shown] == [*map(ms, paths)]
    once, twice = text.split("The best")[1:]
    assert "with K = 2 iterations for up to" in twice
    best = [float(rows(one, ["devices", "N", "partition"])[-1][3]) for one in (once, twice)]
    assert best[0] < best[1] < 1e3 * serial_seconds(profile)


def test_the_components_are_shown_by_shape_and_number_of_coarse_units(forecast_of):
    plan, costs, text = forecast_of()
    profile = profile_of(plan, costs)
    shown = rows(text, ["from", "to", "units"])
    assert [row[:3] for row in shown[:3]] == [
        ["2×8×8", "8×8×8", "1"],
        ["8×8×8", "8×8×8", "5"],
        ["8×8×8", "16×4×4", "1"],
    ]
    assert sum(int(row[2]) for row in shown) == 18
    same = (8, 8, 8)
    assert shown[1][3:] == [
        ms(profile.units[1].total),
        ms(profile.interface_preprocess[same].total),
        *(ms(profile.coarse[same, same, n].total) for n in ALL_N_C),
    ]
    assert shown[0][4:] == ["–"] * (1 + len(ALL_N_C))  # nothing is cut before the first unit
    assert "N_c=6" in text


def test_the_recommendation_is_the_shortest_step_there_is_for_so_many_devices(forecast_of):
    options = Options(link_bandwidth=0.1, link_latency=20.0)
    plan, costs, text = forecast_of(
        measured=[0], coarse=("shortcut",), options=options, available=Available(cpus=14, gpus=0)
    )
    profile = profile_of(plan, costs, [0])
    seconds = partial(step_seconds, bandwidth=1e8, latency=2e-5)
    shown = rows(text, ["devices", "N", "partition"])
    assert shown[0] == ["1", "1", "–", ms(serial_seconds(profile)), "1.00×"]
    assert len(shown) > 2

    def best(most):
        steps = [
            (seconds(profile.step_costs(rule(profile, n, 0), 0)), n)
            for n in (2, 3, 4, 5, 7, 9, 11, 13, 15)
            for rule in COST_PARTITIONS.values()
            if n <= most
        ]
        return min([(serial_seconds(profile), 1), *steps])

    for devices, n, _, step, speed_up in shown[1:]:
        assert int(devices) == int(n) + 1
        shortest, at = best(int(n))
        assert (ms(shortest), at) == (step, int(n))
        assert speed_up == f"{serial_seconds(profile) / shortest:.2f}×"
    assert best(15)[1] == int(shown[-1][1])  # more devices bring nothing


def test_the_devices_that_there_are_are_considered_too(forecast_of):
    def considered(available):
        text = forecast_of(measured=[0], coarse=("shortcut",), available=available)[-1]
        return [row[0] for row in rows(text, ["devices", "N", "partition"])]

    assert "7" not in considered(CORES)
    assert "7" in considered(Available(cpus=7, gpus=0))
    assert "7" in considered(Available(cpus=8, gpus=7))


def test_with_gpus_links_count_and_cores_do_not(forecast_of):
    gpus = Available(cpus=8, gpus=4)
    header = ["N", "N_c", "partition"]
    (fast,) = rows(forecast_of(available=gpus)[-1], header)
    (slow,) = rows(forecast_of(available=gpus, options=Options(link_bandwidth=0.001))[-1], header)
    assert fast[:-1] == slow[:-1]
    assert float(slow[-1]) > 2 * float(fast[-1])
    (few_cores,) = rows(forecast_of(available=Available(cpus=2, gpus=0))[-1], header)
    assert float(few_cores[-1]) > float(fast[-1])


def test_a_gang_that_shares_gpus_computes_on_those_alone(forecast_of):
    gpus = Available(cpus=8, gpus=4)
    header = ["N", "N_c", "partition"]
    plan, costs, text = forecast_of(available=gpus, options=Options(gpus_per_actor=0.5))
    step = profile_of(plan, costs).step_costs(plan.jobs[-1].tearing.sizes, 4)
    on_two = simulate(step, n_cores=2, bandwidth=1e10, latency=5e-5, n_steps=4)[-1].end / 4
    assert rows(text, header)[0][-1] == ms(on_two)
    assert "0.5 GPU each" in text
    assert "on 4 GPUs" in forecast_of(available=gpus)[-1]


def test_a_fixed_number_of_coarse_units_is_kept_for_other_numbers_of_subnetworks(forecast_of):
    for changes, n_c in (({"n_coarse_units": (2,)}, 2), ({"coarse": ("shortcut",)}, 0)):
        _, _, text = forecast_of(measured=[n_c], **changes)
        assert rows(text, ["devices", "N", "partition"])
        assert rows(text, ["N", "N_c", "partition"])[0][1] == str(n_c)


def test_each_network_has_tables_of_its_own_and_seeds_and_strategies_none(forecast_of):
    for changes, n_tables in (
        ({}, 1),
        ({"width": (2, 3)}, 2),
        ({"preprocess": ("strided", "patch")}, 2),
        ({"strategy": ("parareal", "serial", "data_parallel", "gpipe")}, 1),
        ({"n_subnetworks": (1,)}, 0),
        ({"strategy": ("data_parallel",)}, 0),
    ):
        text = forecast_of(**changes)[-1]
        assert text.count("what components cost") == n_tables
        if n_tables:
            assert len(rows(text, ["N", "N_c", "partition"])) == 1


def test_80_columns_hold_a_network_of_the_papers_width(forecast_of):
    _, _, text = forecast_of(
        n_subnetworks=(1, 18),
        depth=(164,),
        width=(16,),
        dataset=("synthetic:3x32x32x10x128",),
        available=Available(cpus=19, gpus=0),
    )
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "128×16×16" in text
    (row,) = rows(text, ["N", "N_c", "partition"])
    assert row[:3] == ["18", "1", "uniform"]
    assert "h 0.02" in text


# Recommendations


@pytest.fixture
def profile(forecast_of):
    plan, costs, _ = forecast_of()
    return profile_of(plan, costs)


def recommended(profile, ns, seconds=critical_path):
    return list(recommend(profile, ns, lambda n: 1, seconds))


def test_every_recommendation_beats_all_smaller_numbers_of_subnetworks(profile):
    choices = recommended(profile, range(2, 19))
    steps = [serial_seconds(profile), *(choice.seconds for choice in choices)]
    assert steps == sorted(set(steps), reverse=True)
    assert [choice.n_subnetworks for choice in choices] == sorted({c.n_subnetworks for c in choices})


def test_of_equally_good_partitions_the_papers_is_recommended(profile):
    alike = replace(profile, units=(Cost(1.0, 2.0),) * profile.n_units)
    free = replace(alike, coarse=dict.fromkeys(profile.coarse, Cost(0.0, 0.0)))
    free = replace(free, interface_preprocess=dict.fromkeys(free.interface_preprocess, Cost(0.0, 0.0)))
    free = replace(free, preprocess=Cost(0.0, 0.0))
    assert [(c.n_subnetworks, c.partition) for c in recommended(free, [2, 3, 6])] == [
        *((2, "uniform"), (3, "uniform"), (6, "uniform"))
    ]


def test_where_the_papers_rule_leaves_a_subnetwork_empty_another_is_recommended(profile):
    with pytest.raises(ValueError, match="leave the last ones empty"):
        PARTITIONS["uniform"](18, 8)
    (choice,) = recommended(profile, [8])
    assert choice.partition in COST_PARTITIONS


def test_what_nothing_joins_and_what_is_slower_is_never_recommended(profile):
    impossible = replace(profile, coarse=dict.fromkeys(profile.coarse, IMPOSSIBLE))
    assert recommended(impossible, [3, 6]) == recommended(impossible, [3, 6], step_seconds) == []
    dear = replace(profile, coarse=dict.fromkeys(profile.coarse, Cost(9.0, 9.0)))
    assert recommended(dear, [2, 3, 6]) == []
    assert recommended(profile, [19, 64]) == []  # more than there are units
    assert all(choice.seconds < inf for choice in recommended(profile, [2, 3, 6]))
