"""What components cost is measured once, and then stays what it is."""

import json
from dataclasses import replace
from math import isfinite

import pytest
import ray
import torch
from torch import nn

from analysis.reading import SEAL, UnreadableError, sealed
from models.feedforward import FeedForward
from orchestrator.config import Options, Sweep
from orchestrator.costs import Costs, key_of
from orchestrator.devices import Available, GangResources
from orchestrator.plan import make_plan
from tests.unreadable import make_unreadable

SMALL = Sweep(
    n_subnetworks=(3,),
    seed=(0,),
    depth=(29,),
    width=(2,),
    dataset=("synthetic:1x8x8x4x64",),
    batch_size=(16,),
)
CORES = Available(cpus=8, gpus=0)


def job_of(**changes):
    (job,) = make_plan(replace(SMALL, **changes), Options(), CORES).jobs
    return job


def profile(costs, job, n_coarse_units):
    return costs.profile(job.config, job.tearing.network, job.resources, n_coarse_units)


def key(job, *, config=None, **resources):
    return key_of(config or job.config, job.tearing.network, replace(job.resources, **resources))


def own_network(*, width=3, n_in_c=1):
    """Of the user's, whose code may change while its name stays."""
    return FeedForward(
        lambda: nn.Sequential(*(nn.Linear(2, 2) for _ in range(n_in_c))),
        [lambda: nn.Sequential(nn.Linear(2, width), nn.Linear(width, 2))] * 4,
        lambda: nn.Linear(2, 2),
        (2,),
    )


# What is in the store already


def test_a_profile_of_the_store_is_used_to_the_last_bit_and_kept(known_costs, tmp_path):
    job = job_of()
    costs = known_costs([job], [1, 4])
    (file,) = (tmp_path / "costs").iterdir()
    before = file.read_bytes()
    first = profile(costs, job, [4])
    costs.save()
    assert file.read_bytes() == before
    assert profile(Costs(tmp_path), job, [1, 4]) == first
    assert not ray.is_initialized()


def test_a_profile_that_cannot_be_read_or_is_damaged_is_refused_and_stays(known_costs, tmp_path):
    job = job_of()
    costs = known_costs([job], [1])
    (file,) = (tmp_path / "costs").iterdir()
    whole = file.read_bytes()
    for content in (whole[:-9], b"{}", b"[]", b'{"shapes": [[1]]}', b"\xff"):
        file.write_bytes(content)
        with pytest.raises(
            ValueError, match=rf"^{file} is no profile of costs \(.*\): remove it to have them"
        ):
            profile(costs, job, [1])
        assert file.read_bytes() == content
    make_unreadable(file)
    with pytest.raises(UnreadableError):
        profile(costs, job, [1])


def test_a_digit_that_has_changed_in_a_profile_is_noticed(known_costs, tmp_path):
    job = job_of()
    (file,) = known_costs([job], [1]) and (tmp_path / "costs").iterdir()
    text = sealed(json.loads(file.read_text()))  # as measured profiles are kept
    file.write_text(text)
    assert profile(Costs(tmp_path), job, [1]).batch_size == 16
    for change in (('"batch_size": 16', '"batch_size": 17'), (f'"{SEAL}"', '"sha255"')):
        file.write_text(text.replace(*change))
        with pytest.raises(ValueError, match=r"is no profile of costs \(.*(checksum|holds).*\): remove it"):
            profile(Costs(tmp_path), job, [1])


def test_seeds_settings_and_ways_to_tear_share_a_profile(known_costs):
    job = job_of()
    for changes in (
        {"seed": (1,)},
        {"learning_rate": (0.5,)},
        {"epochs": (99,)},
        {"n_coarse_units": (1,)},
        {"n_subnetworks": (2,)},
        {"strategy": ("serial",)},
    ):
        assert key(job_of(**changes)) == key(job)


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": (8,)},
        {"precision": ("float64",)},
        {"precision": ("bfloat16",)},
        {"channels_last": (True,)},
        {"depth": (38,)},
        {"width": (4,)},
        {"preprocess": ("patch",)},
        {"coarse": ("shortcut",)},
        {"dataset": ("synthetic:1x16x16x4x64",)},
        {"dataset": ("synthetic:1x8x8x9x64",)},
    ],
)
def test_whatever_changes_a_cost_has_a_profile_of_its_own(changes):
    assert key(job_of(**changes)) != key(job_of())


def test_devices_and_their_threads_have_profiles_of_their_own():
    job = job_of()
    keys = {key(job), key(job, device="cuda", gpus=1.0), key(job, cpus=2.0)}
    assert len(keys) == 3
    assert key(job, n_actors=9) == key(job, cpus=0.25) == key(job)
    assert key(job, device="cuda", gpus=0.25) == key(job, device="cuda", gpus=1.0)  # a whole one is measured


def test_options_that_came_later_leave_the_profiles_of_a_store_their_names():
    strided = {"preprocess": ("strided",)}  # the default in those days
    job, gpu = job_of(**strided), {"device": "cuda", "gpus": 1.0}
    assert (key(job), key(job, **gpu)) == ("ResNet-29-cpu-9b50801a7c", "ResNet-29-cuda-2dfae98250")
    fast = job_of(precision=("bfloat16",), channels_last=(True,), compiled=(True,), **strided)
    assert key(fast, **gpu) == "ResNet-29-cuda-5df3d74357"


@pytest.mark.parametrize("changes", [{"graphs": True}, {"precision": "tf32"}])
def test_what_gpus_alone_do_has_a_profile_of_its_own(changes):
    job, gpu = job_of(), {"device": "cuda", "gpus": 1.0}
    assert key(job, config=replace(job.config, **changes), **gpu) != key(job, **gpu)


def test_an_own_network_that_changes_is_measured_anew():
    config, resources = job_of().config, GangResources(4, "cpu", 1.0, 0.0)
    networks = (own_network(), own_network(width=4), own_network(n_in_c=2))
    assert len({key_of(config, network, resources) for network in networks}) == 3
    assert key_of(config, own_network(), resources) == key_of(config, own_network(), resources)


# What is measured


def test_what_is_missing_is_measured_and_what_is_known_does_not_move(known_costs, local_ray, tmp_path):
    job = job_of()
    known = profile(known_costs([job], [4]), job, [4])
    costs = Costs(tmp_path, repeats=1)
    more = profile(costs, job, [4, 1])
    assert replace(more, coarse=known.coarse) == known
    assert more.coarse.items() >= known.coarse.items()
    measured = [cost for (_, _, n), cost in more.coarse.items() if n == 1]
    assert len(measured) == len(known.coarse)
    assert all(0 < cost.total < 60 and isfinite(cost.total) for cost in measured)
    costs.save()
    assert profile(Costs(tmp_path), job, [1, 4]) == more


def test_what_cannot_be_measured_is_refused_in_a_line(local_ray, tmp_path):
    class Greedy(nn.Linear):
        def forward(self, x):
            if len(x) > 2:
                raise torch.OutOfMemoryError("no memory left")
            return super().forward(x)

    network = FeedForward(nn.Identity(), [lambda: Greedy(2, 2)] * 2, nn.Identity(), (2,), name="greedy")
    job = job_of()
    with pytest.raises(
        ValueError, match=r"what greedy costs with batches of 16 on cpu .*no memory left"
    ) as error:
        Costs(tmp_path).profile(job.config, network, job.resources, [])
    assert str(error.value).endswith("lower --batch-size")
    assert len(str(error.value).splitlines()) == 1
