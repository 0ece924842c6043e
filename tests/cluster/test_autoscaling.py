"""The host types of cluster.yaml on a fake cluster that starts and ends hosts on demand, without AWS."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
import yaml
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID, FAKE_HEAD_NODE_TYPE
from ray.util.placement_group import placement_group, remove_placement_group

from orchestrator import cluster
from orchestrator.devices import Available, gang_resources

RAY = [sys.executable, "-m", "ray.scripts.scripts"]
FILE = Path(__file__).parents[2] / "cluster.yaml"


def fake_config(port: int) -> dict[str, Any]:
    """cluster.yaml's hosts for Ray's provider of fake ones: raylets that claim what a host would have."""
    config = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    types = {name: kind | {"node_config": {}} for name, kind in config["available_node_types"].items()}
    types[FAKE_HEAD_NODE_TYPE] = types.pop(config["head_node_type"])
    for kind in types.values():
        kind["resources"] = dict(kind["resources"]) | {"object_store_memory": 100_000_000}
    return {
        "cluster_name": "fake",
        "max_workers": config["max_workers"],
        "idle_timeout_minutes": 0.05,
        "provider": {
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "gcs_address": f"127.0.0.1:{port}",
            "head_node_id": FAKE_HEAD_NODE_ID,
            "launch_multiple": True,
            "disable_node_updaters": True,
        },
        "available_node_types": types,
        "head_node_type": FAKE_HEAD_NODE_TYPE,
        **{key: {} for key in ("auth", "docker", "file_mounts")},
        **{key: [] for key in ("cluster_synced_files", "rsync_exclude", "rsync_filter")},
        **{key: [] for key in ("initialization_commands", "setup_commands")},
        **{f"{kind}_{what}_commands": [] for kind in ("head", "worker") for what in ("setup", "start_ray")},
        "file_mounts_sync_continuously": False,
    }


@pytest.fixture(scope="module")
def autoscaling_cluster() -> Iterator[None]:
    """Ray with an autoscaler and a head without cores; all its processes end with the tests."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with (
        pytest.MonkeyPatch.context() as monkeypatch,
        tempfile.TemporaryDirectory(prefix="ray-") as folder,  # a short path: sockets lie in it
    ):
        # "auto" is this cluster, and a token, if this user has one, is asked for and shown.
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
        monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
        config = Path(folder) / "cluster.json"
        config.write_text(json.dumps(fake_config(port)))
        head = subprocess.Popen(
            [
                *(*RAY, "start", "--head", "--block"),
                *(f"--port={port}", "--node-ip-address=127.0.0.1", f"--temp-dir={folder}/ray"),
                *("--num-cpus=0", "--object-store-memory=100000000", "--include-dashboard=false"),
                f"--autoscaling-config={config}",
            ],
            env=os.environ
            | {
                "RAY_FAKE_CLUSTER": "1",
                "RAY_enable_autoscaler_v2": "1",
                "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
                "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
                "RAY_NODE_TYPE_NAME": FAKE_HEAD_NODE_TYPE,
                "AUTOSCALER_UPDATE_INTERVAL_S": "1",
                "RAY_prestart_worker_first_driver": "0",  # a fake host has not the cores that it claims
                "RAY_enable_worker_prestart": "0",
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert wait_for(lambda: listens(port), 60)
            cluster.connect("auto")
            yield
        finally:
            cluster.disconnect()
            everything = [*psutil.Process(head.pid).children(recursive=True), psutil.Process(head.pid)]
            for process in everything:
                process.kill()
            head.wait()


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def gpus() -> list[int]:
    """GPUs of each host that is there, but for the head."""
    hosts = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sorted(int(host["GPU"]) for host in hosts if "GPU" in host)


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return met


@pytest.fixture
def available(autoscaling_cluster: None) -> Available:
    return cluster.devices(pytest.fail)


def test_what_can_be_started_counts_as_there(available: Available) -> None:
    assert gpus() == []
    assert [host.gpus for host in available.hosts] == [0, 8, 8, 8, 4]  # the head, and four at most


@pytest.mark.parametrize(
    ("n_subnetworks", "strategy", "expected"),
    [
        (3, "parareal", [4]),
        (6, "parareal", [8]),
        pytest.param(1, "serial", [1], marks=pytest.mark.cluster),
        pytest.param(10, "parareal", [4, 8], marks=pytest.mark.cluster),
    ],
)
def test_a_gang_gets_the_hosts_that_it_needs_and_they_go_with_it(
    available: Available, n_subnetworks: int, strategy: Any, expected: list[int]
) -> None:
    resources = gang_resources(
        n_subnetworks, devices="cuda", cpus_per_actor=None, available=available, strategy=strategy
    )
    group = placement_group(resources.bundles)
    assert group.wait(60), gpus()
    assert gpus() == expected
    remove_placement_group(group)
    assert wait_for(lambda: gpus() == [], 60), gpus()
