"""Are torn networks as accurate? ResNet-164 on real images, several seeds of all settings at once.

All networks of a seed see the same batches. Each has a stream and a graph of its whole training step, so
that the card is busy although no single network fills it.
"""

import os
import time
from functools import partial
from math import cos, pi

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.gpu.report import Report, Row, label, warm_up
from models import PararealNetwork, plan_tearing, resnet
from models.compute import Compute
from models.recorder import Recorder
from models.task import Classification
from models.tearing import Tearing
from orchestrator.actors.metrics import Totals
from orchestrator.actors.optimizer import make_optimizer
from orchestrator.config import TrainingOptions
from orchestrator.data.batches import Batches
from orchestrator.data.datasets import Reading, load_dataset

BATCH_SIZE = 128
LEARNING_RATE, WARMUP_STEPS = 0.1, 200

SETTINGS = (
    (1, "strided", "units"),
    (3, "strided", "units"),
    (3, "stem", "shortcut"),
    (6, "strided", "units"),
    (6, "stem", "shortcut"),
)
"""N, C^j and F^j: the network in one piece; the paper's choices; those recommended here."""


def run(report: Report) -> None:
    """Train for as many epochs as there is time for, the same number for all, then validate."""
    dataset = "digits" if report.tiny else os.environ.get("PARQUET", "cifar10")
    # CIFAR-10 as hubs serve it is known by no name: it is validated and augmented as CIFAR-10.
    as_cifar = Reading(validation_split="test") if ":" in dataset else None
    data = load_dataset(dataset, reading=as_cifar)
    augmentation = data.augmentation(crop="on", flip="on") if ":" in dataset else None
    n_seeds = 1 if report.tiny else 3
    batch_size = 512 if report.tiny else BATCH_SIZE
    on_gpu = report.device.type == "cuda"
    compute = Compute(report.device)
    if on_gpu:
        compute = Compute(report.device, "bfloat16", channels_last=True, graphs=True)
    warm_up(report.device, 1.0)
    network = resnet(
        11 if report.tiny else 164,
        width=2 if report.tiny else 16,
        input_shape=data.input_shape,
        n_classes=len(data.classes),
    )
    _ = data.mean, data.std
    seeds: list[tuple[Batches, list[Training]]] = []
    for seed in range(n_seeds):
        batches = Batches(
            data, batch_size=batch_size, seed=seed, device=report.device, augmentation=augmentation
        )
        seeds.append((batches, []))
        for n, preprocess, coarse in SETTINGS[:2] if report.tiny else SETTINGS:
            tearing = plan_tearing(
                network,
                n,
                preprocess=preprocess,
                coarse=coarse,
                n_coarse_units=0 if coarse == "shortcut" else None,
                seed=seed,
            )
            row = {"n": n, "preprocess": preprocess, "coarse": coarse, "seed": seed}
            seeds[-1][1].append(Training(row, tearing, compute))
    trainings = [training for _, of_seed in seeds for training in of_seed]
    n_steps = seeds[0][0].n_train_steps
    report.note(
        seconds_left_when_built=report.left(),
        **label(compute),
        dataset=dataset,
        network=network.name,
        n_networks=len(trainings),
    )

    def epoch(number: int, n_epochs: int, *, steps: int) -> float:
        start = time.monotonic()
        for step in range(steps):
            done = ((number - 1) * n_steps + step) / (n_epochs * n_steps)
            warm = min(1.0, ((number - 1) * n_steps + step + 1) / WARMUP_STEPS)
            rate = LEARNING_RATE * warm * 0.5 * (1 + cos(pi * done))
            for batches, of_seed in seeds:
                images, labels = batches.train(number, step)
                for training in of_seed:
                    training.step(images, labels, rate)
            if on_gpu and step % 10 == 9:
                torch.cuda.synchronize()  # or the host would run ahead for as long as memory lasts
        if on_gpu:
            torch.cuda.synchronize()
        return time.monotonic() - start

    # The schedule has to know how many epochs there will be: from what steps take.
    epoch(1, 1, steps=min(20, n_steps))  # recorded by then
    per_epoch = epoch(1, 1, steps=min(20, n_steps)) * n_steps / min(20, n_steps)
    for training in trainings:
        training.begin()
    validation = 0.5 * len(trainings) + 3.0
    n_epochs = 1 if report.tiny else int((report.left() - validation) / (1.05 * per_epoch))
    report.note(seconds_per_epoch=per_epoch, epochs=n_epochs, images=n_steps * batch_size)
    for number in range(1, n_epochs + 1):
        seconds = epoch(number, n_epochs, steps=n_steps)
        report.note(epochs_done=number, seconds_of_last=seconds)
    of_validation = Batches(
        data, batch_size=min(1000, len(data.validation_inputs)), seed=0, device=report.device
    )
    for training in trainings:
        report.add(**training.row, epochs=n_epochs, **training.validate(of_validation))


class Training:
    """One network under training.

    Args:
        row: what it is.
        tearing: the torn network.
        compute: how it computes.
    """

    def __init__(self, row: Row, tearing: Tearing, compute: Compute) -> None:
        self.row, self._compute = row, compute
        compute.settle()
        self._network = compute.place(PararealNetwork(tearing, compute=compute)).train()
        self._initial = {name: value.clone() for name, value in self._network.state_dict().items()}
        self._optimizer = make_optimizer(self._network, TrainingOptions())
        self._recorder = Recorder(compute, self._network)
        self._stream = torch.cuda.Stream() if compute.device.type == "cuda" else None

    def begin(self) -> None:
        """Forget what was learned; what was recorded goes on using the same memory."""
        self._network.load_state_dict(self._initial)
        for buffer in self._optimizer.state_dict().values():
            buffer.zero_()

    def step(self, images: Tensor, labels: Tensor, rate: float) -> None:
        """One optimizer step on a batch; on a GPU, nobody waits for it."""
        if self._stream is None:
            self._step(images, labels, rate)
            return
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            self._step(images, labels, rate)
        for tensor in (images, labels):
            tensor.record_stream(self._stream)

    def _step(self, images: Tensor, labels: Tensor, rate: float) -> None:
        self._optimizer.set_learning_rate(rate)
        images = self._recorder.fixed("images", images)
        labels = self._recorder.fixed("labels", labels)
        self._recorder("step", partial(self._train, images, labels))

    def _train(self, images: Tensor, labels: Tensor) -> None:
        with self._compute.autocast():
            loss = F.cross_entropy(self._network(images), labels)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()

    @torch.no_grad()
    def validate(self, batches: Batches) -> Row:
        """Error rate in % and loss on all validation images."""
        self._network.eval()
        total = Totals(Classification(), self._compute.device)
        for step in range(batches.validation.n_steps):
            images, labels = batches.validation(step)
            with self._compute.autocast():
                logits = self._network(images)
            total.add(F.cross_entropy(logits, labels), logits, labels)
        return {"error": total.metric, "loss": total.loss}


def lines(rows: list[Row]) -> list[str]:
    """For the terminal: errors by seed."""
    out = ["N C^j F^j | validation error (%) by seed"]
    for how in dict.fromkeys((r["n"], r["preprocess"], r["coarse"]) for r in rows):
        errors = [f"{r['error']:.2f}" for r in rows if (r["n"], r["preprocess"], r["coarse"]) == how]
        out.append(f"{how[0]} {how[1]} {how[2]} | {' '.join(errors)}")
    return out
