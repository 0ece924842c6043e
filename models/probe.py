"""What a component does with samples, tried before anything is trained: what could not be torn is refused."""

import copy
import inspect
import io
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from models.agreement import alike, changed, nearly, some
from models.autograd import leaves
from models.compute import Compute
from models.draws import OtherRandomNumbersError, torchs_random_numbers
from models.initialisation import ModuleFactory, as_factory, build_seeded, copied, seeded

ANY_ERROR = (Exception, SystemExit)
"""What a user's code may raise."""


def said(error: BaseException) -> str:
    """What an error says, in a line."""
    return (str(error).splitlines() or [type(error).__name__])[0]


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


class Probe:
    """One component, built to be tried.

    Args:
        source: the component or its factory.
        what: how messages call it, such as ``"unit 3"``.

    Attributes:
        module: the component.
        what: the same, with the name of its class.
        n_parameters: number of its parameters.
        trainable: the names of those that are to be trained.
        seen: some of the numbers it returned as :meth:`try_out` has tried it, in training and in evaluation.

    Raises:
        ValueError: it cannot be built, or holds what no actor could; the message names it.
    """

    seen: tuple[Tensor, Tensor]

    def __init__(self, source: nn.Module | ModuleFactory, what: str) -> None:
        self._source, self._name = source, what
        try:
            with torchs_random_numbers(what):
                self.module = build_seeded(as_factory(source), 0)
        except OtherRandomNumbersError:
            raise
        except ANY_ERROR as error:
            if isinstance(source, nn.Module):
                raise ValueError(
                    f"{what} ({type(source).__name__}) cannot be copied: {said(error)}"
                ) from error
            raise ValueError(f"{what} cannot be built: {said(error)}") from error
        if not isinstance(self.module, nn.Module):
            raise ValueError(f"{what} is a {type(self.module).__name__}: have its factory return a module")
        self.what = f"{what} ({type(self.module).__name__})"
        parameters = list(self.module.parameters())
        if any(is_lazy(parameter) for parameter in parameters):
            # Its shapes, and with them the weights, would be settled in each process by itself.
            raise ValueError(
                f"{self.what} must know its shapes, but it holds a lazy module: give the number of its inputs"
            )
        if any(tensor.is_complex() for tensor in (*parameters, *self.module.buffers())):
            raise ValueError(f"{self.what} holds complex numbers: keep real and imaginary parts apart")
        if any(tensor.is_meta for tensor in (*parameters, *self.module.buffers())):
            raise ValueError(f"{self.what} is on the meta device and has no weights: build it on the CPU")
        if any(getattr(child, "sparse", False) is True for child in self.module.modules()):
            raise ValueError(f"{self.what} has sparse gradients, which do not travel: leave sparse=True out")
        self.module = self.module.float()  # as it will be placed, also where it was built in another type
        self._kept = _shapes(self.module)
        self.n_parameters = sum(parameter.numel() for parameter in parameters)
        self.trainable = [name for name, p in self.module.named_parameters() if p.requires_grad]

    def run(self, batch: Tensor, *, training: bool) -> Tensor:
        """What the component makes of a batch, which is left as it is.

        Raises:
            ValueError: it cannot read the batch, or returns what the next component could not.
        """
        with torch.no_grad():
            output = self._call(self.module.train(training), batch.clone())
        n = len(batch)
        if not isinstance(output, Tensor):
            raise ValueError(
                f"{self.what} returns {type(output).__name__}{' in training' if training else ''}, where one "
                "tensor is needed: wrap it in a module that keeps the one that the next reads"
            )
        if output.shape[:1] != batch.shape[:1]:
            raise ValueError(
                f"{self.what} turns a batch of {n} into shape {tuple(output.shape)}: keep dimension 0"
            )
        if output.dtype != (batch.dtype if batch.is_floating_point() else torch.get_default_dtype()):
            raise ValueError(
                f"{self.what} returns {output.dtype} for {batch.dtype}: between components numbers are of "
                "one floating-point type, so what makes others and what reads them belong into one component"
            )
        return output

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
                raise ValueError(
                    f"what {self.what} makes of a sample depends on more than the sample, such as what "
                    "another component has saved of it, or on its place in the batch: put all that shares "
                    "such state into one unit"
                )
        shape = tuple(output.shape[1:])
        trained = self.run(reverse, training=True)
        for other, when in (
            (self.run(batch[:1], training=False), "for a single sample"),
            (trained, "in training"),
        ):
            if tuple(other.shape[1:]) != shape:
                raise ValueError(
                    f"{self.what} returns shape {shape}, but {tuple(other.shape[1:])} {when}: keep to one"
                )
        if _shapes(self.module) != self._kept:
            raise ValueError(
                f"{self.what} makes or reshapes a parameter or buffer in a pass: make it when it is built"
            )
        for read, before, training in ((reverse, trained, True), (batch, output, False)):
            self._take_back(kept)
            if not nearly(self.run(read, training=training), before):
                self._refuse_changes_in_evaluation(batch, kept)
                raise ValueError(
                    f"what {self.what} makes of a batch depends on what it keeps beside parameters and "
                    "buffers, which is lost where a trial goes on after an interruption, and from the "
                    "trained network: make it a buffer"
                )
        self._take_back(kept)  # a factory may return the same module again
        self.seen = some(trained), some(output)
        return output

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
                    "variable or an attribute of a class that passes change, of which every process has its "
                    "own: make it a buffer of the one component that changes and reads it"
                )
        return output

    def _state(self) -> dict[str, Any]:
        """What an actor's checkpoint would hold of the component, copied."""
        state = self.module.state_dict()
        return copy.deepcopy(state | {k: v for k, v in self.module.named_buffers() if k not in state})

    def _take_back(self, state: dict[str, Any]) -> None:
        """Be as :meth:`_state` was."""
        own = self.module.state_dict().keys()
        try:
            self.module.load_state_dict({name: value for name, value in state.items() if name in own})
        except ANY_ERROR as error:
            raise ValueError(f"{self.what} cannot take its own state back: {said(error)}") from error
        for name in state.keys() - own:
            self.module.get_buffer(name).copy_(state[name])

    def computed(self, batch: Tensor, compute: Compute) -> Tensor:
        """What the component makes of a batch while it trains, in the types and layout that are asked for.

        Raises:
            ValueError: it cannot, forwards or back, or it goes by another type.
        """
        module = compute.place(build_seeded(as_factory(self._source), 0)).train()
        leaf = batch.clone().requires_grad_(batch.is_floating_point())
        try:
            with compute.autocast():
                output = self._call(module, leaf.clone())
            if output.requires_grad:
                output.sum().backward()
        except ANY_ERROR as error:
            why = said(error.__cause__ or error)
        else:
            if output.dtype in (compute.weight_dtype, compute.activation_dtype):
                return output.detach()
            why = f"it returns {output.dtype}"
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
    def check_own_parameters(self, batch: Tensor) -> None:
        """See that all parameters that a pass uses are the component's own.

        Raises:
            ValueError: one is not: no optimizer would hear of it, and actors would not share it.
        """
        own = {id(parameter) for parameter in self.module.parameters()}
        kept = self._state()
        output = self._call(self.module.train(), batch.clone())
        self._take_back(kept)
        for leaf in leaves(output):
            if isinstance(leaf, nn.Parameter) and id(leaf) not in own:
                raise ValueError(
                    f"{self.what} uses a parameter of shape {tuple(leaf.shape)} that it does not hold, so "
                    "that it is not trained there: make it an attribute of the module, or of an "
                    "nn.ParameterList or nn.ModuleList; what several units share belongs into one unit"
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
        """The names of the parameters that may get a gradient, or that do ``always``."""
        found = list(self.gradients(batch))
        if self._draws:  # another time, others
            return [] if always else self.trainable
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

    def overwrites(self, batch: Tensor) -> bool:
        """Whether in training the component changes what it reads, or lets whoever reads its output do so."""
        given = batch.clone()
        with torch.no_grad():
            output = self._call(copied(self.module).train(), given)
        shared = isinstance(output, Tensor) and (
            output.untyped_storage().data_ptr() == given.untyped_storage().data_ptr()
        )
        # Torch counts changes; it does not see those by way of `.data`.
        return shared or given._version > 0 or not torch.equal(given, batch)

    def _call(self, module: nn.Module, batch: Tensor) -> Tensor:
        shape = tuple(batch.shape[1:])
        try:
            inputs = _required_inputs(module)
            if len(inputs) > 1:
                raise ValueError(f"it needs {len(inputs)} inputs, {', '.join(inputs)}, and gets one tensor")
            with seeded(0, "probe"), torchs_random_numbers(self.what):
                before = torch.get_rng_state()
                output: Tensor = module(batch)
                self._draws = not torch.equal(torch.get_rng_state(), before)
        except OtherRandomNumbersError:
            raise
        except ANY_ERROR as error:
            raise ValueError(f"{self.what} cannot read a sample of shape {shape}: {said(error)}") from error
        return output


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    """Of parameters and buffers, by name."""
    return {name: t.shape for name, t in (*module.named_parameters(), *module.named_buffers())}


def _required_inputs(module: nn.Module) -> list[str]:
    """Names of the arguments without which ``forward`` cannot be called."""
    forward: Callable[..., Tensor] = module.forward
    return [
        name
        for name, parameter in inspect.signature(forward).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
