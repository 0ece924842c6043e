"""SubnetworkActor: one parallel subnetwork g^j behind its C^j, and their optimizer state."""

import time
from functools import partial

import torch
from torch import Tensor, nn

from models.autograd import seed_gradient
from models.iterations import Passes, Repeated, iterations_of, windows
from models.recorder import Recorder
from models.tearing import Tearing
from orchestrator.actors.actor import Actor, EpochReport
from orchestrator.actors.corrected import Corrected
from orchestrator.actors.flat import flatten, flatten_bytes, split, split_bytes, state_tensors
from orchestrator.actors.links import connect_link
from orchestrator.actors.transport import Link, Rendezvous, Transfer
from orchestrator.config import TrialConfig
from orchestrator.data.batches import HeldOut
from orchestrator.data.data import Data
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

    Of several iterations, g^j takes part in some (:func:`models.iterations.windows`). But for the first
    iteration, each of its passes begins with a correction of x_j (`Corrected`):

        correction of x_j   ◀──── driver
        change of y_j, Δ_j  ────▶
        ∂L/∂Δ_j             ◀────              the last pass first
        ∂L/∂correction      ────▶

    Args:
        config: the trial.
        tearing: the torn network.
        j: which subnetwork, 1-based.
        data: the trial's images.
        resources: what the actor has reserved.
        replica: of which replica.
    """

    def __init__(
        self,
        config: TrialConfig,
        tearing: Tearing,
        j: int,
        data: Data,
        resources: GangResources,
        replica: int = 1,
    ) -> None:
        super().__init__(config, tearing, data, resources, part=f"subnetwork-{j}", replica=replica)
        self.j = j
        first, *_ = windows(tearing.n_subnetworks, config.n_iterations)
        iterations = iterations_of(j, tearing.n_subnetworks, config.n_iterations)
        self.reads_images = j in first
        self.n_corrected = len(iterations) - self.reads_images
        units = tearing.build_subnetwork(j)
        self.passes = Passes(units, len(iterations))
        self.own(
            nn.ModuleDict({"preprocess": tearing.build_preprocess(j), "units": units, "passes": self.passes})
        )
        self.preprocess = self.module["preprocess"]  # type: ignore[index]
        self.units = self.module["units"]  # type: ignore[index]
        self.next_preprocess: nn.Module | None = None
        if j + 1 in first:
            self.next_preprocess = self.compute.place(tearing.build_preprocess(j + 1))
        # Of C^j and of C^{j+1}: what may get a gradient here and, for its replica, there. All that is
        # trained: which of it is used may depend on the batch, as where each sample has its expert.
        self.lends = self.reads_images and j > 1
        self._lent = _trained(self.preprocess) if self.lends else []
        self._borrowed = [] if self.next_preprocess is None else _trained(self.next_preprocess)
        used = tearing.trained_in_preprocess(j) if self.lends else []
        self._used = {id(self.preprocess.get_parameter(name)) for name in used}
        self._trains = any(parameter.requires_grad for parameter in self.module.parameters())
        self._shapes = tearing.shape(j), tearing.shape(j + 1)  # of x_j and y_j

    def connect(self, rendezvous: Rendezvous) -> None:
        """Open the links to the driver and to the neighbouring subnetworks."""
        store = self.join(rendezvous)

        def link(name: str, rank: int, inbox_bytes: int) -> Link:
            return connect_link(
                store,
                name=name,
                rank=rank,
                host=self.host,
                device=self.device,
                timeout=rendezvous.timeout,
                inbox_bytes=inbox_bytes,
                cuda_ipc=self.cuda_ipc,
            )

        reads, returns = ((self.config.batch_size, *shape) for shape in self._shapes)
        several = self.config.n_iterations > 1  # then corrections of x_j come as well
        inbox = max(self.compute.nbytes(*shape) for shape in ((reads, returns) if several else (returns,)))
        self.driver = link(f"driver to subnetwork {self.j}", 1, inbox)
        # ∂L/∂r_j arrives in the same memory every time; of several iterations not in the inbox, which is free
        # then for what the driver sends next.
        returns = self.n_samples, *self._shapes[1]
        self._gradient = self.compute.empty(*returns, memory=None if several else self.driver.inbox)
        self._seed = torch.empty_like(self._gradient) if self.n_corrected else self._gradient
        self.previous = self.next = None
        # So do what subnetwork j − 1 has to say of C^j's gradient, and C^{j+1} as it is.
        self._lent_gradient, self._replica_state = torch.empty(0), torch.empty(0)
        if self.lends:
            self._lent_gradient = flatten([torch.zeros_like(parameter) for parameter in self._lent])
            self.previous = link(f"subnetwork {self.j - 1} to {self.j}", 1, self._lent_gradient.nbytes)
        if self.next_preprocess is not None:
            self._replica_state = flatten_bytes(state_tensors(self.next_preprocess))
            self.next = link(f"subnetwork {self.j} to {self.j + 1}", 0, self._replica_state.nbytes)
        self.join_replicas(rendezvous, completed_later=self._lent, copied=self.next_preprocess)

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
        images = self.batches.train(epoch, 0)[0][self.share]
        completed = True
        for step in range(n_steps):
            with self.training_step():
                following = (epoch, step + 1) if step + 1 < n_steps else None
                completed, images = self._train_step(step, images, following)
            if not completed:
                break
        else:
            completed = bool(self.driver.receive_word(1)[0])
        seconds = self.seconds_since(start)
        if completed:
            self.validate(self.batches.validation)
        return self.report(completed, seconds)

    def _train_step(
        self, step: int, images: Tensor, following: tuple[int, int] | None
    ) -> tuple[bool, Tensor]:
        """One optimizer step, and the images of the following one (epoch, step).

        The first value is False, and no step was taken, if the driver calls the epoch off.
        """
        run = self.recorder
        images = run.fixed("images", images)
        lent = self._lend_preprocess(run)
        arriving_state = _receive(self.next, self._replica_state)
        self.draw("train", step, "subnetwork", self.j)
        units = Repeated(self.units, self.passes)
        corrected = Corrected(units, self.compute, self._seed)
        x = loss = replica_loss = None
        sent: list[Transfer] = []
        if self.reads_images:
            with self.clock("subnetwork.forward"):
                x, output = run("forward", partial(self._begin, images, units))
                if x is not None:
                    corrected.begin(x, output)
            with self.clock("subnetwork.wait"):
                arriving_state.wait()
            self.draw("train", step, "subnetwork", self.j + 1)  # C^{j+1}'s, as its owner
            with self.clock("subnetwork.forward"):
                # The only one to hold on to the output: what the backward pass does not need is free then.
                interface = partial(self._interface, images, output)
                del output
                residual, loss, replica_loss = run("interface", interface)
                del interface
            sent.append(self.driver.send(residual))
            del residual
        with self.clock("subnetwork.wait"):
            (proceed,) = self.driver.receive_word(1)  # said when the step began
        if not proceed:
            for transfer in (*sent, *lent):  # nothing may be left under way
                transfer.wait()
            return False, images
        if not self.reads_images:
            self.optimizer.zero_grad()  # not yet done
        sent += [self._correct(corrected, len(images)) for _ in range(self.n_corrected)]
        arriving = self._receive_gradient()
        lent_gradient = _receive(self.previous, self._lent_gradient)
        if following is not None:
            images = self.batches.train(*following)[0][self.share]  # while the driver is at work
        with self.clock("subnetwork.wait"):
            arriving.wait()
            for transfer in sent:  # long ago: now its memory is free before the backward pass takes its own
                transfer.wait()
        sent.clear()
        returned: list[Transfer] = []
        for left in reversed(range(self.n_corrected)):
            with self.clock("subnetwork.backward"):
                gradient = corrected.back(self._gradient)
            returned.append(self.driver.send(self._as_sent(gradient)))
            if left or self.reads_images:
                with self.clock("subnetwork.wait"):
                    self._receive_gradient().wait()
        with self.clock("subnetwork.backward"):
            if x is not None:
                corrected.arrived(self._gradient)
                loss = corrected.back_to(x, loss)
            if self.next is not None and replica_loss is not None:
                gradient = run("replica", partial(self._replica_gradient, replica_loss))
                returned.append(self.next.send(gradient))
            if loss is not None:
                run("backward", loss.backward)
        with self.clock("subnetwork.wait"):
            lent_gradient.wait()
            for transfer in (*lent, *returned):
                transfer.wait()
        if self._trains or self.config.clip_norm is not None:
            self.take_step(step, component="subnetwork")
        return True, images

    def _forward(self, images: Tensor, units: Repeated) -> tuple[Tensor | None, Tensor]:
        """x_j = C^j(x), if it is to be corrected, and y_j."""
        with self.compute.autocast():
            x = self.preprocess(images)
            return x if self.n_corrected else None, units(x)

    def _begin(self, images: Tensor, units: Repeated) -> tuple[Tensor | None, Tensor]:
        """Forget all gradients; then :meth:`_forward`."""
        self.optimizer.zero_grad()
        return self._forward(images, units)

    def _interface(self, images: Tensor, output: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """r_j, with C^{j+1} as its owner has it now, and what to go back from once ∂L/∂r_j has come.

        The latter are scalars, of y_j and of C^{j+1}(x), where there is something to be trained: until then
        only what the backward pass needs is kept.
        """
        self._refresh_replica()
        with self.compute.autocast():
            x_next = None if self.next_preprocess is None else self.next_preprocess(images)
        residual = self._residual(output, x_next)
        loss = seed_gradient(output, self._seed) if output.requires_grad else None
        replica_loss = None
        if x_next is not None and self._borrowed:
            replica_loss = seed_gradient(x_next, self._gradient, scale=-1.0)
        return residual, loss, replica_loss

    def _correct(self, corrected: Corrected, batch: int) -> Transfer:
        """One more pass: wait for a correction of x_j, and send by how much it has changed y_j."""
        correction = self.compute.empty(batch, *self._shapes[0])
        with self.clock("subnetwork.wait"):
            self.driver.receive(self.compute.in_memory_order(correction)).wait()
        with self.clock("subnetwork.forward"):
            return self.driver.send(self._as_sent(corrected.correct(correction)))

    def _receive_gradient(self) -> Transfer:
        """Start receiving ∂L/∂r_j or ∂L/∂Δ_j."""
        return self.driver.receive(self.compute.in_memory_order(self._gradient))

    def _replica_gradient(self, replica_loss: Tensor) -> Tensor:
        """What −∂L/∂r_j contributes to C^{j+1}'s gradient."""
        for parameter in self._borrowed:
            parameter.grad = None
        if replica_loss.requires_grad:
            replica_loss.backward()  # no autograd.grad, which not every checkpointed module can take
        return flatten([torch.zeros_like(p) if p.grad is None else p.grad for p in self._borrowed])

    def complete_gradients(self) -> None:
        """Add to C^j's gradient what subnetwork j − 1's replica contributes."""
        nothing = all(parameter.grad is None for parameter in self._lent)  # g^j has let no gradient through
        for parameter, part in zip(self._lent, split(self._lent_gradient, self._lent), strict=True):
            if parameter.grad is not None:
                parameter.grad.add_(part)
            elif nothing and id(parameter) in self._used:
                # Else C^j has not used this one in this step, there as little as here.
                parameter.grad = part

    def whole_square_norm(self, square_norm: float) -> float:
        """See :meth:`Actor.whole_square_norm`; the driver's sum."""
        said = self.driver.send_word(square_norm)
        (whole,) = self.driver.receive_word(1)
        said.wait()
        return whole

    @torch.no_grad()
    def validate(self, images: HeldOut) -> None:
        """Send r_j of every batch of images that are held out, or of this replica's part of the batches."""
        self.module.eval()
        self.share_buffers()
        transfers = self._lend_preprocess()
        _receive(self.next, self._replica_state).wait()
        self._refresh_replica()
        if self.next_preprocess is not None:
            self.next_preprocess.eval()
        for step in self.held_out_steps(images):
            batch, _ = images(step)
            self.draw("validation", step, "subnetwork", self.j)
            units = Repeated(self.units, self.passes)
            corrected = Corrected(units, self.compute, self._seed)
            if self.reads_images:
                x, output = self._forward(batch, units)
                if x is not None:
                    corrected.begin(x, output)
                self.draw("validation", step, "subnetwork", self.j + 1)
                with self.compute.autocast():
                    x_next = None if self.next_preprocess is None else self.next_preprocess(batch)
                for transfer in transfers:
                    transfer.wait()
                transfers = [self.driver.send(self._residual(output, x_next))]
            transfers += [self._correct(corrected, len(batch)) for _ in range(self.n_corrected)]
        for transfer in transfers:
            transfer.wait()

    def _residual(self, output: Tensor, x_next: Tensor | None) -> Tensor:
        """r_j = y_j − C^{j+1}(x), or y_j if nothing is known of what g^{j+1} reads, as it is sent."""
        return self._as_sent(output.detach() if x_next is None else output.detach() - x_next.detach())

    def _as_sent(self, activation: Tensor) -> Tensor:
        """An activation or its gradient in the type and order in which it travels."""
        return self.compute.in_memory_order(activation.to(self.compute.activation_dtype))

    def _lend_preprocess(self, run: Recorder | None = None) -> list[Transfer]:
        """Send C^j as it is now to subnetwork j − 1, which holds a replica."""
        if self.previous is None or not (tensors := state_tensors(self.preprocess)):
            return []
        state = flatten_bytes(tensors) if run is None else run("lend", partial(flatten_bytes, tensors))
        return [self.previous.send(state)]

    @torch.no_grad()
    def _refresh_replica(self) -> None:
        """Take over C^{j+1} as its owner has lent it."""
        if self.next_preprocess is not None:
            tensors = state_tensors(self.next_preprocess)
            for tensor, values in zip(tensors, split_bytes(self._replica_state, tensors), strict=True):
                tensor.copy_(values)


class _Nothing:
    """A transfer of nothing."""

    def wait(self) -> None:
        pass


def _receive(link: Link | None, values: Tensor) -> Transfer:
    """Start receiving values, if there are a peer and any values."""
    return _Nothing() if link is None or not len(values) else link.receive(values)


def _trained(module: nn.Module) -> list[nn.Parameter]:
    """A module's parameters that are to be trained."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]
