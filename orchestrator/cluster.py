"""Ray: connecting to a cluster or starting one on this machine."""

import logging
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import ray
import yaml
from ray._common.utils import get_default_ray_temp_dir
from ray._private import ray_constants, worker
from ray._private.authentication.authentication_token_setup import (
    maybe_enable_token_auth_if_token_available,
)
from ray._private.services import canonicalize_bootstrap_address_or_die
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.exceptions import AuthenticationError

from analysis import command
from orchestrator import environment
from orchestrator.devices import HEAD_RESOURCE, Available, local_devices
from orchestrator.last_words import Heir, appoint, dismiss
from orchestrator.reason import reason

WORKER_ENVIRONMENT = {
    # Every actor needs torch: a worker that has it already starts in a tenth of the time.
    "RAY_preload_python_modules": "torch",
    # Ray's own advice on GPUs, for actors that reserve none.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # jemalloc, which Ray brings along: glibc's allocator leaves gaps between activations that it does not
    # find again (benchmarks/allocator.py). One arena, because the backward pass has a thread of its own;
    # what was free for a second is merged, but stays mapped. Without that second it would grow for ever.
    "RAY_LD_PRELOAD_ON_WORKERS": "1",
    "MALLOC_CONF": "thp:always,narenas:1,oversize_threshold:0,dirty_decay_ms:1000,muzzy_decay_ms:-1",
    # Otherwise NCCL's watchdog keeps an actor for a minute before it gives up a peer that is gone.
    "TORCH_NCCL_DUMP_ON_TIMEOUT": "0",
    # As many as there can be: transfers do not queue behind the kernels of other streams.
    "CUDA_DEVICE_MAX_CONNECTIONS": "32",
}
"""What Ray's processes are started with on this machine; ``cluster.yaml`` has the same for others."""


_heirs: list[Heir] = []  # of the Ray that was started here


class StartError(ValueError):
    """Ray does not start on this machine."""


def connect(address: str | None, *, cpus: int | None = None) -> None:
    """Join the cluster at ``address``, or start one here if it is None; nothing if already there.

    Args:
        address: of the cluster.
        cpus: how many cores one that is started here pretends to have; as many as there are if None.

    Raises:
        ValueError: nobody answers at the address, or it wants another token; or Ray cannot start here.
    """
    if ray.is_initialized():
        return
    environment.check_folders(address)
    for name, value in WORKER_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # Below `uv run` Ray would start every worker by uv in a copy of this folder, without an environment.
    if "RAY_ENABLE_UV_RUN_RUNTIME_ENV" not in os.environ:
        ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = False
    # What Ray has to say of a part of it that died are pages of its log, which are in its folder too.
    worker._worker_logs_enabled = False
    command.hush_libraries()
    handlers = command.handlers()
    try:
        if address is None:
            _start(cpus)
        else:
            _join(address)
        if worker._global_node is not None:
            command.hush_libraries(log=Path(worker._global_node.get_logs_dir_path(), "sweep.err"))
    finally:
        command.restore(handlers)  # Ray sets one of its own for SIGTERM


def _start(cpus: int | None) -> None:
    """Start Ray on this machine."""
    # On one machine nobody is away for a while: what does not answer is gone.
    os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "10")
    # Ray would start a process for every core and import torch there; Tune's trials do not fit those.
    os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
    # What the plan was checked against, not what Ray would count.
    here = local_devices()
    _heirs.append(appoint(ends_ray=True))
    try:
        ray.init(
            address="local",
            num_cpus=int(here.cpus) if cpus is None else cpus,
            num_gpus=int(here.gpus),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except Exception as error:  # Ray raises nothing narrower where a part of it is slow to start
        disconnect()
        raise StartError(
            f"Ray does not start on this machine ({reason(error)}): if it was only slow, as on a busy one, "
            f"run the same command again; else see its logs in {get_default_ray_temp_dir()}"
        ) from error


def _join(address: str) -> None:
    """Join the cluster at the address."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except OSError as error:
        raise ValueError(
            f"no Ray cluster answers at {address}: start one, or leave out --address to use this machine"
        ) from error
    except AuthenticationError as error:
        raise ValueError(
            f"the Ray cluster at {address} does not accept this user's token: set RAY_AUTH_MODE=token and "
            "copy ~/.ray/auth_token from where the cluster was started"
        ) from error
    except RuntimeError as error:  # such as another version of Python
        raise ValueError(f"the Ray cluster at {address} cannot be joined: {error}") from error


def _knock(address: str, *, timeout: float = 5.0) -> None:
    """See that a cluster answers and lets this user in: ``ray.init`` would try for a minute.

    Raises:
        OSError: nobody listens at the address.
        AuthenticationError: the token is missing or wrong.
    """
    found = canonicalize_bootstrap_address_or_die(address)
    host, _, port = found.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=timeout).close()
    if address == "auto":  # the same as in ``ray.init``
        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    GcsClient(address=found)


def disconnect() -> None:
    """Leave the cluster; one that was started here ends, also should this process be killed before."""
    ray.shutdown()
    while _heirs:
        dismiss(_heirs.pop())


def devices(tell: Callable[[str], object], *, patience: float = 600.0) -> Available:
    """What each host of the connected cluster has; with an autoscaler, of all hosts that it may start.

    Hosts that are to be there always are waited for: ``ray up`` is back before they have joined.

    Args:
        tell: says to the user that hosts are waited for.
        patience: seconds to wait at most.
    """
    config = _autoscaling_config()
    types = config.get("available_node_types", {})
    n_hosts = 1 + sum(node_type.get("min_workers", 0) for node_type in types.values())
    deadline = time.monotonic() + patience
    told = 0
    while (missing := n_hosts - len(_hosts())) > 0 and time.monotonic() < deadline:
        if missing != told:
            tell(f"waiting for {missing} of {n_hosts} hosts to join the cluster")
            told = missing
        time.sleep(0.5)
    if missing > 0:
        tell(f"{missing} of {n_hosts} hosts have not joined in {patience:g} s: going on without them")

    on_demand = [
        _has(node_type["resources"])
        for name, node_type in types.items()
        if name != config["head_node_type"]  # with hosts of one's own, all are of the head's type
        for _ in range(node_type.get("max_workers", config["max_workers"]))
    ]
    if not on_demand:
        return Available.together(map(_has, _hosts()))
    largest_first = sorted(on_demand, key=lambda host: (host.gpus, host.cpus), reverse=True)
    heads = [_has(host) for host in _hosts() if HEAD_RESOURCE in host]
    return Available.together(heads + largest_first[: config["max_workers"]])


def _hosts() -> list[dict[str, float]]:
    """Ray's resources of each host that is there."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _has(resources: dict[str, float]) -> Available:
    return Available(resources.get("CPU", 0), int(resources.get("GPU", 0)))


def _autoscaling_config() -> dict[str, Any]:
    """What the cluster's autoscaler goes by; empty where there is none, or it is on another machine.

    Ray 2.60 has no call that tells, but the autoscaler's process was given the name of the file.
    """
    cluster = f"--gcs-address={ray.get_runtime_context().gcs_address}"
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = process.read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has ended meanwhile
            continue
        files = [a.removeprefix(_CONFIG) for a in arguments if a.startswith(_CONFIG)]
        if cluster in arguments and files:
            return cast(dict[str, Any], yaml.safe_load(Path(files[0]).expanduser().read_text()))
    return {}


_CONFIG = "--autoscaling-config="
