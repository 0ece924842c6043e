"""DriverActor: coarse network, postprocess, loss, schedule; decides every optimizer step."""

import time

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.autograd import seed_gradient
from models.tearing import Tearing
from orchestrator.actor import Actor, EpochReport
from orchestrator.clock import Clock
from orchestrator.config import TrialConfig
from orchestrator.datasets import ImageData
from orchestrator.devices import GangResources
from orchestrator.metrics import Totals
from orchestrator.transport import Link, Rendezvous, Transfer, open_store


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
        super().__init__(config, data, resources, part="driver")
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

    def open(self, timeout: float) -> Rendezvous:
        """Open the store where the gang's actors find each other."""
        self._store, self._rendezvous = open_store(self.host, timeout)
        return self._rendezvous

    def connect(self) -> list[str]:
        """Open the links to all subnetworks; returns their backends, subnetwork 1 first."""
        self.links = [
            Link(
                self._store,
                name=f"driver to subnetwork {j}",
                rank=0,
                host=self.host,
                device=self.device,
                timeout=self._rendezvous.timeout,
            )
            for j in range(1, len(self.shapes) + 1)
        ]
        return [link.backend for link in self.links]

    def run_epoch(self, epoch: int) -> EpochReport:
        """Train one epoch (1-based) and validate, in step with the subnetworks.

        Raises:
            TransportError: a subnetwork is gone or silent.
        """
        rate = self.start_epoch(epoch)
        self.module.train()
        total = Totals(self.device)
        start = time.perf_counter()
        completed = True
        for step in range(self.batches.n_train_steps):
            completed = self._train_step(self.batches.train(epoch, step)[1], rate, total)
            if not completed:
                break
        seconds = time.perf_counter() - start
        return self.report(completed, seconds, rate, total, self._validate() if completed else None)

    def _train_step(self, labels: Tensor, rate: float, total: Totals) -> bool:
        """One optimizer step; False, and no step anywhere, if the loss is not finite."""
        leaves, corrections = self._forward(len(labels), with_grad=True)
        with self.clock("postprocess.forward"):
            logits = self.postprocess(_branch(leaves[-1]))
            loss = F.cross_entropy(logits, labels)
            total.add(loss, logits, labels)
            proceed = bool(torch.isfinite(loss))
        transfers = [link.send_word(rate, proceed) for link in self.links]
        if proceed:
            self.optimizer.zero_grad()
            with self.clock("postprocess.backward"):
                loss.backward()
            transfers.append(self.links[-1].send(_gradient(leaves[-1])))
            for j in range(len(corrections), 0, -1):
                with self.clock("coarse_network.backward"):
                    seed_gradient(corrections[j - 1], _gradient(leaves[j])).backward()
                transfers.append(self.links[j - 1].send(_gradient(leaves[j - 1])))
            with self.clock("driver.optimizer"):
                self.optimizer.step(rate)
        with self.clock("driver.wait"):
            for transfer in transfers:
                transfer.wait()
        return proceed

    def _forward(self, batch: int, *, with_grad: bool) -> tuple[list[Tensor], list[Tensor]]:
        """The coarse network's recursion; returns [r̃_1, …, r̃_{N−1}, ỹ] as leaves and all F^j(r̃_j)."""
        arriving = [self._receive(j, batch) for j in range(1, len(self.links) + 1)]
        leaves: list[Tensor] = []
        corrections: list[Tensor] = []
        for j, (residual, transfer) in enumerate(arriving, start=1):
            with self.clock("driver.wait"):
                transfer.wait()
            leaf = residual + corrections[-1].detach() if corrections else residual
            leaves.append(leaf.requires_grad_(with_grad))
            if j < len(arriving):
                with self.clock("coarse_network.forward"):
                    corrections.append(self.coarse_network[j - 1](_branch(leaf)))
        return leaves, corrections

    def _receive(self, j: int, batch: int) -> tuple[Tensor, Transfer]:
        """Start receiving r_j (y_N for j = N) of a batch."""
        out = torch.empty(batch, *self.shapes[j - 1], dtype=self.dtype, device=self.device)
        return out, self.links[j - 1].receive(out)

    @torch.no_grad()
    def _validate(self) -> Totals:
        """Loss and error over the validation set, through the same parallel path."""
        self.module.eval()
        clock, self.clock = self.clock, Clock()  # validation is no part of a training step's time
        total = Totals(self.device)
        for step in range(self.batches.n_validation_steps):
            _, labels = self.batches.validation(step)
            leaves, _ = self._forward(len(labels), with_grad=False)
            logits = self.postprocess(leaves[-1])
            total.add(F.cross_entropy(logits, labels), logits, labels)
        self.clock = clock
        return total


def _branch(leaf: Tensor) -> Tensor:
    """A copy for a component to read: autograd refuses those that overwrite a leaf in place."""
    return leaf.clone() if leaf.requires_grad else leaf


def _gradient(leaf: Tensor) -> Tensor:
    """The gradient that the backward pass has left at ``leaf``."""
    assert leaf.grad is not None
    return leaf.grad
