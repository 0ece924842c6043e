"""Measurements in a process of their own, on a device of the kind that a trial has."""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import ray
import torch
from ray.exceptions import RayError

from orchestrator import ray_watch
from orchestrator.actors.liveness import Watch, show_life
from orchestrator.actors.transport import Rendezvous
from orchestrator.cgroup import MemoryKills
from orchestrator.devices import GangResources, take_device
from orchestrator.reason import reason

Result = TypeVar("Result")


class MeasurementError(RuntimeError):
    """The process of a measurement failed, died or was frozen; says which."""


def run_alone(
    measure: Callable[[torch.device], Result], resources: GangResources, *, timeout: float
) -> Result:
    """Have ``measure`` called with the device, in a new process that then ends: its heap is no one else's.

    Args:
        measure: what to call.
        resources: the device that it is to have.
        timeout: seconds without a sign of life until the process counts as frozen.

    Raises:
        MeasurementError: see there; of what the process used nothing is left.
        LostError: Ray itself is lost.
    """
    memory_kills = MemoryKills()
    watch = Watch(timeout=timeout)
    watch.expect("measurement", slow_start=math.inf)  # there may be no device yet
    # A whole GPU, also where actors share one: whatever else ran on it would be measured too.
    options = {"num_cpus": resources.cpus, "num_gpus": math.ceil(resources.gpus)}
    process: Any = ray.remote(_Process).options(**options).remote()
    call = process.run.remote(measure, resources, watch.rendezvous)
    try:
        while not ray.wait([call], timeout=1.0)[0]:
            ray_watch.check()
            for silence in watch.silent().values():
                raise MeasurementError(f"no sign of life for {silence:.0f} s")
        result: Result = ray.get(call)
    except RayError as error:
        raise MeasurementError(memory_kills.explain(reason(error))) from error
    finally:
        ray.kill(process)
    return result


class _Process:
    def run(
        self,
        measure: Callable[[torch.device], Result],
        resources: GangResources,
        rendezvous: Rendezvous,
    ) -> Result:
        show_life(rendezvous, "measurement")
        device, _locks = take_device(resources)
        return measure(device)
