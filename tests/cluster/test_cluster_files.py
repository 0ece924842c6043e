"""cluster.yaml and cluster.on-premises.yaml, as far as they can be checked without a cluster."""

import subprocess
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import yaml
from botocore.model import ServiceModel
from botocore.validate import ParamValidator
from ray.autoscaler._private.aws.config import _create_default_inbound_rules
from ray.autoscaler._private.util import prepare_config, validate_config

from orchestrator.cluster import WORKER_ENVIRONMENT

ROOT = Path(__file__).parents[2]
FILES = ["cluster.yaml", "cluster.on-premises.yaml"]
COMMANDS = ["setup_commands", "head_setup_commands", "worker_setup_commands"]
STARTS = ["head_start_ray_commands", "worker_start_ray_commands"]


def load(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


@pytest.fixture
def aws() -> dict[str, Any]:
    return load("cluster.yaml")


@pytest.fixture(params=FILES)
def config(request: pytest.FixtureRequest) -> dict[str, Any]:
    return load(request.param)


def problems(node_config: dict[str, Any]) -> str:
    """What the EC2 interface would reject in a node's configuration."""
    shape = ec2().operation_model("RunInstances").input_shape
    request = node_config | {"MinCount": 1, "MaxCount": 1}
    return ParamValidator().validate(request, shape).generate_report()


def ec2() -> ServiceModel:
    return botocore.session.get_session().get_service_model("ec2")


# Both files


def test_ray_accepts_it(config):
    validate_config(prepare_config(config))


def test_every_command_is_shell(config):
    for key in [*COMMANDS, *STARTS, "initialization_commands"]:
        for command in config.get(key, []):
            subprocess.run(["bash", "-n", "-c", command], check=True)


def test_what_is_copied_is_there(config):
    for remote, local in config["file_mounts"].items():
        assert remote.startswith("~/")
        assert local.startswith("~/.ray/") or (ROOT / local).exists(), local


def test_the_launcher_hands_out_the_token_before_ray_asks_for_it(config):
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    setup = " ".join(config["setup_commands"])
    assert "chmod 600 ~/.ray/auth_token" in setup
    assert "RAY_AUTH_MODE=token" in setup


def test_the_dashboard_is_on_loopback_and_cores_are_for_the_actors(config):
    for key in STARTS:
        (start,) = [command for command in config[key] if "ray start" in command]
        assert "unset OMP_NUM_THREADS;" in start
        for name in WORKER_ENVIRONMENT.keys() - {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"}:
            assert f"{name}={WORKER_ENVIRONMENT[name]} " in start
    assert "--dashboard-host=127.0.0.1" in str(config["head_start_ray_commands"])


def test_both_install_the_same_way(aws):
    here = load("cluster.on-premises.yaml")
    for key in (*COMMANDS, "file_mounts", "cluster_synced_files", "worker_start_ray_commands"):
        assert aws[key] == here[key], key
    old_autoscaler = [c.replace(" RAY_enable_autoscaler_v2=0", "") for c in here["head_start_ray_commands"]]
    assert old_autoscaler == aws["head_start_ray_commands"] != here["head_start_ray_commands"]


# AWS


def test_ec2_accepts_every_host(aws):
    for node_type in aws["available_node_types"].values():
        assert problems(node_type["node_config"]) == ""
    typing_error = aws["available_node_types"]["head"]["node_config"] | {"InstanceTyp": "g6.xlarge"}
    assert "InstanceTyp" in problems(typing_error)


def test_instance_types_exist(aws):
    shape = ec2().shape_for("InstanceType")
    types = {node_type["node_config"]["InstanceType"] for node_type in aws["available_node_types"].values()}
    assert len(types) == 4
    assert types <= set(shape.enum)


def test_nothing_but_the_head_costs_before_there_is_work(aws):
    assert all(node_type["min_workers"] == 0 for node_type in aws["available_node_types"].values())
    assert 0 < aws["idle_timeout_minutes"] <= 10
    assert not aws["provider"]["cache_stopped_nodes"]
    head = aws["available_node_types"][aws["head_node_type"]]
    assert head["max_workers"] == 0
    assert head["resources"] == {"CPU": 0}


def test_hosts_with_one_four_and_eight_gpus(aws):
    types = aws["available_node_types"]
    assert {name: types[name]["resources"].get("GPU", 0) for name in types} == {
        "head": 0,
        "gpu-1": 1,
        "gpu-4": 4,
        "gpu-8": 8,
    }
    assert all(kind["resources"]["CPU"] >= kind["resources"].get("GPU", 0) for kind in types.values())


def test_only_ssh_comes_in_from_outside(aws):
    assert all("SecurityGroupIds" not in t["node_config"] for t in aws["available_node_types"].values())
    further = aws["provider"].get("security_group", {}).get("IpPermissions", [])
    rules = _create_default_inbound_rules({"sg-cluster"}, further)
    from_outside = [rule for rule in rules if "IpRanges" in rule]
    assert [(r["IpProtocol"], r["FromPort"], r["ToPort"]) for r in from_outside] == [("tcp", 22, 22)]
