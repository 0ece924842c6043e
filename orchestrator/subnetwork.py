"""SubnetworkActor: one parallel subnetwork g^j behind its C^j, and their optimizer state."""

import time
from typing import cast

import torch
from torch import Tensor, nn

from models.autograd import seed_gradient
from models.tearing import Tearing
from orchestrator.actor import Actor, EpochReport
from orchestrator.config import TrialConfig
from orchestrator.datasets import ImageData
from orchestrator.devices import GangResources
from orchestrator.transport import Link, Rendezvous, Transfer


class SubnetworkActor(Actor):
    """Runs C^j and g^j, forms the residual r_j, and steps the optimizer on the driver's word.

        subnetwork j−1          subnetwork j                         driver
                           x_j = C^j(x), y_j = g^j(x_j)
        C^j's weights ◀──  r_j = y_j − C^{j+1}(x)    ── r_j ──────▶
                           gradient of C^{j+1}       ◀── word, ∂L/∂r_j
        its gradient  ──▶  backward through g^j, C^j
                           optimizer step

    The residual needs C^{j+1}, which belongs to subnetwork j + 1: this actor holds a replica, whose
    gradient goes to the owner and whose weights come back at the next step. Both are tiny, and
    neither is waited for while there is anything to compute. The last subnetwork sends y_N itself.

    Args:
        config: the trial.
        tearing: the torn network.
        j: which subnetwork, 1-based.
        data: the trial's images.
        resources: what the actor has reserved.
    """

    def __init__(
        self, config: TrialConfig, tearing: Tearing, j: int, data: ImageData, resources: GangResources
    ) -> None:
        super().__init__(config, data, resources, part=f"subnetwork-{j}")
        self.j = j
        self.own(
            nn.ModuleDict({"preprocess": tearing.build_preprocess(j), "units": tearing.build_subnetwork(j)})
        )
        self.preprocess = self.module["preprocess"]  # type: ignore[index]
        self.units = self.module["units"]  # type: ignore[index]
        self.next_preprocess: nn.Module | None = None
        if j < tearing.n_subnetworks:
            self.next_preprocess = tearing.build_preprocess(j + 1).to(self.device, self.dtype)

    def connect(self, rendezvous: Rendezvous) -> None:
        """Open the links to the driver and to the neighbouring subnetworks."""
        store = rendezvous.join()

        def link(name: str, rank: int) -> Link:
            return Link(
                store, name=name, rank=rank, host=self.host, device=self.device, timeout=rendezvous.timeout
            )

        self.driver = link(f"driver to subnetwork {self.j}", 1)
        self.previous = link(f"subnetwork {self.j - 1} to {self.j}", 1) if self.j > 1 else None
        self.next = link(f"subnetwork {self.j} to {self.j + 1}", 0) if self.next_preprocess else None

    def run_epoch(self, epoch: int) -> EpochReport:
        """Train one epoch (1-based) and validate, in step with the driver.

        Raises:
            TransportError: a peer is gone or silent.
        """
        self.start_epoch(epoch)
        self.module.train()
        if self.next_preprocess is not None:
            self.next_preprocess.train()
        start = time.perf_counter()
        completed = all(
            self._train_step(self.batches.train(epoch, step)[0]) for step in range(self.batches.n_train_steps)
        )
        seconds = time.perf_counter() - start
        if completed:
            self._validate()
        return self.report(completed, seconds)

    def _train_step(self, images: Tensor) -> bool:
        """One optimizer step; False if the driver calls the epoch off."""
        lent = self._lend_preprocess()
        with self.clock("subnetwork.forward"):
            output = self.units(self.preprocess(images))
        with self.clock("subnetwork.wait"):
            self._refresh_replica()
        with self.clock("subnetwork.forward"):
            x_next = None if self.next_preprocess is None else self.next_preprocess(images)
            residual = output.detach() if x_next is None else (output - x_next).detach()
        sent = self.driver.send(residual)
        with self.clock("subnetwork.wait"):
            rate, proceed = self.driver.receive_word(2)
            if not proceed:
                return False
            gradient = torch.empty_like(residual, memory_format=torch.contiguous_format)
            self.driver.receive(gradient).wait()
        with self.clock("subnetwork.backward"):
            returned = self._return_replica_gradient(x_next, gradient)
            self.optimizer.zero_grad()
            seed_gradient(output, gradient).backward()
        with self.clock("subnetwork.wait"):
            self._add_lent_gradient()
            for transfer in (sent, *lent, *returned):
                transfer.wait()
        with self.clock("subnetwork.optimizer"):
            self.optimizer.step(rate)
        return True

    @torch.no_grad()
    def _validate(self) -> None:
        """Send r_j of every validation batch."""
        self.module.eval()
        if self.next_preprocess is not None:
            self.next_preprocess.eval()
        for step in range(self.batches.n_validation_steps):
            images, _ = self.batches.validation(step)
            lent = self._lend_preprocess()
            output = self.units(self.preprocess(images))
            self._refresh_replica()
            if self.next_preprocess is not None:
                output = output - self.next_preprocess(images)
            for transfer in (*lent, self.driver.send(output)):
                transfer.wait()

    def _lend_preprocess(self) -> list[Transfer]:
        """Send C^j as it is now to subnetwork j − 1, which holds a replica."""
        if self.previous is None:
            return []
        weights = _flatten(_state_tensors(self.preprocess))
        return [self.previous.send(weights)] if len(weights) else []

    @torch.no_grad()
    def _refresh_replica(self) -> None:
        """Take over C^{j+1} as its owner has it now."""
        if self.next is None or self.next_preprocess is None:
            return
        tensors = _state_tensors(self.next_preprocess)
        weights = torch.empty(sum(t.numel() for t in tensors), dtype=self.dtype, device=self.device)
        if len(weights):
            self.next.receive(weights).wait()
        for tensor, values in zip(tensors, _split(weights, tensors), strict=True):
            tensor.copy_(values)

    def _return_replica_gradient(self, x_next: Tensor | None, gradient: Tensor) -> list[Transfer]:
        """Send what −∂L/∂r_j contributes to C^{j+1}'s gradient to its owner."""
        if self.next is None or x_next is None or not x_next.requires_grad:
            return []
        gradients = torch.autograd.grad(
            seed_gradient(x_next, -gradient), _trainable(cast(nn.Module, self.next_preprocess))
        )
        return [self.next.send(_flatten(list(gradients)))]

    def _add_lent_gradient(self) -> None:
        """Add the contribution of subnetwork j − 1's replica to C^j's gradient."""
        parameters = _trainable(self.preprocess)
        if self.previous is None or not parameters:
            return
        gradient = torch.empty(sum(p.numel() for p in parameters), dtype=self.dtype, device=self.device)
        self.previous.receive(gradient).wait()
        for parameter, part in zip(parameters, _split(gradient, parameters), strict=True):
            parameter.grad = part if parameter.grad is None else parameter.grad + part


def _trainable(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def _state_tensors(module: nn.Module) -> list[Tensor]:
    """What a replica must share with its owner: parameters and running statistics."""
    return [*module.parameters(), *(b for b in module.buffers() if b.is_floating_point())]


def _flatten(tensors: list[Tensor]) -> Tensor:
    """All tensors' values in one vector."""
    return torch.cat([t.detach().flatten() for t in tensors]) if tensors else torch.empty(0)


def _split(vector: Tensor, like: list[Tensor] | list[nn.Parameter]) -> list[Tensor]:
    """The inverse of :func:`_flatten`: pieces of ``vector`` in the shapes of ``like``."""
    pieces = vector.split([t.numel() for t in like])
    return [piece.view_as(t) for piece, t in zip(pieces, like, strict=True)]
