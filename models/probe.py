"""What a component does with samples, tried before anything is trained: what could not be torn is refused."""

import io
import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.agreement import alike, changed, nearly, some
from models.autograd import leaves, seed_gradient
from models.built import ANY_ERROR, Built, kinds_of, said
from models.compute import Compute
from models.initialisation import as_factory, build_seeded, seeded

GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)


def samples_of(shape: tuple[int, ...], n: int = 2, *, vocabulary: int | None = None) -> Tensor:
    """A batch to try components with: numbers between 0 and 1, of which most networks can read any.

    With a vocabulary, whole numbers 0 … vocabulary − 1, the largest among them.
    """
    generator = torch.Generator().manual_seed(0)
    if vocabulary is None:
        return torch.rand(n, *shape, generator=generator)
    tokens = torch.randint(vocabulary, (n, *shape), generator=generator)
    tokens.view(-1)[-1:] = vocabulary - 1
    return tokens


class Probe(Built):
    """One component, to be tried.

    Attributes:
        seen: some of the numbers it returned as :meth:`try_out` has tried it, in training and in evaluation.
        returns_gradient: whether a gradient with respect to its output is asked for, as that has found.
        overwrites_input: whether it writes into what it reads, as that has found.
    """

    seen: tuple[Tensor, Tensor]
    returns_gradient: bool
    overwrites_input: bool

    def try_out(self, batch: Tensor) -> Tensor:
        """What the component, in evaluation, makes of a batch of several samples.

        Raises:
            ValueError: as :meth:`run`; or its output depends on more than its input and what checkpoints
                hold, or has no one shape.
        """
        kept = self._state()
        output = self.run(batch, training=False)
        # Whatever another component has kept, in a closure or by a hook, is of the batch that it read last:
        # the same samples in reverse order.
        reverse = batch.flip(0)
        if not self._draws and not alike(self.run(reverse, training=False).flip(0), output):
            # Unless it is what it keeps itself, which is its own in every process.
            fresh = Probe(self._source, self._name)
            if not alike(fresh.run(reverse, training=False).flip(0), output):
                self._refuse_own_generators()
                raise ValueError(
                    f"what {self.what} makes of a sample depends on more than the sample, such as what "
                    "another component has saved of it, or on its place in the batch: keep samples apart "
                    "along dimension 0, and put all that shares such state into one unit"
                )
        shape = tuple(output.shape[1:])
        trained = self._tried_in_training(reverse)
        for other, when in (
            (self.run(batch[:1], training=False), "for a single sample"),
            (trained, "in training"),
        ):
            if tuple(other.shape[1:]) != shape:
                raise ValueError(
                    f"{self.what} returns shape {shape}, but {tuple(other.shape[1:])} {when}: keep to one"
                )
        if kinds_of(self.module) != self._kept:
            raise ValueError(
                f"{self.what} makes a parameter or buffer in a pass, or changes its shape or type: make it "
                "when it is built"
            )
        # Other samples: what it keeps, such as an optimizer's moments, may be the same for the same again.
        self.run(batch[:1].expand_as(batch), training=True)
        for read, before, training in ((reverse, trained, True), (batch, output, False)):
            self._take_back(kept)
            if not nearly(self.run(read, training=training), before):
                self._refuse_changes_in_evaluation(batch, kept)
                self._refuse_own_generators()
                raise ValueError(
                    f"what {self.what} makes of a batch depends on what it keeps beside parameters and "
                    "buffers, which is lost where a trial goes on after an interruption, and from the "
                    "trained network: make it a buffer"
                )
        self._take_back(kept)  # a factory may return the same module again
        self.seen = some(trained), some(output)
        return output

    @torch.enable_grad()
    def _tried_in_training(self, batch: Tensor) -> Tensor:
        """What :meth:`run` returns in training, gone back through."""
        given = batch.clone().requires_grad_(self.reads_gradient and batch.is_floating_point()).clone()
        output = self._run(given, training=True)
        self.overwrites_input = given._version > 0
        self.returns_gradient = output.requires_grad
        self._refuse_parameters_of_others(output)
        self._go_back(output)
        return output.detach()

    def _refuse_parameters_of_others(self, output: Tensor) -> None:
        """Raise if a pass has used parameters that are not the component's own."""
        own = {id(parameter) for parameter in self.module.parameters()}
        given = self._source.parameters() if isinstance(self._source, nn.Module) else ()
        copied_from = {id(parameter) for parameter in given}
        for leaf in leaves(output):
            if not isinstance(leaf, nn.Parameter) or id(leaf) in own:
                continue
            if id(leaf) in copied_from:
                raise ValueError(
                    f"a copy of {self.what} goes on using a parameter of shape {tuple(leaf.shape)} of the "
                    "module it was copied from, such as by a function or a reference kept in an attribute: "
                    "give a factory that builds it"
                )
            raise ValueError(
                f"{self.what} uses a parameter of shape {tuple(leaf.shape)} that it does not hold, so "
                "that it is not trained there: make it an attribute of the module, or of an "
                "nn.ParameterList or nn.ModuleList; what several units share belongs into one unit"
            )

    def _go_back(self, output: Tensor) -> None:
        """Run the backward pass of an output.

        Raises:
            ValueError: it fails; or it draws random numbers, in one process after all that other components
                have drawn, in an actor after its own.
        """
        if not output.requires_grad:
            return
        with seeded(0, "probe"):
            before = torch.get_rng_state()
            try:
                seed_gradient(output, torch.ones_like(output)).backward()
            except ANY_ERROR as error:
                raise ValueError(f"the backward pass of {self.what} fails: {said(error)}") from error
            if not torch.equal(torch.get_rng_state(), before):
                raise ValueError(
                    f"{self.what} draws random numbers in its backward pass, which differ from process to "
                    "process: draw them in the forward pass, and checkpoint with preserve_rng_state=True"
                )
        for parameter in self.module.parameters():
            parameter.grad = None

    @torch.enable_grad()
    def check_leaves(self, before: "Probe", batch: Tensor) -> None:
        """See that the component leaves alone what the one before it needs for its gradients.

        Args:
            before: which returns what this one reads.
            batch: what that one reads.

        Raises:
            ValueError: it overwrites it.
        """
        kept = self._state(), before._state()
        given = batch.clone().requires_grad_(before.reads_gradient and batch.is_floating_point()).clone()
        output = self._run(before._run(given, training=True), training=True)
        try:
            self._go_back(output)
        except ValueError as error:
            raise ValueError(
                f"{self.what} overwrites what {before.what} has returned and needs for its gradients: "
                "compute there without inplace=True"
            ) from error
        self._take_back(kept[0])
        before._take_back(kept[1])

    def _refuse_changes_in_evaluation(self, batch: Tensor, kept: dict[str, Any]) -> None:
        """Raise if a pass in evaluation changes what a checkpoint holds."""
        self._take_back(kept)
        self.run(batch, training=False)
        state = self._state()
        for name, before in kept.items():
            if changed(before, state.get(name)):
                raise ValueError(
                    f"{self.what} changes its {name} in evaluation, so that what it makes of a batch depends "
                    "on what it was shown before: change it in training alone, behind `if self.training:`"
                )

    def _refuse_own_generators(self) -> None:
        """Raise if the component holds generators of random numbers."""
        for module in self.module.modules():
            if any(isinstance(value, GENERATORS) for value in vars(module).values()):
                raise ValueError(
                    f"{self.what} draws from a generator of its own, whose state no checkpoint keeps: draw "
                    "from torch's, without generator=…"
                )

    def check_again(self, batch: Tensor, seen: tuple[Tensor, Tensor]) -> Tensor:
        """See that the component, built anew, makes of a batch what it made before others had run again.

        Args:
            batch: as :meth:`try_out` has read it.
            seen: what came of it.

        Returns:
            What it makes of the batch in evaluation.

        Raises:
            ValueError: it makes something else: it reads what others count up, each process for itself.
        """
        kept = self._state()
        trained = self.run(batch.flip(0), training=True)
        self._take_back(kept)
        output = self.run(batch, training=False)
        for now, before in zip((trained, output), seen, strict=True):
            if not nearly(some(now), before):
                raise ValueError(
                    f"what {self.what} makes of a batch depends on what has run before, such as a global "
                    "variable, an attribute of a class or a count in a factory, of which every process has "
                    "its own: make it a buffer of the one component that changes and reads it, or an "
                    "argument of the factory"
                )
        return output

    def computed(self, batch: Tensor, compute: Compute) -> Tensor:
        """What the component makes of a batch while it trains, in the types and layout that are asked for.

        Raises:
            ValueError: it cannot, forwards or back, or it goes by another type.
        """
        module = compute.place(build_seeded(as_factory(self._source), 0)).train()
        leaf = batch.clone().requires_grad_(batch.is_floating_point())
        kept = kinds_of(module)
        try:
            with compute.autocast():
                output = self._call(module, leaf.clone())
            if output.requires_grad:
                output.sum().backward()
        except ANY_ERROR as error:
            why = said(error.__cause__ or error)
        else:
            now = kinds_of(module)
            other = next((name for name, kind in kept.items() if now.get(name) != kind), None)
            if other is None and output.dtype in (compute.weight_dtype, compute.activation_dtype):
                return output.detach()
            why = f"it returns {output.dtype}" if other is None else f"its {other} becomes {now[other][1]}"
        raise ValueError(
            f"{self.what} does not compute with {compute.asked}: {why}: have it go by the type and layout of "
            "what it reads, or leave that out"
        )

    def check_state(self, *, replicated: bool = False) -> None:
        """See that what the component keeps beside parameters and buffers can be kept in a checkpoint.

        Raises:
            ValueError: it cannot; or there is any, of which a ``replicated`` one would not hear.
        """
        extra = {k: value for k, value in self.module.state_dict().items() if k.endswith("_extra_state")}
        if extra and replicated:
            raise ValueError(
                f"{self.what} keeps extra state, which its copy at the cut cannot have: use a buffer"
            )
        if extra:
            kept = io.BytesIO()
            try:
                torch.save(extra, kept)
                torch.load(io.BytesIO(kept.getvalue()), weights_only=True)
            except ANY_ERROR as error:
                raise ValueError(
                    f"{self.what} keeps extra state that is no tensor, number or word, so that no checkpoint "
                    "could be read safely: use a buffer"
                ) from error

    def check_anew(self) -> None:
        """See that the factory builds another module each time.

        Raises:
            ValueError: it does not: what stands at several cuts, or in owner and replica, would be one in one
                process and several in actors.
        """
        again = build_seeded(as_factory(self._source), 0)
        kept = {id(tensor) for tensor in (*self.module.parameters(), *self.module.buffers())}
        if kept & {id(tensor) for tensor in (*again.parameters(), *again.buffers())}:
            raise ValueError(
                f"{self.what} is the same module each time that its factory is called: build it anew in there"
            )

    @torch.enable_grad()
    def passes_back(self, batch: Tensor) -> bool:
        """Whether a gradient reaches what the component reads, or that is whole numbers, which have none."""
        if not batch.is_floating_point():
            return True
        leaf = batch.clone().requires_grad_()
        output = self._call(self.module.train(), leaf.clone())
        if output.requires_grad:
            output.sum().backward()
        return leaf.grad is not None

    def check_passes_back(self, batch: Tensor) -> None:
        """See that a gradient reaches what the component reads.

        Raises:
            ValueError: none does. In one process what lies before would have none, in actors zero.
        """
        if not self.passes_back(batch):
            raise ValueError(
                f"{self.what} passes no gradient back to what it reads: give what is not to be trained "
                "requires_grad_(False) in place of cutting the gradient off"
            )

    @torch.enable_grad()
    def gradients(self, batch: Tensor, of_output: Tensor | float = 1.0) -> dict[str, Tensor]:
        """Of the parameters that get one, for a gradient of the output."""
        module = build_seeded(as_factory(self._source), 0).float().train()  # afresh: passes may change it
        output = self._call(module, batch.clone())
        if output.requires_grad:
            (output * of_output).sum().backward()
        return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}

    def trained(self, batch: Tensor, *, always: bool = False) -> list[str]:
        """The names of the parameters that get a gradient; or of those that may, or do ``always``, by chance.

        Always is: whatever samples a batch has.
        """
        found = list(self.gradients(batch))
        if self._draws:  # another time, others
            return [] if always else self.trainable
        if always:
            alone = [self.gradients(sample.expand_as(batch)) for sample in batch.split(1)]
            return [name for name in found if all(name in gradients for gradients in alone)]
        return found

    def adds_up(self, batch: Tensor) -> bool:
        """Whether two gradients that go back apart are together that of their sum, whatever their size."""
        noise = samples_of(tuple(self.run(batch, training=True).shape[1:]), 2 * len(batch)) - 0.5
        large, whole = (1e3 * noise[: len(batch)], noise[len(batch) :])
        one, other, both = (self.gradients(batch, of) for of in (large, whole - large, whole))
        rounding = 1e-5 * max((gradient.norm() for gradient in one.values()), default=0.0)
        return one.keys() == other.keys() == both.keys() and all(
            (one[name] + other[name] - value).norm() <= 1e-2 * value.norm() + rounding
            for name, value in both.items()
        )

    @torch.enable_grad()
    def check_hooks(self, batch: Tensor) -> None:
        """See that hooks of parameters do to several backward passes together what they do to one.

        Raises:
            ValueError: one does not. In one process they see a step's whole gradient, in an actor its parts.
        """
        if not any(p._backward_hooks or p._post_accumulate_grad_hooks for p in self.module.parameters()):
            return
        noise = samples_of(tuple(self.run(batch, training=True).shape[1:]), 2 * len(batch)) - 0.5
        gradients = []
        for at_once in (True, False):
            module = build_seeded(as_factory(self._source), 0).float().train()
            parts = [self._call(module, batch.clone()) * of for of in (1e3 * noise).chunk(2)]
            for part in [torch.stack(parts)] if at_once else parts:
                part.sum().backward()
            gradients.append([p.grad for p in module.parameters() if p.grad is not None])
        for one, other in zip(*gradients, strict=True):
            if (one - other).norm() > 1e-2 * one.norm():
                raise ValueError(
                    f"{self.what} has a hook on a parameter that does something else to a gradient in parts, "
                    "one for each iteration or micro-batch, than to their sum: hook a module in place of it"
                )

    def overwrites(self, batch: Tensor) -> bool:
        """Whether in training the component changes what it reads, or lets whoever reads its output do so."""
        given, kept = batch.clone(), self._state()
        with torch.no_grad():
            output = self._call(self.module.train(), given)
        self._take_back(kept)
        shared = isinstance(output, Tensor) and (
            output.untyped_storage().data_ptr() == given.untyped_storage().data_ptr()
        )
        # Torch counts changes; it does not see those by way of `.data`.
        return shared or given._version > 0 or not torch.equal(given, batch)
