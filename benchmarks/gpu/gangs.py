"""Real gangs whose actors share the one card, compared with one process; an actor killed on the way."""

import io
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.gpu.accuracy import Training
from benchmarks.gpu.report import Report, Row, label
from orchestrator.data.batches import Batches

BOUND = 1e-10
"""Largest relative difference in float64 that counts as equal."""


class Gangs:
    """Real actors on the one device, compared with one process.

    Args:
        report: where the rows go.
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        self.on_gpu = report.device.type == "cuda"

    def run(self) -> None:
        """Equality for each way to link actors, an actor killed, and how long a step takes."""
        import ray

        from orchestrator import cluster

        if not self.report.fits(6.0 if self.report.tiny else 12.0, what="gangs"):
            return
        cluster.connect(None, cpus=16)
        try:
            links = (False, True) if self.on_gpu else (False,)
            asked: list[tuple[int, bool, dict[str, Any]]] = [(3, ipc, {}) for ipc in links]
            asked.append((6, links[-1], {}))
            if self.on_gpu:
                asked.append((3, True, {"graphs": True, "precision": "float32"}))
            for n, ipc, options in asked[:1] if self.report.tiny else asked:
                self.if_it_fits(f"gang N={n}", self.equality, n, ipc, options)
            if not self.report.tiny:
                self.if_it_fits("no waiting for the device in a step", self.strict)
                self.if_it_fits("an actor killed", self.killed)
                self.if_it_fits("a gang's step", self.step)
        finally:
            ray.shutdown()

    def if_it_fits(self, what: str, measure: Callable[..., object], *args: Any) -> None:
        """Measure, if there is time."""
        if self.report.fits(6.0, what=what):
            self.report.attempt(measure, *args, what=what, args=str(args))

    def config(self, n: int, **options: Any) -> Any:
        """A small trial."""
        from orchestrator.config import Sweep

        values = {
            **{"n_subnetworks": n, "dataset": "digits", "seed": 0, "depth": 20 if self.report.tiny else 56},
            **{"width": 4, "epochs": 1, "batch_size": 32, "train_subset": 192, "validation_subset": 60},
            **{"precision": "float64", "learning_rate": 0.01},
        } | options
        milestones = {"milestones": ()}
        (config,) = Sweep(**({name: (value,) for name, value in values.items()} | milestones)).trials()
        return config

    @contextmanager
    def gang(self, config: Any, *, cuda_ipc: bool) -> Iterator[tuple[Any, Any]]:
        """A connected gang whose actors share the device, and its images."""
        import ray
        from ray.util.placement_group import placement_group, remove_placement_group

        from orchestrator.actors.gang import Gang

        data, job = self.job(config, cuda_ipc=cuda_ipc)
        group = placement_group(job.resources.bundles)
        try:
            with Gang(config, job.tearing, ray.put(data), job.resources, group) as actors:
                actors.connect(timeout=30)
                yield actors, data
        finally:
            remove_placement_group(group)

    def job(self, config: Any, *, cuda_ipc: bool) -> tuple[Any, Any]:
        """Images and job of a trial."""
        from orchestrator.data.datasets import load_dataset
        from orchestrator.devices import GangResources, n_actors
        from orchestrator.plan import describe, tear_as_asked
        from orchestrator.trial import Job

        data = load_dataset(
            config.dataset, train_subset=config.train_subset, validation_subset=config.validation_subset
        )
        n = n_actors(config.n_subnetworks, config.strategy)
        share = int(100 / n) / 100 if self.on_gpu else 0
        kind = "cuda" if self.on_gpu else "cpu"
        resources = GangResources(n, kind, cpus=0.5, gpus=share, cuda_ipc=cuda_ipc)
        return data, Job(config, tear_as_asked(config, describe(config, data)), resources)

    def equality(self, n: int, ipc: bool, options: Row) -> None:
        """Weights, gradients and metrics of a gang beside those of one process."""
        import ray

        from benchmarks.one_process import one_process
        from orchestrator.one_process import in_one_process

        # Training is chaotic: after several steps, single precision shows nothing but that.
        few = {"train_subset": 128, "validation_subset": 30} if options else {}
        config = self.config(n, **options, **few)
        start = time.monotonic()
        with self.gang(config, cuda_ipc=ipc) as (actors, data):
            connected = time.monotonic() - start
            reports = actors.run_epoch(1)
            found = ray.get([actor.gradients.remote() for actor in actors.actors])
        expected, metrics = one_process(config, data, device=self.report.device.type)
        gradients = {
            in_one_process(part, name): value
            for part, of_part in zip(actors.parts, found, strict=True)
            for name, value in of_part.items()
        }
        states: dict[str, Tensor] = {}
        for part, one in reports.items():
            state = torch.load(io.BytesIO(one.state), weights_only=True, map_location="cpu")["module"]
            states |= {in_one_process(part, name): value for name, value in state.items()}
        in_one = {name: p.grad for name, p in expected.named_parameters() if p.grad is not None}
        whole = torch.cat([gradient.flatten() for gradient in in_one.values()]).norm().item()
        if gradients.keys() != in_one.keys():
            raise ValueError("the gang has other gradients than one process")
        self.report.add(
            what=f"gang N={n}",
            **label(config.compute(self.report.device)),
            backends=sorted(set(actors.backends)),
            difference=max(
                float((gradients[name].double() - gradient.cpu().double()).norm()) / whole
                for name, gradient in in_one.items()
            ),
            difference_of_weights=max(
                float(
                    (states[name].double() - value.cpu().double()).norm()
                    / (1e-6 + value.cpu().double().norm())
                )
                for name, value in expected.state_dict().items()
            ),
            difference_of_loss=abs(reports["driver"].metrics["train_loss"] - metrics[0]["train_loss"]),
            bound=BOUND if config.precision == "float64" else None,
            seconds_to_connect=connected,
        )

    def strict(self) -> None:
        """Epochs of actors that raise where a step waits for the device; their links by CUDA IPC."""
        from benchmarks.gpu.strict_actors import StrictDriver, StrictSerial, StrictSubnetwork
        from orchestrator.actors import gang

        strict = {
            "DriverActor": StrictDriver,
            "SubnetworkActor": StrictSubnetwork,
            "SerialActor": StrictSerial,
        }
        with patch.dict(vars(gang), strict):
            for n in (1, 3):
                with self.gang(self.config(n, epochs=2, batch_size=16), cuda_ipc=True) as (actors, _):
                    reports = [actors.run_epoch(epoch) for epoch in (1, 2)]
                steps = sum(len(next(iter(one.values())).step_seconds) for one in reports)
                self.report.add(what="no waiting for the device in a step", N=n, steps=steps, waits=0)

    def killed(self) -> None:
        """A trial whose actor is killed ends with the numbers of one that nothing happened to."""
        config = self.config(3, epochs=3)
        undisturbed, _ = self.train(config, kill=False)
        disturbed, remarks = self.train(config, kill=True)
        columns = ("train_loss", "validation_loss", "validation_error")
        self.report.add(
            what="an actor killed, and the trial going on",
            **label(config.compute(self.report.device)),
            remarks=remarks,
            difference=max(
                abs(a[name] - b[name]) / abs(b[name])
                for a, b in zip(disturbed, undisturbed, strict=True)
                for name in columns
            ),
            bound=BOUND,
        )

    def train(self, config: Any, *, kill: bool) -> tuple[list[Row], list[str]]:
        """Rows of a trial's epochs, and what was said on the way."""
        import psutil
        import ray
        from ray.util.placement_group import placement_group, remove_placement_group

        from orchestrator.storage.store import Store
        from orchestrator.trial import run_trial

        remarks: list[str] = []

        def progress(row: Mapping[str, Any]) -> None:
            if kill and row["epoch"] == 1:
                victim = next(
                    process
                    for process in psutil.Process().children(recursive=True)
                    if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::SubnetworkActor")
                )
                os.kill(victim.pid, signal.SIGKILL)

        data, job = self.job(config, cuda_ipc=self.on_gpu)
        group = placement_group(job.resources.bundles)
        with tempfile.TemporaryDirectory() as folder:
            store = Store(Path(folder))
            try:
                run_trial(
                    job,
                    ray.put(data),
                    group,
                    store,
                    max_failures=2,
                    timeout=30,
                    progress=progress,
                    tell=remarks.append,
                )
            finally:
                remove_placement_group(group)
            return store.read("epochs", config.trial_id), remarks

    def step(self) -> None:
        """Steps of gangs on the card, beside one process that computes the same, in turns."""
        options = {
            **{"dataset": "synthetic:3x32x32x10x5120", "depth": 164, "width": 16, "batch_size": 128},
            **{"train_subset": None, "validation_subset": 128, "precision": "bfloat16"},
            **{"channels_last": True, "preprocess": "stem", "coarse": "shortcut"},
        }
        self.in_one_process(self.config(3, **options, graphs=True))
        for ipc, graphs in ((True, True), (False, True), (True, False)):
            config = self.config(3, **options, graphs=graphs)
            if not self.report.fits(8.0, what="a gang's step", cuda_ipc=ipc, graphs=graphs):
                return
            with self.gang(config, cuda_ipc=ipc) as (actors, _):
                actors.run_epoch(1)  # in which parts are recorded
                reports = actors.run_epoch(2)
            steps = reports["driver"].step_seconds
            busy = {
                part: sum(seconds for name, seconds in one.activities.items() if not name.endswith(".wait"))
                for part, one in reports.items()
            }
            self.report.add(
                what="a gang's step, ResNet-164 N=3 stem shortcut, batch 128, all actors on one card",
                **label(config.compute(self.report.device)),
                cuda_ipc=ipc,
                step_seconds=median(steps),
                n=len(steps),
                busy_seconds=busy,
            )

    def in_one_process(self, config: Any) -> None:
        """A step of the same torn network in this process: what is there to do on the one card."""
        data, job = self.job(config, cuda_ipc=False)
        compute = config.compute(self.report.device)
        training = Training({}, job.tearing, compute)
        batches = Batches(data, batch_size=config.batch_size, seed=0, device=self.report.device)
        for step in range(batches.n_train_steps):
            if step == 10:
                torch.cuda.synchronize()
                start = time.perf_counter()
            training.step(*batches.train(1, step), 0.01)
        torch.cuda.synchronize()
        self.report.add(
            what="a step of the same torn network in one process",
            **label(compute),
            step_seconds=(time.perf_counter() - start) / (batches.n_train_steps - 10),
            n=batches.n_train_steps - 10,
        )
