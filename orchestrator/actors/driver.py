"""DriverActor: coarse network, postprocess, loss, schedule; decides every optimizer step."""

import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.autograd import seed_gradient
from models.iterations import Repeated, passes_of, repeated, windows
from models.recorder import Recorder
from models.tearing import Tearing
from orchestrator.actors.actor import Actor, EpochReport
from orchestrator.actors.clock import Clock
from orchestrator.actors.links import connect_link
from orchestrator.actors.metrics import FiniteWatch, Totals
from orchestrator.actors.transport import Link, Rendezvous, Transfer
from orchestrator.config import TrialConfig
from orchestrator.data.batches import HeldOut
from orchestrator.data.data import Data
from orchestrator.devices import GangResources


class DriverActor(Actor):
    """Runs F^1 … F^{N−1} and h on the residuals as they arrive, and answers each with its gradient.

        r_1 ──▶ r̃_1 ─ F^1 ─▶ + ─▶ r̃_2 ─ F^2 ─▶ + ─▶ ỹ ─ h ─▶ loss
        r_2 ──────────────────┘                 │
        y_3 ────────────────────────────────────┘        (N = 3)

    Every r̃_j is a leaf of its own, so that ∂L/∂r_j = ∂L/∂r̃_j is there, and is sent, as soon as the
    backward pass has reached it: last subnetwork first.

    In every iteration but the last, r̃_j also goes to subnetwork j + 1, which corrects by it what g^{j+1}
    reads. In all but the first, what arrives from subnetwork j is the change of y_j, Δ_j, where r_j is
    Δ_j less what F^{j−1} returned in the iteration before.

    Args:
        config: the trial.
        tearing: the torn network.
        data: the trial's images.
        resources: what the actor has reserved.
        replica: of which replica.
    """

    def __init__(
        self,
        config: TrialConfig,
        tearing: Tearing,
        data: Data,
        resources: GangResources,
        replica: int = 1,
    ) -> None:
        super().__init__(config, tearing, data, resources, part="driver", replica=replica)
        n = tearing.n_subnetworks
        self.iterations = windows(n, config.n_iterations)
        self.shapes = [tearing.shape(j) for j in range(1, n + 2)]  # what g^1 … g^N and h read
        coarse_network = nn.ModuleList(tearing.build_coarse(j) for j in range(1, n))
        self.own(
            nn.ModuleDict(
                {
                    "coarse_network": coarse_network,
                    "postprocess": tearing.build_postprocess(),
                    "coarse_passes": passes_of(coarse_network, [window[:-1] for window in self.iterations]),
                }
            )
        )
        self.coarse_network = self.module["coarse_network"]  # type: ignore[index]
        self.postprocess = self.module["postprocess"]  # type: ignore[index]
        self.coarse_passes = self.module["coarse_passes"]  # type: ignore[index]
        self._buffers: dict[tuple[int, int], Tensor] = {}

    def connect(self, rendezvous: Rendezvous) -> list[str]:
        """Open the links to all subnetworks; returns their backends, subnetwork 1 first."""
        store = self.join(rendezvous)
        several = len(self.iterations) > 1  # then gradients of what g^j reads come as well
        self._links = [
            connect_link(
                store,
                name=f"driver to subnetwork {j}",
                rank=0,
                host=self.host,
                device=self.device,
                timeout=rendezvous.timeout,
                inbox_bytes=max(
                    self.compute.nbytes(self.config.batch_size, *shape)
                    for shape in self.shapes[j - several : j + 1]
                ),
                cuda_ipc=self.cuda_ipc,
            )
            for j in range(1, len(self.shapes))
        ]
        self.join_replicas(rendezvous)
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
        arriving = self._post_receives(self.n_samples)
        for step in range(self.batches.n_train_steps):
            if not watch.finite():  # at the step before: nobody waits for this step's loss
                break
            with self.training_step():
                transfers = self._say(True)
                labels = self.batches.train_targets(epoch, step)[self.share]
                labels = self.recorder.fixed("labels", labels)
                draw = partial(self.draw, "train", step)
                sweeps, sent = self._forward(arriving, self.recorder, draw)
                draw("postprocess", 0)
                with self.clock("postprocess.forward"):
                    logits, loss = self.recorder("h", partial(self._lose, _result(sweeps), labels))
                transfers += sent + self._backward(loss, sweeps)
                # Before the rest of this step, so that whoever is ahead finds an open door.
                more = step + 1 < self.batches.n_train_steps
                arriving = self._post_receives(self.n_samples) if more else {}
                whole = Totals(self.task, self.device)
                whole.add(loss, logits, labels)
                self.take_step(step, component="driver")
                transfers.append(self.sum_over_replicas(whole.sums))
                with self.clock("driver.wait"):
                    for transfer in transfers:
                        transfer.wait()
                total.sums += whole.sums
                watch.look(whole.sums[0])
        completed = watch.finite()
        words = self._say(completed)
        if not completed:  # the residuals of the step that is called off are on their way
            for _, transfer in arriving.values():
                transfer.wait()
        seconds = self.seconds_since(start)
        validation = self.validate(self.batches.validation) if completed else None
        for word in words:
            word.wait()
        if self.replica > 1:  # what all report, the first does
            return self.report(completed, seconds)
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

    def _post_receives(self, batch: int) -> "_Arriving":
        """Start receiving what the first iteration takes of one batch, by j."""
        return {j: self._receive(j, batch) for j in self.iterations[0]}

    def _receive(self, j: int, batch: int) -> tuple[Tensor, Transfer]:
        """Start receiving r_j, Δ_j or y_j: into the same memory every time if there is one iteration."""
        link, shape = self._links[j - 1], (batch, *self.shapes[j])
        if len(self.iterations) > 1:
            out = self.compute.empty(*shape)
        else:
            if (j, batch) not in self._buffers:
                self._buffers[j, batch] = self.compute.empty(*shape, memory=link.inbox)
            out = self._buffers[j, batch]
        return out, link.receive(self.compute.in_memory_order(out))

    def _forward(
        self, arriving: "_Arriving", run: Recorder | None, draw: Callable[[str, int], None]
    ) -> tuple[list["_Sweep"], list[Transfer]]:
        """The coarse network's recursion in every iteration; returns these, and what is being sent.

        Without ``run``, for validation, nothing is prepared for a backward pass. ``draw`` seeds each F^j.
        """
        coarse_network = repeated(self.coarse_network, self.coarse_passes)
        batch = len(arriving[1][0])
        sweeps: list[_Sweep] = []
        sent: list[Transfer] = []
        for k, window in enumerate(self.iterations, start=1):
            before, sweep = sweeps[-1] if sweeps else {}, _Sweep()
            for j in window:
                residual, transfer = arriving.pop(j) if j in arriving else self._receive(j, batch)
                with self.clock("driver.wait"):
                    transfer.wait()
                draw("coarse", j)
                with self.clock("coarse_network.forward"):
                    part = partial(
                        self._propagate,
                        residual,
                        sweep[j - 1].correction if j - 1 in sweep else None,
                        before[j - 1].correction if j - 1 in before else None,
                        coarse_network[j] if j < window[-1] else None,
                        partial(self._correct, sent, j + 1) if k < len(self.iterations) else None,
                        with_grad=run is not None,
                    )
                    sweep[j] = part() if run is None else run(f"F^{j}", part)
            sweeps.append(sweep)
        return sweeps, sent

    def _correct(self, sent: list[Transfer], j: int, residual: Tensor) -> None:
        """Send r̃_{j−1} to subnetwork j, which corrects x_j by it."""
        sent.append(self._links[j - 1].send(self.compute.in_memory_order(residual)))

    def _propagate(
        self,
        residual: Tensor,
        correction: Tensor | None,
        before: Tensor | None,
        coarse: Repeated | None,
        correct: Callable[[Tensor], None] | None,
        *,
        with_grad: bool,
    ) -> "_Interface":
        """From r_j and F^{j−1}(r̃_{j−1}) to r̃_j, a leaf, and F^j(r̃_j), if there is F^j.

        ``before`` is F^{j−1}(r̃_{j−1}) of the iteration before: ``residual`` is then Δ_j. ``correct`` gets
        r̃_j where g^{j+1} waits for it.
        """
        if correction is not None:
            residual.add_(correction.detach())
        if before is not None:
            residual.sub_(before.detach())
        if correct is not None:
            correct(residual)
        leaf = residual.detach().requires_grad_(with_grad)
        if coarse is None:
            return _Interface(leaf, None)
        if coarse.is_identity:
            return _Interface(leaf, leaf)  # as it is: there and back, nothing is computed
        reads = leaf if correct is None else leaf.clone()  # which F^j might overwrite
        with self.compute.autocast():
            return _Interface(leaf, coarse(reads))

    def _lose(self, leaf: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and loss of ỹ."""
        with self.compute.autocast():
            logits = self.postprocess(_branch(leaf))
            return logits, self.task.loss(logits, labels)

    def _backward(self, loss: Tensor, sweeps: list["_Sweep"]) -> list[Transfer]:
        """Back through h, and F^{N−1} … F^1 in every iteration, the last one first.

        Every subnetwork's gradient is sent the moment it exists.
        """
        transfers = []
        after: dict[int, Tensor] = {}  # ∂L/∂r̃_j in the iteration after
        for k, sweep in reversed([*enumerate(sweeps, start=1)]):
            gradients: dict[int, Tensor] = {}
            for j in reversed(self.iterations[k - 1]):
                leaf, correction = sweep[j]
                if correction is not None:
                    with self.clock("coarse_network.backward"):
                        part = partial(
                            self._back_through, correction, leaf, gradients[j + 1], after.get(j + 1)
                        )
                        gradient = self.recorder(f"F^{j} back", part)
                elif k == len(sweeps):
                    with self.clock("postprocess.backward"):
                        gradient = self.recorder("h back", partial(self._back_from_loss, loss, leaf))
                if k < len(sweeps):
                    gradient = self._back_from_subnetwork(j + 1, leaf)
                transfers.append(self._links[j - 1].send(gradient))
                gradients[j] = _gradient(leaf)
            after = gradients
        return transfers

    def _back_from_loss(self, loss: Tensor, leaf: Tensor) -> Tensor:
        """∂L/∂ỹ as it is sent."""
        self.optimizer.zero_grad()
        if self.n_samples < self.config.batch_size:  # then the loss is a part of the whole batch's
            loss = loss * (self.n_samples / self.config.batch_size)
        loss.backward()
        return self.compute.in_memory_order(_gradient(leaf))

    def _back_through(
        self, correction: Tensor, leaf: Tensor, gradient: Tensor, after: Tensor | None
    ) -> Tensor:
        """From ∂L/∂r̃_{j+1} to ∂L/∂r_j = ∂L/∂r̃_j, at ``leaf``, as it is sent.

        ``after`` is ∂L/∂r̃_{j+1} in the iteration after, where F^j(r̃_j) has been taken off again.
        """
        if after is not None:
            gradient = gradient - after
        if correction is leaf:
            leaf.grad = gradient
        else:
            seed_gradient(correction, gradient).backward()
        return self.compute.in_memory_order(_gradient(leaf))

    def _back_from_subnetwork(self, j: int, leaf: Tensor) -> Tensor:
        """∂L/∂r̃_{j−1}, at ``leaf``, as it is sent: with what comes of its having corrected what g^j reads."""
        gradient = self.compute.empty(*leaf.shape)
        with self.clock("driver.wait"):
            self._links[j - 1].receive(self.compute.in_memory_order(gradient)).wait()
        leaf.grad = gradient if leaf.grad is None else leaf.grad + gradient
        return self.compute.in_memory_order(leaf.grad)

    @torch.no_grad()
    def validate(self, images: HeldOut) -> Totals:
        """Loss and error over images that are held out, through the same parallel path."""
        self.module.eval()
        self.share_buffers()
        clock, self.clock = self.clock, Clock(self.device)  # validation is no part of a training step
        total = Totals(self.task, self.device)
        for step in self.held_out_steps(images):
            labels = images.targets(step)
            draw = partial(self.draw, "validation", step)
            sweeps, sent = self._forward(self._post_receives(len(labels)), None, draw)
            draw("postprocess", 0)
            with self.compute.autocast():
                logits = self.postprocess(_result(sweeps))
            total.add(self.task.loss(logits, labels), logits, labels)
            for transfer in sent:
                transfer.wait()
        self.clock = clock
        self.sum_over_replicas(total.sums).wait()
        return total


class _Interface(NamedTuple):
    """What is known of one interface after an iteration: r̃_j, or ỹ, and F^j(r̃_j)."""

    residual: Tensor
    correction: Tensor | None


_Sweep = dict[int, _Interface]
"""One iteration, by j."""

_Arriving = dict[int, tuple[Tensor, Transfer]]
"""What is being received, by j."""


def _result(sweeps: list[_Sweep]) -> Tensor:
    """ỹ."""
    return list(sweeps[-1].values())[-1].residual


def _branch(leaf: Tensor) -> Tensor:
    """A copy for a component to read: autograd refuses those that overwrite a leaf in place."""
    return leaf.clone() if leaf.requires_grad else leaf


def _gradient(leaf: Tensor) -> Tensor:
    """The gradient that the backward pass has left at ``leaf``: the plan has seen that it leaves one."""
    assert leaf.grad is not None
    return leaf.grad
