"""Gangs on a cluster of several hosts: raylets of one machine that claim GPUs."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import ray
from ray._private.state import actors
from ray.cluster_utils import Cluster
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group

from orchestrator import cluster
from orchestrator.actors.gang import Gang
from orchestrator.alone import run_alone
from orchestrator.data.datasets import load_dataset
from orchestrator.devices import Available, GangResources, gang_resources
from orchestrator.plan import describe, tear_as_asked


@pytest.fixture(scope="module")
def hosts() -> Iterator[Available]:
    """A head without GPUs, and hosts with one, four and two."""
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 0})
    try:
        for n_gpus in (1, 4, 2):
            started.add_node(num_cpus=2 * n_gpus, num_gpus=n_gpus)
        cluster.connect(started.address)
        yield cluster.devices(pytest.fail)
    finally:
        cluster.disconnect()
        started.shutdown()


@pytest.fixture
def seen(hosts: Available, trial):
    """Runs an epoch of a gang of N; returns what is seen of each actor, driver first.

    The actors reserve GPUs, but compute on processor cores.
    """

    def run(n: int, see: Callable[[Any], Any], **options: Any) -> list[Any]:
        config = trial(n_subnetworks=n, depth=47, epochs=1)
        resources = gang_resources(n, devices="cuda", cpus_per_actor=None, available=hosts, **options)
        images = load_dataset(config.dataset, train_subset=24, validation_subset=20)
        group = placement_group(resources.bundles)
        try:
            tearing = tear_as_asked(config, describe(config, images))
            on_cores = replace(resources, device="cpu")
            with Gang(config, tearing, ray.put(images), on_cores, group) as gang:
                gang.connect(timeout=60)
                assert gang.run_epoch(1)["driver"].completed
                return [see(actor) for actor in gang.actors]
        finally:
            remove_placement_group(group)

    return run


def gpus_of(host: str) -> int:
    (node,) = [node for node in ray.nodes() if node["NodeID"] == host]
    return int(node["Resources"].get("GPU", 0))


def gpus_where(actor) -> int:
    """How many GPUs the host of the actor has."""
    return gpus_of(actors(actor._actor_id.hex())["Address"]["NodeID"])


def own_gpu(actor) -> str:
    """What the actor's process sees of GPUs."""
    return ray.get(actor.share_gpu.remote(GangResources(1, "cpu", cpus=1, gpus=0))).shared_gpu


def test_every_host_is_seen(hosts: Available) -> None:
    seen = sorted((host.cpus, host.gpus) for host in hosts.hosts)
    assert seen == [(1, 0), (2, 1), (4, 2), (8, 4)]


@pytest.mark.parametrize(("n", "expected"), [(3, [4] * 4), (5, [4] * 4 + [2] * 2)])
def test_a_gang_has_its_places_on_as_few_hosts_as_hold_it(hosts: Available, n, expected) -> None:
    resources = gang_resources(n, devices="cuda", cpus_per_actor=None, available=hosts)
    group = placement_group(resources.bundles)
    try:
        assert group.wait(20)
        host_of = placement_group_table(group)["bundles_to_node_id"]
        assert [gpus_of(host_of[resources.bundle(place)]) for place in range(n + 1)] == expected
    finally:
        remove_placement_group(group)


def test_a_driver_shares_a_gpu_with_the_smallest_subnetwork(seen):
    assert seen(4, gpus_where, driver_shares_gpu=True) == [4] * 5


def test_two_gangs_do_not_wait_for_each_other_where_both_fit(hosts: Available) -> None:
    large, small = (
        placement_group(gang_resources(n, devices="cuda", cpus_per_actor=None, available=hosts).bundles)
        for n in (3, 1)
    )
    try:
        assert large.wait(20)
        assert small.wait(20)
    finally:
        for group in (large, small):
            remove_placement_group(group)


def test_more_gpus_than_there_are_on_all_hosts_are_refused(hosts: Available) -> None:
    with pytest.raises(ValueError, match="need 8 GPUs, there are 7: lower --n-subnetworks to 6 or"):
        gang_resources(7, devices="cuda", cpus_per_actor=None, available=hosts)
    assert isinstance(gang_resources(7, devices="cpu", cpus_per_actor=None, available=hosts), GangResources)


def test_so_many_actors_share_a_gpu_and_each_sees_that_one_alone(seen):
    gpus = seen(3, own_gpu, gpus_per_actor=0.3)
    assert all(gpu.isdecimal() for gpu in gpus)
    assert sorted(Counter(gpus).values()) == [1, 3]


def test_six_sixths_of_a_gpu_are_one(hosts: Available) -> None:
    resources = gang_resources(5, devices="cuda", cpus_per_actor=None, available=hosts, gpus_per_actor=1 / 6)
    group = placement_group(resources.bundles)
    try:
        assert group.wait(20)
    finally:
        remove_placement_group(group)


def test_where_gpus_are_shared_a_measurement_has_one_of_its_own(hosts: Available) -> None:
    shared = GangResources(3, "cpu", cpus=1.0, gpus=0.3)
    assigned = run_alone(
        lambda device: ray.get_runtime_context().get_assigned_resources(), shared, timeout=60
    )
    assert assigned["GPU"] == 1
