"""What --dry-run says is what models.step_time and models.ways say on the measured costs."""

import io
import re
from dataclasses import replace

import pandas as pd
import pytest
import ray
from rich.console import Console

from models.schedules import gang_seconds
from models.simulation import Machine
from models.step_time import critical_path, paper_sum
from models.tearing import paper_n_coarse_units
from orchestrator.config import Options, Sweep
from orchestrator.devices import Available
from orchestrator.forecast import forecast, serial_seconds
from orchestrator.plan import make_plan

SMALL = Sweep(
    n_subnetworks=(1, 3),
    seed=(0,),
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
    """The costs of a sweep's networks, and its forecast as each terminal shows it."""

    def make(*, measured=ALL_N_C, available=CORES, options=None, terminals=(110,), **changes):
        options = options or Options()
        sweep = replace(SMALL, **changes)
        uncut = make_plan(replace(sweep, partition=("uniform",)), options, available)
        costs = known_costs(uncut.jobs, measured, all_ways=True)
        plan = make_plan(sweep, options, available, costs)
        said = list(forecast(plan, costs, options))
        assert not ray.is_initialized()  # nothing was measured
        consoles = [Console(file=io.StringIO(), width=width) for width in terminals]
        for console in consoles:
            console.print(*said)
        return plan, costs, *(console.file.getvalue() for console in consoles)

    return make


def profile_of(plan, costs, n_coarse_units=ALL_N_C):
    job = plan.jobs[-1]
    return costs.profile(job.config, job.tearing.network, job.resources, n_coarse_units)


def rows(text, heading):
    """The cells of the table below the heading that begins so: those of a row are two blanks apart."""
    lines = iter(text.splitlines())
    next(line for line in lines if line.startswith(heading))
    next(line for line in lines if set(line.strip()) == {"─"})
    found = []
    for line in lines:
        if not line.strip():
            break
        found.append(re.split(r"\s{2,}", line.strip()))
    return found


AS_ASKED, COMPONENTS = "A step as asked", "ResNet-56, batch 16"
BUY, BEST = "What D devices buy", "Each way at its fastest"


def ms(seconds):
    value = 1e3 * seconds
    return f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


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
        on_cores = gang_seconds(step, Machine(n_cores=8, bandwidth=1e10, latency=5e-5))
        times = (ms(paper_sum(step)), ms(critical_path(step)), f"{speed_up:.2f}×", ms(on_cores))
        expected.append([f"N = {n}, {partition}", str(n_c), *times])
    assert rows(text, AS_ASKED) == expected
    assert f"N = 1: {ms(serial_seconds(profile))}" in text


def test_iterations_have_steps_and_ways_of_their_own(forecast_of):
    plan, costs, text = forecast_of(n_iterations=(1, 2))
    profile = profile_of(plan, costs)
    (sizes,) = {job.tearing.sizes for job in plan.jobs if job.config.n_subnetworks == 3}
    paths = [critical_path(profile.step_costs(sizes, 4, k)) for k in (1, 2)]
    shown = rows(text, AS_ASKED)
    assert [row[0] for row in shown] == ["N = 3, uniform", "N = 3, K = 2, uniform"]
    assert [row[3] for row in shown] == [*map(ms, paths)]
    names = [row[0] for row in rows(text, BUY)]
    assert "parareal, staggered, paper's F, K = 2" in names


def test_the_components_are_shown_by_shape_and_number_of_coarse_units(forecast_of):
    plan, costs, text = forecast_of()
    profile = profile_of(plan, costs)
    shown = rows(text, COMPONENTS)
    assert [row[:2] for row in shown[:3]] == [
        ["2×8×8 → 8×8×8", "1"],
        ["8×8×8 → 8×8×8", "5"],
        ["8×8×8 → 16×4×4", "1"],
    ]
    assert sum(int(row[1]) for row in shown) == 18
    same = (8, 8, 8)
    assert shown[1][2:] == [
        ms(profile.units[1].total),
        ms(profile.interface_preprocess[same].total),
        *(ms(profile.coarse[same, same, n].total) for n in ALL_N_C),
    ]
    assert shown[0][3:] == ["–"] * (1 + len(ALL_N_C))  # nothing is cut before the first unit


def test_with_gpus_links_count_and_cores_do_not(forecast_of):
    gpus = Available(cpus=8, gpus=4)
    (fast,) = rows(forecast_of(available=gpus)[-1], AS_ASKED)
    (slow,) = rows(forecast_of(available=gpus, options=Options(link_bandwidth=0.001))[-1], AS_ASKED)
    assert fast[:-1] == slow[:-1]
    assert float(slow[-1]) > 2 * float(fast[-1])
    (few_cores,) = rows(forecast_of(available=Available(cpus=2, gpus=0))[-1], AS_ASKED)
    assert float(few_cores[-1]) > float(fast[-1])


def test_a_gang_that_shares_gpus_computes_on_those_alone(forecast_of):
    gpus = Available(cpus=8, gpus=4)
    plan, costs, text = forecast_of(available=gpus, options=Options(gpus_per_actor=0.5))
    step = profile_of(plan, costs).step_costs(plan.jobs[-1].tearing.sizes, 4)
    on_two = gang_seconds(step, Machine(n_cores=2, bandwidth=1e10, latency=5e-5))
    assert rows(text, AS_ASKED)[0][-1] == ms(on_two)
    assert "0.5 GPU each" in text
    assert "on 4 GPUs" in forecast_of(available=gpus)[-1]


@pytest.mark.parametrize(("changes", "n_c"), [({"n_coarse_units": (2,)}, 2), ({"coarse": ("shortcut",)}, 0)])
def test_a_fixed_number_of_coarse_units_is_kept(forecast_of, changes, n_c):
    _, _, text = forecast_of(measured=[n_c], **changes)
    assert rows(text, AS_ASKED)[0][1] == str(n_c)
    assert rows(text, BUY)


def test_each_network_has_tables_of_its_own_and_seeds_and_strategies_none(forecast_of):
    for changes, n_kinds, n_networks in (
        ({"seed": (0, 1)}, 1, 1),
        ({"width": (2, 3)}, 2, 2),
        ({"preprocess": ("strided", "patch")}, 2, 1),
        ({"coarse": ("units", "shortcut")}, 2, 1),
        ({"strategy": ("parareal", "serial", "data_parallel", "gpipe")}, 1, 1),
        ({"n_subnetworks": (1,)}, 0, 0),
        ({"strategy": ("data_parallel",)}, 0, 0),
    ):
        measured = [0, *ALL_N_C] if "coarse" in changes else ALL_N_C
        text = forecast_of(measured=measured, **{"depth": (29,)} | changes)[-1]
        assert (text.count("what components cost"), text.count(BUY)) == (n_kinds, n_networks)


def test_every_way_to_use_devices_is_there_with_what_it_changes(forecast_of, tmp_path):
    options = Options(forecast=str(tmp_path / "figure"))
    _, _, text = forecast_of(options=options, available=Available(cpus=5, gpus=0))
    assert {row[0] for row in rows(text, BUY)} == {
        *("data parallel", "GPipe", "1F1B", "interleaved 1F1B"),
        *(f"parareal, {cuts}, {f}" for cuts in ("uniform", "staggered") for f in ("paper's F", "shortcut")),
        *(f"replicas × parareal, {f}" for f in ("paper's F", "shortcut")),
    }
    assert "D = 5" in text  # as many as there are
    said = text[text.index(BEST) :]
    assert "data parallel: the network itself, but BatchNorm sees a share of the batch." in said
    assert "parareal: another network." in said
    # The same numbers on disk, of all devices.
    frame = pd.read_csv(tmp_path / "figure" / "ResNet-56-batch-16.csv")
    assert (tmp_path / "figure" / "ResNet-56-batch-16.png").stat().st_size > 10_000
    assert {5, 64} <= set(frame["n_devices"])
    best = frame.loc[frame[frame["name"] == "data parallel"]["seconds"].idxmin()]
    (row,) = [row for row in rows(text, BEST) if row[0] == "data parallel"]
    assert row[1:4] == [str(best["n_devices"]), best["how"], ms(best["seconds"])]


def test_a_narrow_terminal_holds_a_network_of_the_papers_width(forecast_of):
    widths = (40, 80)
    _, _, *texts = forecast_of(
        n_subnetworks=(1, 18),
        depth=(164,),
        width=(16,),
        dataset=("synthetic:3x32x32x10x128",),
        available=Available(cpus=19, gpus=0),
        terminals=widths,
    )
    for width, text in zip(widths, texts, strict=True):
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text
        for word in ("128×16×16", "N = 18", "replicas", "BatchNorm"):
            assert word in text
