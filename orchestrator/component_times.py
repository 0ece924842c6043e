"""Measures the components of trials one by one: the virtual rows of the timings frame."""

from dataclasses import asdict, replace

import torch
from rich.console import Console

from models.step_time import critical_path
from models.timing import ComponentTime, step_costs, time_components
from orchestrator.alone import MeasurementError, run_alone
from orchestrator.config import Options
from orchestrator.storage.store import Row, Store
from orchestrator.trial import Job, labels


def run_timings(jobs: list[Job], store: Store, options: Options, console: Console) -> None:
    """Measure the gradient time of each job's components, on one device.

    On processors, whose speed varies, in rounds through all jobs, so that no job has a bad minute to itself.
    """
    named = labels(jobs)
    for label in named.values():
        console.print(f"timing the components of {label}", highlight=False, markup=False, soft_wrap=True)
    in_rounds = all(job.resources.device == "cpu" for job in jobs)
    n_rounds, repeats = (options.timing_repeats, 1) if in_rounds else (1, options.timing_repeats)
    rows: dict[str, list[Row]] = {job.config.trial_id: [] for job in jobs}
    for turn in range(n_rounds):
        for job in jobs:
            trial_id = job.config.trial_id
            if trial_id not in rows:
                continue

            def measure(device: torch.device, job: Job = job, first: int = turn * repeats) -> list[Row]:
                compute = job.config.compute(device)
                compute.settle()
                times = time_components(
                    job.tearing, batch_size=job.config.batch_size, compute=compute, repeats=repeats
                )
                return _timing_rows(job, device, [replace(t, repeat=first + t.repeat) for t in times])

            try:
                rows[trial_id] += run_alone(measure, job.resources, timeout=options.timeout)
            except MeasurementError as error:  # such as too little memory: no reason to lose the rest
                console.print(
                    f"{named[trial_id]}: not timed: {error}", highlight=False, markup=False, soft_wrap=True
                )
                del rows[trial_id]
    for trial_id, timed in rows.items():
        store.write("timings", trial_id, store.read("timings", trial_id) + timed)


def _timing_rows(job: Job, device: torch.device, times: list[ComponentTime]) -> list[Row]:
    """Rows of the timings frame: the components' times, and the critical path that follows from them."""
    shared = {
        "trial_id": job.config.trial_id,
        "mode": "virtual",
        "batch_size": job.config.batch_size,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
    }
    paths = [critical_path(costs) for costs in step_costs(times, job.config.n_iterations)]
    repeats = sorted({measured.repeat for measured in times})
    step = {"component": "step", "subnetwork": 0, "direction": "critical_path"}
    return [
        *(shared | asdict(measured) for measured in times),
        *(
            shared | step | {"repeat": repeat, "seconds": seconds}
            for repeat, seconds in zip(repeats, paths, strict=True)
        ),
    ]
