"""Measures the components of trials one by one: the virtual rows of the timings frame."""

from dataclasses import asdict

import torch
from rich.console import Console

from models.step_time import critical_path
from models.timing import ComponentTime, step_costs, time_components
from orchestrator.alone import MeasurementError, run_alone
from orchestrator.config import Options
from orchestrator.storage.store import Row, Store
from orchestrator.trial import Job


def run_timings(jobs: list[Job], store: Store, options: Options, console: Console) -> None:
    """Measure the gradient time of each job's components, one job after the other, on one device."""
    for job in jobs:
        trial_id = job.config.trial_id
        console.print(f"timing the components of {trial_id}", highlight=False, soft_wrap=True)

        def measure(device: torch.device, job: Job = job) -> list[Row]:
            times = time_components(
                job.tearing,
                batch_size=job.config.batch_size,
                compute=job.config.compute(device),
                repeats=options.timing_repeats,
            )
            return _timing_rows(job, device, list(times))

        try:
            rows = run_alone(measure, job.resources, timeout=options.timeout)
        except MeasurementError as error:  # such as too little memory: no reason to lose the rest
            console.print(f"{trial_id}: not timed: {error}", highlight=False, markup=False, soft_wrap=True)
            continue
        store.write("timings", trial_id, store.read("timings", trial_id) + rows)


def _timing_rows(job: Job, device: torch.device, times: list[ComponentTime]) -> list[Row]:
    """Rows of the timings frame: the components' times, and the critical path that follows from them."""
    shared = {
        "trial_id": job.config.trial_id,
        "mode": "virtual",
        "batch_size": job.config.batch_size,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
    }
    paths = [critical_path(costs) for costs in step_costs(times)]
    step = {"component": "step", "subnetwork": 0, "direction": "critical_path"}
    return [
        *(shared | asdict(measured) for measured in times),
        *(shared | step | {"repeat": repeat, "seconds": seconds} for repeat, seconds in enumerate(paths)),
    ]
