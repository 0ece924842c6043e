from dataclasses import replace

import pytest

from orchestrator.changes import refuse_changed
from orchestrator.config import Options, Sweep
from orchestrator.devices import Available
from orchestrator.plan import make_plan
from orchestrator.storage.store import Store
from orchestrator.trial import Job, record_untrained
from tests.orchestrator.data.files import noise, write_folder

SMALL = Sweep(n_subnetworks=(1,), seed=(0,), network=("mlp",), depth=(4,), width=(4,), batch_size=(2,))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def folder(tmp_path):
    images = noise(6)
    names = [
        f"{split}/{c}/{i}.png" for split, n in (("train", 2), ("val", 1)) for c in "ab" for i in range(n)
    ]
    return write_folder(tmp_path / "pets", dict(zip(names, images, strict=True)))


def jobs_of(folder, **changes) -> list[Job]:
    sweep = replace(SMALL, dataset=(f"image_folder:{folder}",), **changes)
    return make_plan(sweep, Options(), Available(cpus=8, gpus=0)).jobs


def keep(store, jobs, **changes):
    for job in jobs:
        record_untrained(job, store)
        (row,) = store.read("trials", job.config.trial_id)
        store.write("trials", job.config.trial_id, [row | changes])


def test_the_same_data_go_on(store, folder):
    keep(store, jobs_of(folder))
    for file in folder.rglob("*.png"):
        file.touch()
    refuse_changed(jobs_of(f"{folder}/", seed=(0, 1)), store)


def test_other_images_under_the_same_name_stop_the_command(store, folder):
    keep(store, jobs_of(folder), status="running")
    (folder / "train/a/0.png").rename(folder / "train/b/moved.png")  # relabelled
    for seed in (0, 1):
        with pytest.raises(
            ValueError, match=r"pets is not what 1 trials in .*: give --store another folder, or"
        ):
            refuse_changed(jobs_of(folder, seed=(seed,)), store)
    refuse_changed(jobs_of(folder, image_mode=("grey",)), store)  # another set of images, known as one


def test_images_of_a_trial_that_kept_no_fingerprint_may_be_any(store, folder):
    keep(store, jobs_of(folder), data_fingerprint=None, image_mode=None)
    with pytest.raises(ValueError, match=r"\(then unknown, now [0-9a-f]{16}\): give --store"):
        refuse_changed(jobs_of(folder), store)


def test_a_published_set_is_known_by_its_name(store):
    jobs = make_plan(replace(SMALL, dataset=("digits",)), Options(), Available(cpus=8, gpus=0)).jobs
    keep(store, jobs, data_fingerprint=None)
    refuse_changed(jobs, store)


def test_another_code_of_ones_own_network_stops_the_command_unless_it_is_accepted(store, folder):
    (job,) = jobs_of(folder)
    config = replace(job.config, network="my.nets:net")
    keep(store, [replace(job, config=config, data=job.data | {"code_fingerprint": "then"})])
    now = replace(job, config=replace(config, seed=1), data=job.data | {"code_fingerprint": "now"})
    with pytest.raises(
        ValueError, match=r"the code of my.nets:net is not what 1 trials .*--accept-changed-code"
    ):
        refuse_changed([now], store)
    refuse_changed([now], store, accept_changed_code=True)
    refuse_changed([replace(now, data=job.data | {"code_fingerprint": "then"})], store)
    refuse_changed([job], store)  # of another network
