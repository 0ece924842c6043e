import io
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import ray
from PIL import Image
from rich.console import Console

from analysis.frames import StoreWarning
from orchestrator.arguments import parse
from orchestrator.config import Options, Sweep
from orchestrator.devices import local_devices
from orchestrator.plan import make_plan
from orchestrator.presets import PRESETS
from orchestrator.running import conclude
from orchestrator.storage.store import Store, StoreError
from orchestrator.sweep import main
from orchestrator.trial import record_untrained
from tests.orchestrator.conftest import ALL_N_C
from tests.unreadable import make_readable, make_unreadable

SMALL = ["--dataset", "synthetic:1x8x8x4x64", "--depth", "29", "--width", "2", "--n-subnetworks", "1", "3"]
SMALL += ["--partition", "uniform", "--coarse", "units"]
SMALL += ["--batch-size", "4"]  # a dry run measures every share of it


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


# What is understood


def test_without_options_it_is_the_quickstart():
    asked = parse([])
    assert asked.preset == "quickstart"
    assert asked.sweep == PRESETS["quickstart"]
    assert asked.options == Options()


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("form", [["--preset", "{}"], ["--preset={}"]])
def test_a_preset_is_a_start_that_options_override(name, form):
    preset = [word.format(name) for word in form]
    assert parse(preset).sweep == PRESETS[name]
    asked = parse(["--n-subnetworks", "24", *preset, "--seed", "1", "2", "3"])
    assert asked.preset == name
    assert asked.sweep == replace(PRESETS[name], n_subnetworks=(24,), seed=(1, 2, 3))


def test_every_option_takes_several_values():
    asked = parse(
        [
            *("--dataset", "digits", "parquet:/a/b", "--network", "resnet", "my.module:net"),
            *("--learning-rate", "0.1", "1e-2", "1", "--milestones", "3", "5", "--augment", "True", "False"),
            *("--depth", "None", "56", "--train-subset", "400", "None", "--n-coarse-units", "None", "2"),
            *("--schedule", "cosine", "step", "--precision", "float64", "--strategy", "serial", "parareal"),
        ]
    ).sweep
    assert asked.dataset == ("digits", "parquet:/a/b")
    assert asked.network == ("resnet", "my.module:net")
    assert asked.learning_rate == (0.1, 0.01, 1.0)
    assert asked.milestones == (3, 5)
    assert asked.augment == (True, False)
    assert asked.depth == (None, 56)
    assert asked.train_subset == (400, None)
    assert asked.n_coarse_units == (None, 2)
    assert asked.schedule == ("cosine", "step")
    assert asked.precision == ("float64",)
    assert asked.strategy == ("serial", "parareal")


def test_options_of_the_run_are_no_part_of_the_sweep():
    asked = parse(["--store", "s", "--devices", "cpu", "--cpus-per-actor", "0.5", "--timeout", "7"])
    assert asked.sweep == PRESETS["quickstart"]
    assert asked.options == Options(store="s", devices="cpu", cpus_per_actor=0.5, timeout=7.0)
    assert parse(["--dry-run"]).options == Options(dry_run=True)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--n-subnetwork", "3"], "--n-subnetwork"),
        (["--batch-size", "many"], "--batch-size"),
        (["--schedule", "linear"], "linear"),
        (["--preset", "imagenet22k"], "imagenet22k"),
        (["--preset"], "--preset"),
    ],
)
def test_what_is_not_understood_is_named_and_exits_with_2(capsys, arguments, named):
    with pytest.raises(SystemExit) as exit_:
        parse(arguments)
    assert exit_.value.code == 2
    assert named in "".join(capsys.readouterr())


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as exit_:
        parse(["--help"])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    for name in (*vars(Sweep()), *vars(Options()), "preset"):
        assert f"--{name.replace('_', '-')}" in text


# What is done without Ray


def test_a_dry_run_prints_the_plan_and_leaves_nothing_behind(tmp_path, capsys):
    units_of_one_shape = ["--network", "mlp", "--depth", "11", "--width", "4"]  # each shape is measured
    assert main([*SMALL, *units_of_one_shape, "--dry-run"]) == 0
    output = capsys.readouterr()
    assert "6 trials" in output.out
    assert "3 × 3" in output.out
    assert output.err == ""
    assert list(tmp_path.iterdir()) == []
    assert not ray.is_initialized()


def dry_run_of_what_is_known(arguments, known_costs, capsys):
    """Output of a dry run on this folder as store, which holds what components cost: without Ray."""
    arguments = [*arguments, "--store", "."]
    Path("trials").mkdir(exist_ok=True)  # so it is a store, whatever else is there
    known_costs(make_plan(parse(arguments).sweep, Options(), local_devices()).jobs, ALL_N_C, all_ways=True)
    assert main([*arguments, "--dry-run"]) == 0
    return capsys.readouterr().out


def test_a_dry_run_counts_what_the_store_holds(capsys, known_costs):
    store = Store(".")
    for job in make_plan(parse(SMALL).sweep, Options(), local_devices()).jobs:
        row = {"trial_id": job.config.trial_id}
        store.write("trials", job.config.trial_id, [{**row, "status": "finished"}])
        epochs = [{**row, "epoch": epoch + 1} for epoch in range(job.config.epochs)]
        store.write("epochs", job.config.trial_id, epochs)
    assert dry_run_of_what_is_known(SMALL, known_costs, capsys).count("3/3") == 2


def test_a_path_with_brackets_is_shown_as_it_is(tmp_path, capsys, known_costs):
    folders = ("[/old]", "[bold]")
    for i, name in enumerate(("train/a", "train/b", "validation/a")):
        for folder in folders:
            place = tmp_path / folder / name
            place.mkdir(parents=True)
            Image.fromarray(np.full((8, 8), i, np.uint8)).save(place / "1.png")
    data = ["--dataset", *(f"image_folder:{folder}" for folder in folders), "--batch-size", "2"]
    small = ["--n-subnetworks", "1", "--depth", "11", "--width", "2"]
    output = dry_run_of_what_is_known([*data, *small], known_costs, capsys).replace("\n", "")
    for folder in folders:
        assert f"{folder}: train 2, validation 1 images" in output


def test_a_sweep_whose_results_are_gone_from_the_store_has_not_finished(tmp_path):
    plan = make_plan(parse([*SMALL, "--seed", "0"]).sweep, Options(), local_devices())
    store = Store(tmp_path / "store")
    for job in plan.jobs:
        record_untrained(job, store)
        rows = [{"trial_id": job.config.trial_id, "epoch": 1 + i} for i in range(job.config.epochs)]
        store.write("epochs", job.config.trial_id, rows)
    told = io.StringIO()
    assert conclude(plan, store, Console(file=told)) == 0
    lost = store.path / "epochs" / f"{plan.jobs[0].config.trial_id}.parquet"
    lost.unlink()
    assert conclude(plan, store, Console(file=told)) == 1
    assert "the same command tries again what failed" in told.getvalue()
    lost.write_bytes(b"damaged")
    with pytest.warns(StoreWarning), pytest.raises(StoreError, match=f"^{lost} is damaged"):
        conclude(plan, store, Console(file=told))


def refused(capsys, arguments):
    """The message of a command that is refused, known to be all that it prints."""
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: ")
    assert len(output.err.splitlines()) <= 2
    assert not ray.is_initialized()
    return output.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--n-subnetworks", "100"], "100 subnetworks need at least 100 units"),
        (["--n-subnetworks"], "--n-subnetworks: give at least one value"),
        (["--learning-rate", "0"], "--learning-rate 0.0: give a positive number"),
        (["--depth", "30"], "depth 30 is not 9n + 2"),
        (["--dataset", "digit"], "did you mean digits?"),
        (["--network", "[bold]"], "unknown network '[bold]'"),  # no markup of the terminal's
        (["--cpus-per-actor", "1000"], "a serial network needs 1 × 1000 = 1000 cores"),
        (["--dataset", "image_folder:caf\udce9"], "is not UTF-8: rename it"),
        (["--width", "-1"], "--width -1: give 1 or more, or None"),
    ],
)
def test_a_refusal_says_why_and_makes_nothing(tmp_path, capsys, arguments, message):
    assert message in refused(capsys, [*SMALL, *arguments])
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_cannot_be_used_is_a_refusal(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert "is a file, not a folder" in refused(capsys, [*SMALL, "--store", "file"])
    assert "begins with no user's home folder" in refused(capsys, [*SMALL, "--store", "~nobody-here/x"])
    costly = ["--partition", "balanced", "--store", "file"]  # refused before anything is measured
    assert "is a file, not a folder" in refused(capsys, [*SMALL, *costly])
    store = Store("held")
    with store.lock():
        assert "another sweep is running on" in refused(capsys, [*SMALL, "--store", "held"])


def test_what_ray_would_stumble_over_is_a_refusal_before_a_store_is_made(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", f"/tmp/{'x' * 90}")
    assert "characters too long for its sockets" in refused(capsys, SMALL)
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_cannot_be_read_just_now_is_a_refusal_that_changes_nothing(tmp_path, capsys):
    store = Store(tmp_path / "store")
    store.write("epochs", "a", [{"epoch": 1}])
    path = make_unreadable(store.path / "epochs" / "a.parquet")
    assert f"{path} cannot be read (" in refused(capsys, [*SMALL, "--store", "store"])
    make_readable(path)
    assert len(store.read("epochs", "a")) == 1


@pytest.mark.parametrize("name", ["models", "analysis"])
@pytest.mark.parametrize("kind", ["file", "package"])
def test_a_file_of_the_users_that_hides_a_package_of_ours_is_named(tmp_path, name, kind):
    hiding = tmp_path / f"{name}.py" if kind == "file" else tmp_path / name / "__init__.py"
    hiding.parent.mkdir(exist_ok=True)
    hiding.write_text("X = 1")
    message = f"{hiding} hides this project's {name}: rename it\n"
    run = partial(subprocess.run, capture_output=True, text=True, cwd=tmp_path)
    for module in ("orchestrator.sweep", "orchestrator.status"):
        done = run([sys.executable, "-m", module, "--help"])
        assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {message}")
    done = run([sys.executable, "-c", "import orchestrator.config"])
    assert done.stderr.endswith(f"ImportError: {message}")


def test_a_cluster_that_does_not_answer_is_a_refusal_within_seconds(capsys):
    start = time.monotonic()
    assert "no Ray cluster answers at 127.0.0.1:9: start one" in refused(capsys, ["--address", "127.0.0.1:9"])
    assert time.monotonic() - start < 10


def test_refused_by_the_command_itself_without_a_traceback(tmp_path):
    """As a shell sees it; nothing of Ray is running afterwards because it never started."""
    code = (
        "import sys, ray; ray.init = None; from orchestrator.sweep import main; status = main(sys.argv[1:]);"
        "assert 'ray.tune' not in sys.modules; sys.exit(status)"
    )
    command = [sys.executable, "-c", code, *SMALL, "--batch-size", "1000"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "error: --batch-size 1000 is more than the 64 training samples of synthetic:1x8x8x4x64: lower it"
    ]
    assert list(tmp_path.iterdir()) == []
