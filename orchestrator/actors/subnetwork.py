"""SubnetworkActor: one parallel subnetwork g^j behind its C^j, and their optimizer state."""

import time
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from models.autograd import seed_gradient
from models.tearing import Tearing
from orchestrator.actors.actor import Actor, EpochReport
from orchestrator.actors.links import connect_link
from orchestrator.actors.transport import Link, Rendezvous, Transfer
from orchestrator.config import TrialConfig
from orchestrator.data.datasets import ImageData
from orchestrator.devices import GangResources


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
            self.next_preprocess = self.compute.place(tearing.build_preprocess(j + 1))
        self._output_shape = (config.batch_size, *tearing.shape(j + 1))

    def connect(self, rendezvous: Rendezvous) -> None:
        """Open the links to the driver and to the neighbouring subnetworks."""
        store = rendezvous.join()

        def link(name: str, rank: int, inbox_bytes: int) -> Link:
            return connect_link(
                store,
                name=name,
                rank=rank,
                host=self.host,
                device=self.device,
                timeout=rendezvous.timeout,
                inbox_bytes=inbox_bytes,
            )

        self.driver = link(f"driver to subnetwork {self.j}", 1, self.compute.nbytes(*self._output_shape))
        # ∂L/∂r_j arrives in the same memory every time.
        self._gradient = self.compute.empty(*self._output_shape, memory=self.driver.inbox)
        self.previous = self.next = None
        if self.j > 1:
            gradient = sum(tensor.nbytes for tensor in _trainable(self.preprocess))
            self.previous = link(f"subnetwork {self.j - 1} to {self.j}", 1, gradient)
        if self.next_preprocess is not None:
            weights = sum(tensor.nbytes for tensor in _state_tensors(self.next_preprocess))
            self.next = link(f"subnetwork {self.j} to {self.j + 1}", 0, weights)

    def links(self) -> list[Link]:
        """To the driver and to the neighbours there are."""
        return [link for link in (self.driver, self.previous, self.next) if link is not None]

    def run_epoch(self, epoch: int) -> EpochReport:
        """Train one epoch (1-based) and validate, in step with the driver.

        Raises:
            TransportError: a peer is gone or silent.
        """
        self.start_epoch(epoch)
        self.module.train()
        if self.next_preprocess is not None:
            self.next_preprocess.train()
        n_steps = self.batches.n_train_steps
        start = time.perf_counter()
        images = self.batches.train(epoch, 0)[0]
        completed = True
        for step in range(n_steps):
            with self.training_step():
                following = (epoch, step + 1) if step + 1 < n_steps else None
                completed, images = self._train_step(images, following)
            if not completed:
                break
        else:
            completed = bool(self.driver.receive_word(2)[1])
        seconds = time.perf_counter() - start
        if completed:
            self._validate()
        return self.report(completed, seconds)

    def _train_step(self, images: Tensor, following: tuple[int, int] | None) -> tuple[bool, Tensor]:
        """One optimizer step, and the images of the following one (epoch, step).

        The first value is False, and no step was taken, if the driver calls the epoch off.
        """
        lent = self._lend_preprocess()
        replica = self._post_receive(self.next, self.next_preprocess, _state_tensors)
        with self.clock("subnetwork.forward"), self.compute.autocast():
            output = self.units(self.preprocess(images))
        with self.clock("subnetwork.wait"):
            self._refresh_replica(replica)
        with self.clock("subnetwork.forward"), self.compute.autocast():
            x_next = None if self.next_preprocess is None else self.next_preprocess(images)
            residual = self._residual(output, x_next)
        sent = self.driver.send(residual)
        # ∂L/∂r_j will come into self._gradient; until then only what the backward pass needs is kept.
        loss = seed_gradient(output, self._gradient)
        replica_loss = None
        if x_next is not None and x_next.requires_grad:
            replica_loss = seed_gradient(x_next, self._gradient, scale=-1.0)
        del output, x_next, residual
        with self.clock("subnetwork.wait"):
            rate, proceed = self.driver.receive_word(2)  # said when the step began
        if not proceed:
            for transfer in (sent, *lent):  # nothing may be left under way
                transfer.wait()
            return False, images
        arriving = self.driver.receive(self.compute.in_memory_order(self._gradient))
        lent_gradient = self._post_receive(self.previous, self.preprocess, _trainable)
        if following is not None:
            images = self.batches.train(*following)[0]  # while the driver is at work
        with self.clock("subnetwork.wait"):
            arriving.wait()
            sent.wait()  # long ago: now its memory is free before the backward pass takes its own
        del sent
        with self.clock("subnetwork.backward"):
            returned = self._return_replica_gradient(replica_loss)
            self.optimizer.zero_grad()
            loss.backward()
        with self.clock("subnetwork.wait"):
            self._add_lent_gradient(lent_gradient)
            for transfer in (*lent, *returned):
                transfer.wait()
        with self.clock("subnetwork.optimizer"):
            self.optimizer.step(rate)
        return True, images

    @torch.no_grad()
    def _validate(self) -> None:
        """Send r_j of every validation batch."""
        self.module.eval()
        transfers = self._lend_preprocess()
        self._refresh_replica(self._post_receive(self.next, self.next_preprocess, _state_tensors))
        if self.next_preprocess is not None:
            self.next_preprocess.eval()
        for step in range(self.batches.n_validation_steps):
            images, _ = self.batches.validation(step)
            with self.compute.autocast():
                output = self.units(self.preprocess(images))
                x_next = None if self.next_preprocess is None else self.next_preprocess(images)
            for transfer in transfers:
                transfer.wait()
            transfers = [self.driver.send(self._residual(output, x_next))]
        for transfer in transfers:
            transfer.wait()

    def _residual(self, output: Tensor, x_next: Tensor | None) -> Tensor:
        """r_j = y_j − C^{j+1}(x), or y_N, as it lies in memory."""
        residual = output.detach() if x_next is None else output.detach() - x_next.detach()
        return self.compute.in_memory_order(residual.to(self.compute.activation_dtype))

    def _lend_preprocess(self) -> list[Transfer]:
        """Send C^j as it is now to subnetwork j − 1, which holds a replica."""
        if self.previous is None:
            return []
        weights = _flatten(_state_tensors(self.preprocess))
        return [self.previous.send(weights)] if len(weights) else []

    def _post_receive(
        self, link: Link | None, module: nn.Module | None, tensors: Callable[[nn.Module], Sequence[Tensor]]
    ) -> tuple[Tensor, Transfer] | None:
        """Start receiving as many values as those tensors of the module hold; None if there are none."""
        if link is None or module is None or not (n := sum(t.numel() for t in tensors(module))):
            return None
        values = torch.empty(n, dtype=self.compute.weight_dtype, device=self.device)
        return values, link.receive(values)

    @torch.no_grad()
    def _refresh_replica(self, arriving: tuple[Tensor, Transfer] | None) -> None:
        """Take over C^{j+1} as its owner has it now."""
        if arriving is None:
            return
        weights, transfer = arriving
        transfer.wait()
        tensors = _state_tensors(cast(nn.Module, self.next_preprocess))
        for tensor, values in zip(tensors, _split(weights, tensors), strict=True):
            tensor.copy_(values)

    def _return_replica_gradient(self, replica_loss: Tensor | None) -> list[Transfer]:
        """Send what −∂L/∂r_j contributes to C^{j+1}'s gradient to its owner."""
        if self.next is None or replica_loss is None:
            return []
        gradients = torch.autograd.grad(replica_loss, _trainable(cast(nn.Module, self.next_preprocess)))
        return [self.next.send(_flatten(list(gradients)))]

    def _add_lent_gradient(self, arriving: tuple[Tensor, Transfer] | None) -> None:
        """Add the contribution of subnetwork j − 1's replica to C^j's gradient."""
        if arriving is None:
            return
        gradient, transfer = arriving
        transfer.wait()
        parameters = _trainable(self.preprocess)
        for parameter, part in zip(parameters, _split(gradient, parameters), strict=True):
            parameter.grad = part if parameter.grad is None else parameter.grad + part


def _trainable(module: nn.Module) -> list[Tensor]:
    """What of a replica the owner needs the gradient of."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def _state_tensors(module: nn.Module) -> list[Tensor]:
    """What a replica must share with its owner: parameters and running statistics."""
    return [*module.parameters(), *(b for b in module.buffers() if b.is_floating_point())]


def _flatten(tensors: list[Tensor]) -> Tensor:
    """All tensors' values in one vector."""
    return torch.cat([t.detach().flatten() for t in tensors]) if tensors else torch.empty(0)


def _split(vector: Tensor, like: list[Tensor]) -> list[Tensor]:
    """The inverse of :func:`_flatten`: pieces of ``vector`` in the shapes of ``like``."""
    pieces = vector.split([t.numel() for t in like])
    return [piece.view_as(t) for piece, t in zip(pieces, like, strict=True)]
