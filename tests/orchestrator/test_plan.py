import io
from dataclasses import replace

import pytest
import ray
from PIL import Image
from rich.console import Console

from models.partition import COST_PARTITIONS, uniform
from orchestrator.config import Options, Sweep
from orchestrator.costs import Costs
from orchestrator.devices import Available
from orchestrator.plan import data_key, make_plan, pending, plan_table, sizes_text, untimed
from orchestrator.presets import PRESETS
from orchestrator.storage.store import Store

SMALL = Sweep(
    n_subnetworks=(1, 3), seed=(0, 1), depth=29, width=2, dataset="synthetic:1x8x8x4x64", batch_size=16
)
OPTIONS = Options()
CORES = Available(cpus=8, gpus=0)
GPUS = Available(cpus=8, gpus=4)


def plan_of(*, options=OPTIONS, available=CORES, **changes):
    return make_plan(replace(SMALL, **changes), options, available)


def table_of(plan, store=None, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(plan_table(plan, store))
    return console.file.getvalue()


def test_every_trial_becomes_a_job_and_images_are_loaded_once():
    plan = plan_of(seed=(0, 1), train_subset=(None, 32))
    assert [job.config for job in plan.jobs] == replace(SMALL, seed=(0, 1), train_subset=(None, 32)).trials()
    assert sorted(len(images.train_inputs) for images in plan.data.values()) == [32, 64]
    for job in plan.jobs:
        assert len(plan.data[data_key(job.config)].train_inputs) == (job.config.train_subset or 64)
        assert sum(job.tearing.sizes) == 9
        assert job.tearing.n_subnetworks == job.config.n_subnetworks
        assert job.tearing.n_coarse_units == job.config.n_coarse_units
        assert job.tearing.seed == job.config.seed
        assert job.resources.n_actors == {1: 1, 3: 4}[job.config.n_subnetworks]


# What is refused


@pytest.fixture
def broken_parquet(tmp_path):
    for name in ("train-0.parquet", "validation-0.parquet"):
        (tmp_path / name).write_bytes(b"not a Parquet file")
    return f"parquet:{tmp_path}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_subnetworks": (10,)}, "10 subnetworks need at least 10 units, the network has 9: lower --n-sub"),
        ({"n_subnetworks": (6,)}, "6 subnetworks of .* leave the last ones empty: .* --n-subnetworks 5"),
        ({"depth": (30,)}, r"depth 30 is not 9n \+ 2: the nearest are 29 and 38"),
        ({"dataset": ("cifar",)}, "unknown data set 'cifar' .*did you mean cifar10"),
        ({"dataset": ("parquet:/nowhere",)}, "/nowhere is no folder of this machine"),
        ({"batch_size": (65,)}, "--batch-size 65 is more than the 64 training samples .*: lower it"),
        ({"batch_size": (33,), "train_subset": (32,)}, "--batch-size 33 is more than the 32 training"),
        ({"train_subset": (65,)}, r"65 .* is out of range: choose 4 \(its classes\) to 64"),
        ({"partition": ("even",)}, "unknown partition 'even': choose one of uniform"),
        ({"preprocess": ("pool",)}, "unknown preprocess 'pool': choose one of auto, strided, patch, stem"),
        ({"coarse": ("none",)}, "unknown coarse network 'none': choose one of units, shortcut"),
        ({"n_coarse_units": (0,)}, "n_coarse_units = 0: each F.j needs at least 1 unit"),
        ({"network": ("alexnet",)}, "unknown network 'alexnet': choose one of resnet"),
        ({"network": ("no.such.module:net",)}, "'no.such.module:net' cannot be imported"),
        ({"network": ("math:pi",)}, "is a float, not a factory"),
        ({"task": "next_token"}, "next_token takes targets .samples, tokens. of whole numbers"),
        ({"task": "math:pi"}, "task 'math:pi' is a float: make it a"),
        (
            {"task": "tests.integration.expectation:Largest", "strategy": ("parareal", "data_parallel")},
            "--strategy data_parallel takes the loss of a batch as the mean of its samples' losses",
        ),
        ({"dataset": ("synthetic:1x7x7x4x64",), "preprocess": ("patch",)}, "do not tile an image of 7×7"),
        ({"n_subnetworks": (0,)}, "--n-subnetworks 0: give 1 or more"),
    ],
)
def test_what_cannot_work_is_refused_in_a_line_or_two(changes, message):
    with pytest.raises(ValueError, match=message) as error:
        plan_of(**{"n_subnetworks": (3,)} | changes)
    assert len(str(error.value).splitlines()) <= 2


def test_damaged_data_are_refused(broken_parquet):
    with pytest.raises(ValueError, match=r"cannot read .*train-0.parquet as Parquet") as error:
        plan_of(dataset=(broken_parquet,))
    assert len(str(error.value).splitlines()) <= 2


def test_a_trial_that_would_wait_for_ever_for_devices_is_refused():
    with pytest.raises(ValueError, match="3 subnetworks and the driver need 4 GPUs, there are 2"):
        plan_of(available=Available(cpus=8, gpus=2), options=Options(devices="cuda"))
    with pytest.raises(ValueError, match="need 4 × 6 = 24 cores, there are 8"):
        plan_of(options=Options(cpus_per_actor=6))
    with_too_few_gpus = plan_of(available=Available(cpus=8, gpus=2))
    assert {job.resources.device for job in with_too_few_gpus.jobs} == {"cpu"}


@pytest.mark.parametrize(
    ("changes", "options", "asked"),
    [
        ({"graphs": (False, True)}, {}, "--graphs True"),
        ({"precision": ("float32", "tf32")}, {}, "--precision tf32"),
        ({}, {"cuda_ipc": True}, "--cuda-ipc"),
    ],
)
def test_what_gpus_alone_have_is_refused_on_cores_before_anything_is_loaded(changes, options, asked):
    sweep = replace(SMALL, **changes)
    unread = replace(sweep, dataset=("parquet:/nowhere",))
    with pytest.raises(ValueError, match=f"^{asked} needs GPUs, not --devices cpu: leave out one of them$"):
        make_plan(unread, Options(devices="cpu", **options), GPUS)
    with pytest.raises(
        ValueError,
        match=f"^{asked} needs GPUs, 4 for the largest trial, there are 2: leave it out, or .* cuda$",
    ):
        make_plan(unread, Options(**options), Available(cpus=8, gpus=2))
    jobs = make_plan(sweep, Options(**options), GPUS).jobs
    assert {(job.resources.device, job.resources.cuda_ipc) for job in jobs} == {("cuda", bool(options))}


def test_gpus_that_are_shared_are_enough():
    for devices in ("auto", "cuda"):
        plan = plan_of(options=Options(gpus_per_actor=0.25, devices=devices), available=Available(8, 1))
        assert [job.resources.bundles[1]["GPU"] for job in plan.jobs if job.config.seed == 0] == [0.25, 1.0]
        assert {job.resources.n_devices for job in plan.jobs} == {1}
        assert "4 × 0.25 GPU" in table_of(plan)
    with pytest.raises(ValueError, match="need 2 GPUs, there are 1: lower --n-subnetworks to 2 or"):
        plan_of(options=Options(gpus_per_actor=0.3, devices="cuda"), available=Available(8, 1))
    assert "4 × 1 GPU" in table_of(plan_of(available=GPUS))


# Partitions by cost


def test_partitions_by_cost_follow_from_the_profile_in_the_store(known_costs):
    asked = replace(
        SMALL, n_subnetworks=(1, 2, 3), seed=(0, 1), partition=("uniform", "balanced", "staggered")
    )
    # N = 1 has an N_c too, which is nobody's F^j and not in this profile.
    costs = known_costs(plan_of(n_subnetworks=(3,)).jobs, [6, 4])
    plan = make_plan(asked, OPTIONS, CORES, costs)
    assert not ray.is_initialized()  # nothing was measured
    job = plan.jobs[-1]
    profile = costs.profile(job.config, job.tearing.network, job.resources, [4])
    assert [job.config for job in plan.jobs] == asked.trials()
    for job in plan.jobs:
        n, n_c = job.config.n_subnetworks, job.config.n_coarse_units
        expected = {
            "uniform": uniform(9, n),
            "balanced": COST_PARTITIONS["balanced"](profile, n, n_c, 1),
            "staggered": COST_PARTITIONS["staggered"](profile, n, n_c, 1),
        }
        assert job.tearing.sizes == expected[job.config.partition]
    assert len({job.tearing.sizes for job in plan.jobs}) == 1 + 3 + 3


def test_a_pipeline_is_balanced_without_any_coarse_network(known_costs):
    (uncut,) = plan_of(n_subnetworks=(3,), seed=(0,), strategy=("gpipe",)).jobs
    costs = known_costs([uncut], [])
    sweep = replace(SMALL, n_subnetworks=(3,), seed=(0,), strategy=("gpipe",), partition=("balanced",))
    (job,) = make_plan(sweep, OPTIONS, CORES, costs).jobs
    profile = costs.profile(job.config, job.tearing.network, job.resources, [])
    assert job.tearing.sizes == COST_PARTITIONS["balanced"](profile, 3, 1, 1) != (3, 3, 3)
    assert not ray.is_initialized()


def test_what_cannot_work_is_refused_before_anything_is_measured(tmp_path):
    sweep = replace(SMALL, partition=("staggered", "even"))
    with pytest.raises(ValueError, match="unknown partition 'even': choose one of uniform, balanced, stagg"):
        make_plan(sweep, OPTIONS, CORES, Costs(tmp_path))
    assert not ray.is_initialized()


def test_partitions_by_cost_need_costs():
    with pytest.raises(ValueError, match="partition 'staggered' goes by what units cost"):
        plan_of(n_subnetworks=(3,), partition=("staggered",))


# What is left to do


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def finish(store, job, status="finished", lost=()):
    trial_id = job.config.trial_id
    store.write("trials", trial_id, [{"trial_id": trial_id, "status": status}])
    epochs = [epoch for epoch in range(1, job.config.epochs + 1) if epoch not in lost]
    store.write("epochs", trial_id, [{"trial_id": trial_id, "epoch": epoch} for epoch in epochs])


def time(store, job, mode="virtual"):
    trial_id = job.config.trial_id
    store.write("timings", trial_id, [{"trial_id": trial_id, "mode": mode, "component": "subnetwork"}])


def test_only_what_has_come_to_no_end_is_pending(store):
    jobs = plan_of(seed=(0, 1, 2), n_subnetworks=(3,), learning_rate=(0.1, 0.2)).jobs
    assert pending(jobs, store) == jobs
    for job, status in zip(jobs, ("finished", "diverged", "running", "failed"), strict=False):
        finish(store, job, status)
    assert pending(jobs, store) == jobs[2:]


@pytest.mark.parametrize("status", ["finished", "diverged"])
def test_a_trial_whose_epochs_are_lost_is_pending_again(store, status):
    _, hole, start, empty, gone = jobs = plan_of(seed=range(5), n_subnetworks=(3,), epochs=(3,)).jobs
    for job, lost in zip(jobs, [(), (2,), (1,), (1, 2, 3), ()], strict=True):
        finish(store, job, status, lost)
    (store.path / "epochs" / f"{gone.config.trial_id}.parquet").unlink()
    assert pending(jobs, store) == [hole, start, empty, gone]


def test_more_values_leave_only_the_new_trials_pending(store):
    for job in plan_of().jobs:
        finish(store, job)
    more = plan_of(n_subnetworks=(1, 2, 3)).jobs
    assert {job.config.n_subnetworks for job in pending(more, store)} == {2}


def test_seeds_and_training_settings_share_one_timing(store):
    jobs = plan_of(seed=(0, 1, 2), learning_rate=(0.1, 0.2), epochs=(3, 4)).jobs
    chosen = untimed(jobs, store)
    assert [job.config.n_subnetworks for job in chosen] == [1, 3]
    time(store, jobs[-1])  # one of another seed and setting, N = 3
    assert [job.config.n_subnetworks for job in untimed(jobs, store)] == [1]


def test_time_in_training_is_no_timing_of_components(store):
    jobs = plan_of(seed=(0,)).jobs
    time(store, jobs[0], mode="wall")
    assert untimed(jobs, store) == jobs


def test_graphs_are_timed_apart(store):
    jobs = plan_of(n_subnetworks=(3,), seed=(0,), graphs=(False, True), available=GPUS).jobs
    time(store, jobs[0])
    assert untimed(jobs, store) == jobs[1:]


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("dataset", ("synthetic:1x8x8x4x64", "synthetic:1x16x16x4x64")),
        ("depth", (29, 38)),
        ("width", (2, 3)),
        ("batch_size", (8, 16)),
        ("n_coarse_units", (1, 2)),
        ("preprocess", ("strided", "patch")),
        ("n_iterations", (1, 2)),
    ],
)
def test_whatever_changes_a_components_time_is_timed_apart(store, option, values):
    jobs = plan_of(n_subnetworks=(3,), seed=(0,), **{option: values}).jobs
    assert untimed(jobs, store) == jobs
    time(store, jobs[0])
    assert untimed(jobs, store) == jobs[1:]


# What is printed


def test_the_papers_plan_is_readable_on_a_terminal_of_80_columns():
    sweep = replace(PRESETS["cifar10"], n_subnetworks=(1, 18), dataset=("synthetic:3x32x32x10x128",))
    text = table_of(make_plan(sweep, Options(), Available(cpus=19, gpus=0)))
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "2 trials on 19 cores, 0 GPUs" in text
    for cell in ("10,327,706", "333", "17 × 19 + 10", "19 × 1 CPU", "0/1"):
        assert cell in text


def test_uneven_partitions_fold_and_leave_the_rest_readable(known_costs):
    changes = {"n_subnetworks": (18,), "seed": (0,), "depth": (164,), "coarse": ("shortcut",)}
    changes |= {"dataset": ("digits",)}
    costs = known_costs(plan_of(**changes).jobs, [0])
    plan = make_plan(replace(SMALL, **changes, partition=("staggered",)), OPTIONS, CORES, costs)
    text = table_of(plan)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert "ResNet-164" in text
    assert text.count("+") == sizes_text(plan.jobs[0].tearing.sizes).count("+") > 3


def test_the_plan_counts_what_is_done_and_shows_seeds_as_one_row(store):
    plan = plan_of(seed=(0, 1, 2))
    finish(store, plan.jobs[0])  # N = 1
    rows = [line for line in table_of(plan, store).splitlines() if line.startswith("N = ")]
    assert [line.split()[-1] for line in rows] == ["1/3", "0/3"]


@pytest.mark.parametrize("width", [40, 80])
def test_the_plan_says_what_it_understood_the_data_to_be(width):
    text = table_of(plan_of(train_subset=(None, 32)), width=width)
    assert max(map(len, text.splitlines())) <= width
    for n in (64, 32):
        line = f"synthetic:1x8x8x4x64: train {n}, validation 16 images, 1×8×8, 4 classes; no crop, no flip"
        assert line in " ".join(text.split())


def test_a_job_knows_its_data_for_the_store(tmp_path):
    for split, n in (("train", 16), ("validation", 4), ("test", 2)):
        for i in range(n):
            file = tmp_path / split / "ab"[i % 2] / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16), (i, 0, 0)).save(file)
    plan = plan_of(
        dataset=(f"image_folder:{tmp_path}",), n_subnetworks=(1,), seed=(0,), random_crop=("auto", "on")
    )
    known = {"n_train": 16, "n_validation": 4, "n_test": 2, "input_shape": "3×16×16", "n_classes": 2}
    (images,) = plan.data.values()
    known |= {"classes": '["a", "b"]', "data_fingerprint": images.fingerprint, "code_fingerprint": ""}
    known |= {"initial_fingerprint": None, "vocabulary": None, "data_code_fingerprint": ""}
    known |= {"n_validation_shared": 4, "n_test_shared": 2}  # of images by number
    assert [job.data for job in plan.jobs] == [
        known | {"crop": 0, "flip": False},
        known | {"crop": 2, "flip": False},
    ]
    text = " ".join(table_of(plan, width=200).split())
    assert "train 16, validation 4, test 2 images, 3×16×16, 2 classes; crop 2, no flip" in text
    assert f"image_folder:{tmp_path}: validated on its split validation" in text
    assert f"image_folder:{tmp_path}: tested once, at the end, on its split test" in text
    assert "4 of the validation samples are training samples too, bit for bit" in text


def test_the_plan_folds_on_a_narrow_terminal_and_drops_nothing():
    text = table_of(plan_of(learning_rate=(0.1, 0.2)), width=40)
    assert max(map(len, text.splitlines())) <= 40
    assert "…" not in text
    assert "N = 3, learning rate 0.2\n" in text
    assert "units 3 × 3, N_c = 4" in text
    assert "0/2 done" in " ".join(text.split())


def test_the_largest_actor_may_be_the_driver():
    plan = plan_of(n_subnetworks=(9,), seed=(0,), n_coarse_units=(2,))
    tearing = plan.jobs[0].tearing
    driver = sum(tearing.coarse_parameters) + tearing.network.trace.postprocess_parameters
    assert driver > max(tearing.preprocess_parameters) + max(tearing.subnetwork_parameters)
    assert f"{driver:,}" in table_of(plan)


def test_a_serial_trial_has_one_actor_with_all_parameters():
    plan = plan_of(n_subnetworks=(3,), seed=(0,), strategy=("serial",))
    (row,) = [line for line in table_of(plan).splitlines() if line.startswith("N = 3")]
    assert row.count(f"{plan.jobs[0].tearing.n_parameters:,}") == 2
    assert "1 × 1 CPU" in row


def test_strategies_stand_beside_each_other_in_the_plan_with_the_parameters_they_have():
    strategies = ("parareal", "data_parallel", "gpipe", "1f1b")
    plan = plan_of(n_subnetworks=(1, 3), seed=(0,), strategy=strategies)
    assert "…" not in table_of(plan)
    lines = table_of(plan).splitlines()
    rows = {line.split("  ")[0]: line for line in lines if line.startswith("N = ")}
    assert list(rows) == [
        "N = 1",
        *(f"N = 3, {name}" for name in ("parareal", "data parallel", "GPipe", "1F1B")),
    ]
    rows = dict(zip(["serial", *strategies], rows.values(), strict=True))
    serial = f"{plan.jobs[0].tearing.n_parameters:,}"
    assert rows["data_parallel"].count(serial) == 2  # every worker has them all
    for strategy in ("gpipe", "1f1b"):
        assert rows[strategy].count(serial) == 1
        assert "3 × 3" in rows[strategy]
        assert "3 × 1 CPU" in rows[strategy]
    assert serial not in rows["parareal"]


def test_a_pipelines_stages_hold_the_serial_networks_parameters_and_no_more():
    (job,) = plan_of(n_subnetworks=(3,), seed=(0,), strategy=("gpipe",)).jobs
    trace = job.tearing.network.trace
    ends = trace.preprocess_parameters + trace.postprocess_parameters
    assert job.tearing.n_parameters == ends + sum(trace.unit_parameters)
    last = sum(trace.unit_parameters[6:]) + trace.postprocess_parameters
    assert last > sum(trace.unit_parameters[3:6])
    assert f"{last:,}" in table_of(plan_of(n_subnetworks=(3,), seed=(0,), strategy=("gpipe",)))


def test_only_torn_networks_have_components_to_time(store):
    jobs = plan_of(n_subnetworks=(3,), seed=(0,), strategy=("parareal", "data_parallel", "gpipe")).jobs
    assert [job.config.strategy for job in untimed(jobs, store)] == ["parareal"]


@pytest.mark.parametrize(
    ("sizes", "text"),
    [((18,), "18"), ((6,) * 3, "3 × 6"), ((56,) * 5 + (53,), "5 × 56 + 53"), ((2, 3, 3, 2), "2 + 2 × 3 + 2")],
)
def test_sizes_for_a_reader(sizes, text):
    assert sizes_text(sizes) == text
