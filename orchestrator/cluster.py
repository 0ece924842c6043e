"""Ray: connecting to a cluster or starting one on this machine."""

import logging
import os

import ray

from orchestrator.devices import Available, local_devices


def connect(address: str | None) -> None:
    """Join the cluster at ``address``, or start one here if it is None; nothing if already there.

    Raises:
        ValueError: nobody answers at the address.
    """
    if ray.is_initialized():
        return
    # Every actor needs torch: a worker that has it already starts in a tenth of the time.
    os.environ.setdefault("RAY_preload_python_modules", "torch")
    # Ray's own advice on GPUs, for actors that reserve none.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        if address is None:
            # What the plan was checked against, not what Ray would count.
            here = local_devices()
            ray.init(
                address="local",
                num_cpus=int(here.cpus),
                num_gpus=int(here.gpus),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        else:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError) as error:
        if address is None:
            raise
        raise ValueError(
            f"no Ray cluster answers at {address}: start one, or leave out --address to use this machine"
        ) from error


def disconnect() -> None:
    """Leave the cluster; one that was started here ends."""
    ray.shutdown()


def devices() -> Available:
    """What the connected cluster has."""
    resources = ray.cluster_resources()
    return Available(resources.get("CPU", 0), int(resources.get("GPU", 0)))
