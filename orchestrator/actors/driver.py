"""DriverActor: coarse network, postprocess, loss, schedule; decides every optimizer step."""

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from models.autograd import seed_gradient
from models.recorder import Recorder
from models.tearing import Tearing
from orchestrator.actors.actor import Actor, EpochReport
from orchestrator.actors.clock import Clock
from orchestrator.actors.links import connect_link
from orchestrator.actors.metrics import FiniteWatch, Totals
from orchestrator.actors.transport import Link, Rendezvous, Transfer
from orchestrator.config import TrialConfig
from orchestrator.data.batches import HeldOut
from orchestrator.data.image_data import ImageData
from orchestrator.devices import GangResources


class DriverActor(Actor):
    """Runs F^1 … F^{N−1} and h on the residuals as they arrive, and answers each with its gradient.

        r_1 ──▶ r̃_1 ─ F^1 ─▶ + ─▶ r̃_2 ─ F^2 ─▶ + ─▶ ỹ ─ h ─▶ loss
        r_2 ──────────────────┘                 │
        y_3 ────────────────────────────────────┘        (N = 3)

    Every r̃_j is a leaf of its own, so that ∂L/∂r_j = ∂L/∂r̃_j is there, and is sent, as soon as the
    backward pass has reached it: last subnetwork first.

    Args:
        config: the trial.
        tearing: the torn network.
        data: the trial's images.
        resources: what the actor has reserved.
    """

    def __init__(
        self, config: TrialConfig, tearing: Tearing, data: ImageData, resources: GangResources
    ) -> None:
        super().__init__(config, tearing, data, resources, part="driver")
        n = tearing.n_subnetworks
        self.shapes = [tearing.shape(j + 1) for j in range(1, n + 1)]  # of r_1 … r_{N−1}, y_N
        self.own(
            nn.ModuleDict(
                {
                    "coarse_network": nn.ModuleList(tearing.build_coarse(j) for j in range(1, n)),
                    "postprocess": tearing.build_postprocess(),
                }
            )
        )
        self.coarse_network = self.module["coarse_network"]  # type: ignore[index]
        self.postprocess = self.module["postprocess"]  # type: ignore[index]
        self._buffers: dict[int, list[Tensor]] = {}

    def connect(self, rendezvous: Rendezvous) -> list[str]:
        """Open the links to all subnetworks; returns their backends, subnetwork 1 first."""
        store = rendezvous.join()
        self._links = [
            connect_link(
                store,
                name=f"driver to subnetwork {j}",
                rank=0,
                host=self.host,
                device=self.device,
                timeout=rendezvous.timeout,
                inbox_bytes=self.compute.nbytes(self.config.batch_size, *shape),
                cuda_ipc=self.cuda_ipc,
            )
            for j, shape in enumerate(self.shapes, start=1)
        ]
        return [link.backend for link in self._links]

    def links(self) -> list[Link]:
        """To subnetworks 1 … N."""
        return self._links

    def run_epoch(self, epoch: int) -> EpochReport:
        """Train one epoch (1-based) and validate, in step with the subnetworks.

        Raises:
            TransportError: a subnetwork is gone or silent.
        """
        self.start_epoch(epoch)
        self.module.train()
        total, watch = Totals(self.task, self.device), FiniteWatch(self.device)
        start = time.perf_counter()
        arriving = self._post_receives(self.config.batch_size)
        for step in range(self.batches.n_train_steps):
            if not watch.finite():  # at the step before: nobody waits for this step's loss
                break
            with self.training_step():
                transfers = self._say(True)
                labels = self.recorder.fixed("labels", self.batches.train_labels(epoch, step))
                draw = partial(self.draw, "train", step)
                leaves, corrections = self._forward(arriving, self.recorder, draw)
                draw("postprocess", 0)
                with self.clock("postprocess.forward"):
                    logits, loss = self.recorder("h", partial(self._lose, leaves[-1], labels))
                transfers += self._backward(loss, leaves, corrections)
                # Before the rest of this step, so that whoever is ahead finds an open door.
                more = step + 1 < self.batches.n_train_steps
                arriving = self._post_receives(self.config.batch_size) if more else []
                total.add(loss, logits, labels)
                watch.look(loss)
                self.take_step(step, component="driver")
                with self.clock("driver.wait"):
                    for transfer in transfers:
                        transfer.wait()
        completed = watch.finite()
        words = self._say(completed)
        if not completed:  # the residuals of the step that is called off are on their way
            for _, transfer in arriving:
                transfer.wait()
        seconds = self.seconds_since(start)
        validation = self.validate(self.batches.validation) if completed else None
        for word in words:
            word.wait()
        return self.report(completed, seconds, total, validation)

    def _say(self, value: float) -> list[Transfer]:
        """Send a word to all subnetworks: whether to take the step, or the gradient's norm."""
        return [link.send_word(value) for link in self._links]

    def whole_square_norm(self, square_norm: float) -> float:
        """See :meth:`Actor.whole_square_norm`; waits for the backward passes of all subnetworks."""
        whole = sum((link.receive_word(1)[0] for link in self._links), start=square_norm)
        for word in self._say(whole):
            word.wait()
        return whole

    def _post_receives(self, batch: int) -> list[tuple[Tensor, Transfer]]:
        """Start receiving r_1 … r_{N−1}, y_N of one batch, into the same memory every time."""
        if batch not in self._buffers:
            self._buffers[batch] = [
                self.compute.empty(batch, *shape, memory=link.inbox)
                for shape, link in zip(self.shapes, self._links, strict=True)
            ]
        return [
            (out, link.receive(self.compute.in_memory_order(out)))
            for out, link in zip(self._buffers[batch], self._links, strict=True)
        ]

    def _forward(
        self,
        arriving: list[tuple[Tensor, Transfer]],
        run: Recorder | None,
        draw: Callable[[str, int], None],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The coarse network's recursion; returns [r̃_1, …, r̃_{N−1}, ỹ] as leaves and all F^j(r̃_j).

        Without ``run``, for validation, nothing is prepared for a backward pass. ``draw`` seeds each F^j.
        """
        leaves: list[Tensor] = []
        corrections: list[Tensor] = []
        for j, (residual, transfer) in enumerate(arriving, start=1):
            with self.clock("driver.wait"):
                transfer.wait()
            draw("coarse", j)
            with self.clock("coarse_network.forward"):
                before = corrections[-1] if corrections else None
                part = partial(self._propagate, j, residual, before, with_grad=run is not None)
                leaf, correction = part() if run is None else run(f"F^{j}", part)
            leaves.append(leaf)
            if correction is not None:
                corrections.append(correction)
        return leaves, corrections

    def _propagate(
        self, j: int, residual: Tensor, correction: Tensor | None, *, with_grad: bool
    ) -> tuple[Tensor, Tensor | None]:
        """From r_j and F^{j−1}(r̃_{j−1}) to r̃_j, a leaf, and F^j(r̃_j); there is no F^N."""
        if correction is not None:
            residual.add_(correction.detach())
        leaf = residual.detach().requires_grad_(with_grad)
        if j > len(self.coarse_network):
            return leaf, None
        coarse = self.coarse_network[j - 1]
        if isinstance(coarse, nn.Identity):
            return leaf, leaf  # as it is: there and back, nothing is computed
        with self.compute.autocast():
            return leaf, coarse(_branch(leaf))

    def _lose(self, leaf: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and loss of ỹ."""
        with self.compute.autocast():
            logits = self.postprocess(_branch(leaf))
            return logits, self.task.loss(logits, labels)

    def _backward(self, loss: Tensor, leaves: list[Tensor], corrections: list[Tensor]) -> list[Transfer]:
        """Back through h, F^{N−1} … F^1; every subnetwork's gradient is sent the moment it exists."""
        n = len(leaves)
        with self.clock("postprocess.backward"):
            gradient = self.recorder("h back", partial(self._back_from_loss, loss, leaves[-1]))
        transfers = [self._links[n - 1].send(gradient)]
        for j in range(n - 1, 0, -1):
            with self.clock("coarse_network.backward"):
                part = partial(self._back_through, corrections[j - 1], leaves[j], leaves[j - 1])
                gradient = self.recorder(f"F^{j} back", part)
            transfers.append(self._links[j - 1].send(gradient))
        return transfers

    def _back_from_loss(self, loss: Tensor, leaf: Tensor) -> Tensor:
        """∂L/∂ỹ as it is sent."""
        self.optimizer.zero_grad()
        loss.backward()
        return self.compute.in_memory_order(_gradient(leaf))

    def _back_through(self, correction: Tensor, leaf: Tensor, before: Tensor) -> Tensor:
        """From ∂L/∂r̃_{j+1}, at ``leaf``, to ∂L/∂r_j = ∂L/∂r̃_j, at the leaf ``before``, as it is sent."""
        if correction is before:
            before.grad = _gradient(leaf)
        else:
            seed_gradient(correction, _gradient(leaf)).backward()
        return self.compute.in_memory_order(_gradient(before))

    @torch.no_grad()
    def validate(self, images: HeldOut) -> Totals:
        """Loss and error over images that are held out, through the same parallel path."""
        self.module.eval()
        clock, self.clock = self.clock, Clock(self.device)  # validation is no part of a training step
        total = Totals(self.task, self.device)
        for step in range(images.n_steps):
            labels = images.labels(step)
            draw = partial(self.draw, "validation", step)
            leaves, _ = self._forward(self._post_receives(len(labels)), None, draw)
            draw("postprocess", 0)
            with self.compute.autocast():
                logits = self.postprocess(leaves[-1])
            total.add(self.task.loss(logits, labels), logits, labels)
        self.clock = clock
        return total


def _branch(leaf: Tensor) -> Tensor:
    """A copy for a component to read: autograd refuses those that overwrite a leaf in place."""
    return leaf.clone() if leaf.requires_grad else leaf


def _gradient(leaf: Tensor) -> Tensor:
    """The gradient that the backward pass has left at ``leaf``: the plan has seen that it leaves one."""
    assert leaf.grad is not None
    return leaf.grad
