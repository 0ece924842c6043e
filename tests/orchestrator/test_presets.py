from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from models.parareal import PararealNetwork
from orchestrator.config import Options
from orchestrator.devices import Available
from orchestrator.plan import first_inputs, make_plan
from orchestrator.presets import PRESETS


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_the_papers_experiments(dataset):
    """Section 5 and Table 1, to the letter."""
    trials = PRESETS[dataset].trials()
    assert [t.n_subnetworks for t in trials] == [1, 3, 6, 12, 18]
    assert [t.n_coarse_units for t in trials] == [12, 4, 2, 1, 1]  # ⌈12 / N⌉
    for trial in trials:
        assert trial.dataset == dataset
        assert (trial.network, trial.depth, trial.width) == ("resnet", 1001, 16)
        assert (trial.partition, trial.preprocess, trial.coarse) == ("uniform", "strided", "units")
        assert (trial.epochs, trial.batch_size) == (200, 128)
        assert (trial.learning_rate, trial.schedule, trial.milestones) == (0.1, "step", (80, 120))
        assert (trial.momentum, trial.weight_decay) == (0.9, 5e-4)
        assert (trial.augment, trial.train_subset, trial.validation_subset) == (True, None, None)
        assert trial.precision == "float32"


def test_cifar100_is_cifar10_on_another_data_set():
    assert PRESETS["cifar100"] == replace(PRESETS["cifar10"], dataset=("cifar100",))


def test_quickstart_needs_no_download_and_compares_numbers_of_subnetworks():
    trials = PRESETS["quickstart"].trials()
    assert {t.dataset for t in trials} == {"digits"}
    by_n = [(n, seed) for n in (1, 2, 6) for seed in (0, 1, 2)]
    assert sorted((t.n_subnetworks, t.seed) for t in trials) == by_n


def test_table_2_times_the_papers_networks_and_trains_none():
    trials = PRESETS["table2"].trials()
    assert [t.n_subnetworks for t in trials] == [1, 3, 6, 12, 18, 24]
    assert [t.n_coarse_units for t in trials] == [12, 4, 2, 1, 1, 1]
    for trial in trials:
        assert (trial.network, trial.depth, trial.width) == ("resnet", 1001, 16)
        assert (trial.preprocess, trial.coarse) == ("strided", "units")
        assert (trial.epochs, trial.strategy) == (0, "serial")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A folder like ImageNet's: two classes, to train on and to validate, no two of a size."""
    folder, rng = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for i in range(12):
        file = folder / ("val" if i < 4 else "train") / f"n0144{i % 2}" / f"{i}.jpeg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (50 + i, 60, 3), dtype=np.uint8)).save(file)
    return f"image_folder:{folder}"


@pytest.mark.parametrize(("name", "size"), [("vgg16", 32), ("imagenet", 48)])
def test_the_full_articles_networks_are_torn_and_run_on_a_small_sample(name, size, photographs):
    sweep = PRESETS[name].but(dataset=photographs, image_size=size, width=4, batch_size=4)
    plan = make_plan(sweep, Options(), Available(cpus=8, gpus=0))
    assert [job.tearing.sizes for job in plan.jobs] == [(12,), (6, 6), (4, 4, 4)]
    (data,) = plan.data.values()
    for job in plan.jobs:
        assert job.data["crop"] == (size // 8 if name == "imagenet" else 0)
        network = PararealNetwork(job.tearing)
        network(first_inputs(job.config, data)).square().sum().backward()
        gradients = [parameter.grad for parameter in network.parameters()]
        assert all(g is not None and torch.isfinite(g).all() and g.any() for g in gradients)
