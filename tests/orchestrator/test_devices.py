import fcntl
import math
import os
import subprocess
import sys
import tempfile

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.devices import (
    HEAD_RESOURCE,
    Available,
    GangResources,
    _pin,
    gang_resources,
    local_devices,
    n_gpus,
    one_thread,
    settle_devices,
    take_device,
)
from orchestrator.storage.files import NO_LOCKS

CORES = os.sched_getaffinity(0)


def resources(n=3, *, devices=None, cpus_per_actor=None, cpus=8, gpus=0, **options):
    devices = devices or ("cuda" if gpus else "cpu")
    return gang_resources(
        n, devices=devices, cpus_per_actor=cpus_per_actor, available=Available(cpus, gpus), **options
    )


def test_this_machine():
    available = local_devices()
    assert available.cpus == len(CORES)
    assert available.gpus == torch.cuda.device_count()


def test_a_core_for_each_subnetwork_and_the_driver():
    assert resources(7) == GangResources(8, "cpu", 1.0, 0.0)


@pytest.mark.parametrize(("n", "cpus"), [(7, 2), (18, 2), (3, 3), (100, 64)])
def test_actors_that_do_not_fit_a_core_each_share_all_cores(n, cpus):
    gang = resources(n, cpus=cpus)
    assert gang.cpus < 1
    assert gang.cpus * gang.n_actors <= cpus
    assert gang.cpus * gang.n_actors > 0.95 * cpus
    assert gang.threads == 1


@pytest.mark.parametrize(("gpus", "expected"), [(0, "cpu"), (1, "cpu"), (6, "cpu"), (7, "cuda"), (8, "cuda")])
def test_auto_means_gpus_where_the_largest_gang_has_them(gpus, expected):
    assert settle_devices("auto", n_devices=7, available=Available(8, gpus)) == expected
    assert settle_devices("cuda", n_devices=7, available=Available(8, gpus)) == "cuda"
    assert settle_devices("cpu", n_devices=7, available=Available(8, gpus)) == "cpu"


def test_a_gpu_each():
    assert resources(3, gpus=4) == GangResources(4, "cuda", 1.0, 1.0)
    assert resources(3, gpus=4, devices="cpu") == GangResources(4, "cpu", 1.0, 0.0)


def test_a_serial_trial_is_one_actor():
    assert resources(18, cpus=2, strategy="serial") == GangResources(1, "cpu", 1.0, 0.0)
    assert resources(18, gpus=1, strategy="serial") == GangResources(1, "cuda", 1.0, 1.0)


@pytest.mark.parametrize("strategy", ["data_parallel", "gpipe", "1f1b"])
def test_workers_and_stages_need_no_driver(strategy):
    assert resources(3, strategy=strategy) == GangResources(3, "cpu", 1.0, 0.0)


def test_several_cores_an_actor_are_as_many_threads():
    gang = resources(3, cpus=8, cpus_per_actor=2)
    assert (gang.cpus, gang.threads) == (2, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 6, "gpus": 4}, r"6 subnetworks .* need 7 GPUs, there are 4: lower --n-subnetworks to 3 or "),
        ({"n": 6, "gpus": 4}, "to 3 or pass --devices cpu or --strategy serial or --gpus-per-actor 0.5$"),
        (
            {"n": 1, "gpus": 1},
            "there are 1: pass --devices cpu or --strategy serial or --gpus-per-actor 0.5$",
        ),
        ({"n": 18, "gpus": 1}, " or --gpus-per-actor 0.05$"),
        ({"n": 100, "gpus": 1}, "--strategy serial$"),  # a hundredth is too much
        (
            {"n": 18, "gpus": 4, "gpus_per_actor": 0.5},
            "need 10 GPUs, there are 4: lower --n-subnetworks to 7 or .* or --gpus-per-actor 0.2$",
        ),
        (
            {"n": 5, "gpus": 3, "driver_shares_gpu": True},
            " need 5 GPUs, there are 3: .* or --gpus-per-actor 0.5 in place of --driver-shares-gpu$",
        ),
        ({"n": 1, "devices": "cuda"}, "need 2 GPUs, there are 0: pass --devices cpu$"),
        ({"n": 6, "devices": "cuda", "strategy": "serial"}, "needs 1 GPUs, there are 0: pass --devices cpu$"),
        (
            {"n": 6, "gpus": 4, "strategy": "gpipe"},
            "^6 stages need 6 GPUs, .*: lower --n-subnetworks to 4 or ",
        ),
        ({"n": 6, "gpus": 4, "strategy": "data_parallel"}, "^6 workers need 6 GPUs, there are 4: lower"),
        ({"n": 3, "cpus_per_actor": 4}, "need 4 × 4 = 16 cores, there are 8: lower --cpus-per-actor$"),
        ({"n": 3, "gpus": 4, "cpus": 2, "cpus_per_actor": 1}, "need 4 × 1 = 4 cores, there are 2"),
    ],
)
def test_what_cannot_be_had_is_refused_with_numbers_and_remedy(options, message):
    with pytest.raises(ValueError, match=message) as error:
        resources(**options)
    assert "\n" not in str(error.value)


def test_bundles_are_the_coordinators_and_one_of_all_devices():
    assert resources(2).bundles == [{HEAD_RESOURCE: 0.001}, {"CPU": 3.0}]
    assert resources(1, gpus=2).bundles == [{HEAD_RESOURCE: 0.001}, {"CPU": 2.0, "GPU": 2.0}]


# Several hosts


def on_hosts(n, *hosts, devices="cuda", cpus_per_actor=None, **options):
    """A gang's resources on hosts of (cores, GPUs)."""
    available = Available.together(Available(*host) for host in hosts)
    return gang_resources(n, devices=devices, cpus_per_actor=cpus_per_actor, available=available, **options)


def test_a_cluster_has_what_its_hosts_have():
    available = Available.together([Available(4, 0), Available(8, 2), Available(6.5, 1)])
    assert (available.cpus, available.gpus, len(available.hosts)) == (18.5, 3, 3)


@pytest.mark.parametrize(
    ("n", "expected"),
    [(3, ()), (7, ()), (8, (8, 1)), (11, (8, 4)), (12, (8, 4, 1)), (13, (8, 4, 2))],
)
def test_a_gang_is_on_as_few_hosts_as_hold_it(n, expected):
    gang = on_hosts(n, (4, 0), (16, 2), (48, 4), (192, 8))
    assert gang.hosts == expected
    assert sum(bundle.get("GPU", 0) for bundle in gang.bundles) == gang.n_devices == n + 1
    assert gang.cpus == 1.0


def test_every_device_is_in_the_bundle_of_its_host():
    gang = on_hosts(6, (8, 3), (8, 2), (8, 2))
    assert gang.hosts == (3, 2, 2)
    assert [gang.bundle(device) for device in range(7)] == [1, 1, 1, 2, 2, 3, 3]
    assert [resources(2).bundle(device) for device in range(3)] == [1, 1, 1]


def test_cores_of_a_head_without_gpus_are_no_use_to_gpus():
    gang = on_hosts(3, (64, 0), (2, 4))
    assert gang.hosts == ()
    assert gang.cpus == 0.5
    with pytest.raises(ValueError, match="need 4 × 1 = 4 cores, there are 66 on 2 hosts, which hold 2: "):
        on_hosts(3, (64, 0), (2, 4), cpus_per_actor=1)


@pytest.mark.parametrize(
    ("gpus", "options", "expected"),
    [
        ((4, 4), {}, (3, 3)),  # not 4 and 2
        ((7, 4), {}, ()),
        ((2, 2, 2), {}, (2, 2, 2)),
        ((3, 3), {"driver_shares_gpu": True}, (2, 2)),
    ],
)
def test_a_replica_is_on_one_host_where_all_are(gpus, options, expected):
    gang = on_hosts(2, *((8, n) for n in gpus), n_replicas=2, **options)
    assert (gang.n_actors, gang.hosts) == (6, expected)
    assert gang.n_places == 2 * gang.n_places_of_replica == n_gpus(2, "parareal", n_replicas=2, **options)


def test_too_few_gpus_for_all_replicas():
    with pytest.raises(
        ValueError,
        match="2 replicas of 5 subnetworks and the driver need 12 GPUs, there are 8: "
        "lower --n-replicas or lower --n-subnetworks to 3 or ",
    ):
        on_hosts(5, (8, 8), n_replicas=2)


def test_cores_do_not_add_up_over_hosts():
    assert on_hosts(3, (2, 0), (2, 0), devices="cpu").hosts == (2, 2)
    assert on_hosts(3, (3, 0), (3, 0), devices="cpu", cpus_per_actor=1.5).hosts == (2, 2)
    with pytest.raises(ValueError, match="4 × 2 = 8 cores, there are 9 on 3 hosts, which hold 3: lower"):
        on_hosts(3, (3, 0), (3, 0), (3, 0), devices="cpu", cpus_per_actor=2)


@given(
    n=st.integers(1, 24),
    hosts=st.lists(st.tuples(st.integers(0, 16), st.integers(0, 8)), min_size=1, max_size=6),
    devices=st.sampled_from(["cpu", "cuda"]),
    share=st.none() | st.floats(0.01, 1) | st.integers(1, 100).map(lambda k: 1 / k),
)
def test_what_is_reserved_fits_host_by_host(n, hosts, devices, share):
    try:
        gang = on_hosts(n, *hosts, devices=devices, gpus_per_actor=share)
    except ValueError:
        assert devices == "cuda" or not any(cpus for cpus, _ in hosts)
        return
    _, *bundles = gang.bundles
    free = sorted(hosts, key=lambda host: host[::-1] if devices == "cuda" else host, reverse=True)
    # Whatever host a bundle goes to, largest first, what is left is enough for the rest.
    for bundle in bundles:
        fitting = [h for h in free if h[0] >= bundle["CPU"] - 1e-3 and h[1] >= bundle.get("GPU", 0)]
        assert fitting, (gang, hosts)
        free.remove(fitting[0])
        # What Ray can reserve: whole GPUs, or a share of one.
        gpus = bundle.get("GPU", 0)
        assert gpus <= 1 or gpus == int(gpus)
        assert gpus == round(gpus, 4)


# Several actors on a GPU


@pytest.mark.parametrize(
    ("n", "share", "gpus", "reserved"),
    [
        (3, 0.2, 1, 0.8),
        (4, 0.2, 1, 1.0),
        (5, 0.2, 2, 2.0),
        (5, 1 / 6, 1, 0.9996),  # Ray counts to four digits, and six of 0.1667 are more than one
        (5, 0.3, 2, 2.0),
        (6, 0.3, 3, 3.0),
        (3, 0.6, 4, 4.0),  # two do not fit one
        (3, 1, 4, 4.0),
    ],
)
def test_actors_share_gpus_but_none_spans_two(n, share, gpus, reserved):
    gang = resources(n, gpus=8, gpus_per_actor=share)
    assert gang.bundles[1:] == [{"CPU": n + 1, "GPU": reserved}]
    assert (gang.n_actors, gang.n_places, gang.n_devices) == (n + 1, n + 1, gpus)
    assert gang.gpus == pytest.approx(share, abs=1e-4)
    assert gang.gpus <= share
    assert n_gpus(n, "parareal", gpus_per_actor=share) == gpus
    assert resources(n, gpus=gpus, gpus_per_actor=share) == gang
    if gpus > 1:
        with pytest.raises(ValueError, match=f"need {gpus} GPUs, there are {gpus - 1}: "):
            resources(n, gpus=gpus - 1, gpus_per_actor=share)


def test_a_serial_trial_takes_its_share_only():
    gang = resources(6, gpus=1, strategy="serial", gpus_per_actor=0.25)
    assert (gang.gpus, gang.n_devices, gang.bundles[1]) == (0.25, 1, {"CPU": 1.0, "GPU": 0.25})


def test_gpus_are_shared_host_by_host():
    gang = on_hosts(9, (8, 2), (8, 1), gpus_per_actor=0.25)
    assert gang.hosts == (8, 2)
    assert gang.bundles[1:] == [{"CPU": 8.0, "GPU": 2.0}, {"CPU": 2.0, "GPU": 0.5}]
    assert gang.n_devices == 3
    assert [gang.bundle(place) for place in (0, 7, 8, 9)] == [1, 1, 2, 2]
    with pytest.raises(ValueError, match="need 4 GPUs, there are 3: lower --n-subnetworks to 11 or"):
        on_hosts(12, (8, 2), (8, 1), gpus_per_actor=0.25)


@given(n=st.integers(1, 200), there=st.integers(1, 16))
def test_a_share_that_is_offered_fits(n, there):
    try:
        resources(n, gpus=there, cpus=64)
    except ValueError as error:
        _, offered, share = str(error).partition(" or --gpus-per-actor ")
        if offered:
            assert resources(n, gpus=there, cpus=64, gpus_per_actor=float(share)).n_devices <= there
        else:
            assert math.ceil((n + 1) / there) > 100


def test_cores_are_not_shared_by_the_gpu():
    assert resources(3, devices="cpu", gpus=4, gpus_per_actor=0.25) == resources(3, devices="cpu", gpus=4)


def test_writing_into_another_gpus_memory_is_for_gpus():
    assert resources(3, gpus=4, cuda_ipc=True).cuda_ipc
    assert not resources(3, gpus=4).cuda_ipc
    assert not resources(3, cuda_ipc=True).cuda_ipc


# The driver and the smallest subnetwork on one GPU


def test_a_driver_that_shares_its_gpu_needs_none_of_its_own():
    gang = resources(4, gpus=4, driver_shares_gpu=True)
    assert (gang.n_actors, gang.n_devices, gang.driver_shares) == (5, 4, True)
    assert gang.bundles == [{HEAD_RESOURCE: 0.001}, {"CPU": 4.0, "GPU": 4.0}]
    with pytest.raises(ValueError, match="need 5 GPUs, there are 4: lower --n-subnetworks to 4 or"):
        resources(5, gpus=4, driver_shares_gpu=True)


@pytest.mark.parametrize("options", [{"devices": "cpu"}, {"strategy": "gpipe"}, {"strategy": "serial"}])
def test_without_a_gpu_or_a_driver_nothing_is_shared(options):
    assert resources(3, gpus=4, driver_shares_gpu=True, **options) == resources(3, gpus=4, **options)


@pytest.fixture
def own_locks(tmp_path, monkeypatch):
    """Core locks apart from those of whatever else runs on this machine; the affinity is put back."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    yield
    os.sched_setaffinity(0, CORES)


def release(locks):
    os.sched_setaffinity(0, CORES)
    for lock in locks:
        lock.close()


PINNED = """
import os, sys
from orchestrator.devices import _pin
locks = _pin(1)
print(*os.sched_getaffinity(0), flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(len(CORES) < 2, reason="one core cannot be shared out")
def test_two_processes_never_share_a_core_until_one_dies(own_locks):
    other = subprocess.Popen(
        [sys.executable, "-c", PINNED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None
        taken = {int(core) for core in other.stdout.readline().split()}
        assert len(taken) == 1

        locks = _pin(len(CORES) - 1)
        assert os.sched_getaffinity(0) == CORES - taken
        release(locks)

        locks = _pin(len(CORES), patience=0.1)
        assert os.sched_getaffinity(0) == CORES  # one is not to be had: all or none
        release(locks)
    finally:
        other.kill()
        other.communicate()
    locks = _pin(len(CORES))
    assert len(locks) == len(CORES)
    release(locks)


def test_an_actor_with_a_core_of_its_own_stays_on_it(own_locks):
    device, locks = take_device(GangResources(2, "cpu", cpus=1.0, gpus=0.0))
    assert device == torch.device("cpu")
    assert len(os.sched_getaffinity(0)) == 1
    assert torch.get_num_threads() == 1
    release(locks)


def test_actors_that_share_cores_are_left_to_the_kernel(own_locks):
    device, locks = take_device(GangResources(7, "cpu", cpus=0.25, gpus=0.0))
    assert (device, locks) == (torch.device("cpu"), [])
    assert os.sched_getaffinity(0) == CORES
    assert torch.get_num_threads() == 1


def test_actors_of_a_host_do_not_swamp_it_with_compilers(monkeypatch):
    gang = GangResources(7, "cpu", cpus=0.25, gpus=0.0)
    name = "TORCHINDUCTOR_COMPILE_THREADS"
    monkeypatch.setenv(name, "5")
    take_device(gang)
    assert os.environ[name] == "5"
    monkeypatch.delenv(name)
    take_device(gang)
    assert os.environ[name] == "1"


@pytest.mark.parametrize("error", NO_LOCKS)
def test_without_locks_cores_are_left_to_the_kernel(own_locks, monkeypatch, error):
    def flock(*_):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(fcntl, "flock", flock)
    before = os.sched_getaffinity(0)
    assert _pin(1) == []
    assert os.sched_getaffinity(0) == before


def test_one_thread_is_for_as_long_as_it_is_asked_for():
    @one_thread()
    def fail():
        assert torch.get_num_threads() == 1
        raise KeyError

    torch.set_num_threads(2)
    try:
        with pytest.raises(KeyError):
            fail()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
