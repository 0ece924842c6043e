"""What a network is trained for: a loss, and a figure that people read, made of sums over samples.

A task of your own is a class or an object of :class:`Task`:

    class MeanAbsolute(Task):
        metric, unit = "mean absolute error", "°C"

        def loss(self, outputs, targets):
            return F.l1_loss(outputs.view_as(targets), targets)

        def sums(self, outputs, targets):
            return torch.stack(
                [F.l1_loss(outputs.view_as(targets), targets, reduction="sum"), torch.tensor(targets.numel())]
            )

        def value(self, sums):
            return sums[0] / sums[1]
"""

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from models.built import ANY_ERROR, said
from models.imported import imported

_FEW = 4


class Task(ABC):
    """A loss and a metric.

    Attributes:
        metric: what the figure is called: "error", "RMSE", "perplexity".
        unit: its unit, such as "%"; "" for what has none.
        better: whether a lower or a higher figure is better.
        n_sums: how many numbers :meth:`sums` returns.
    """

    metric: str
    unit: str = ""
    better: Literal["lower", "higher"] = "lower"
    n_sums: int = 2

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss, (): a mean over the samples of a batch, all of equal weight.

        Args:
            outputs: of the network, (batch, …), in the type that it computes in.
            targets: (batch, …).
        """

    @abstractmethod
    def sums(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Sums over a batch, (n_sums,): of those of all batches :meth:`value` makes the metric."""

    @abstractmethod
    def value(self, sums: Sequence[float]) -> float:
        """The metric, from the sums over all samples."""

    def check(self, output_shape: tuple[int, ...], targets: Tensor) -> None:
        """See that loss and metric can be had of outputs of this shape for a data set's targets.

        Raises:
            ValueError: they cannot; the message says which.
        """
        self._check_words()
        targets = targets[:_FEW]
        outputs = torch.randn(len(targets), *output_shape, generator=torch.Generator().manual_seed(0))
        given = self._given(outputs, targets)
        for name, shape in (("loss", ()), ("sums", (self.n_sums,))):
            result = self._tried(name, outputs.requires_grad_(), targets)
            got = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
            if got != shape:
                raise ValueError(f"{self}: {name} of {given} is {got}: return a tensor of shape {shape}")
            if name == "loss" and not result.requires_grad:
                raise ValueError(f"{self}: the loss does not depend on the outputs: nothing can be trained")
        sums = result.detach().double()
        pairs = zip(outputs.detach().split(1), targets.split(1), strict=True)
        added = torch.stack([self._tried("sums", *pair).double() for pair in pairs]).sum(dim=0)
        if not torch.allclose(sums, added, rtol=1e-3, atol=1e-5, equal_nan=True):
            raise ValueError(
                f"{self}: sums of {given} are {sums.tolist()}, of one sample after the other in all "
                f"{added.tolist()}: return sums over samples; where shapes differ, outputs.view_as(targets)"
            )
        try:
            value = self.value(sums.tolist())
        except ANY_ERROR as error:
            raise ValueError(
                f"{self}: no value of the sums {sums.tolist()} ({said(error)}): return a float of any sums, "
                "such as nan"
            ) from error
        if not isinstance(value, float):
            raise ValueError(f"{self}: value is a {type(value).__name__}: return a float")

    def _check_words(self) -> None:
        for name, needed in (("metric", True), ("unit", False)):
            word = getattr(self, name, None)
            if not isinstance(word, str) or (needed and not word):
                raise ValueError(f"{self}: {name} is {word!r}: give a word, such as 'error' in '%'")
        if self.better not in ("lower", "higher"):
            raise ValueError(f"{self}: better is {self.better!r}: give 'lower' or 'higher'")

    def _tried(self, name: str, outputs: Tensor, targets: Tensor) -> Any:
        """What ``loss`` or ``sums`` returns; shapes that torch warns of are an error."""
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("error", message="Using a target size")
                return getattr(self, name)(outputs, targets)
        except ANY_ERROR as error:  # whatever a task of a user's own does
            given = self._given(outputs, targets)
            raise ValueError(f"{self}: no {name} of {given}: {said(error)}") from error

    @staticmethod
    def _given(outputs: Tensor, targets: Tensor) -> str:
        return (
            f"outputs of shape {tuple(outputs.shape)} and targets of {tuple(targets.shape)} {targets.dtype}"
        )

    def n_outputs(self, targets: Tensor, vocabulary: int | None = None) -> int:
        """How many numbers a network is to return for a sample, or for each of its places.

        Args:
            targets: all of a split, (samples, …).
            vocabulary: K where the inputs are whole numbers 0 … K − 1.
        """
        return prod(targets.shape[1:]) if targets.is_floating_point() else int(targets.max()) + 1

    def is_mean(self, output_shape: tuple[int, ...], targets: Tensor) -> bool:
        """Whether the loss of a batch is the mean of its samples' losses."""
        targets = targets[:_FEW]
        generator = torch.Generator().manual_seed(0)
        outputs = torch.randn(len(targets), *output_shape, generator=generator, dtype=torch.float64)
        whole = self.loss(outputs, targets)
        parts = [self.loss(outputs[i : i + 1], targets[i : i + 1]) for i in range(len(targets))]
        return math.isclose(float(whole), float(torch.stack(parts).mean()), rel_tol=1e-4)

    def __str__(self) -> str:
        """Its class's name."""
        return type(self).__name__


class Classification(Task):
    """One of K classes: cross entropy, and the share of wrong answers.

    Outputs are logits (batch, K' ≥ K), targets are class numbers (batch,).

    Args:
        label_smoothing: share of a target's weight that all classes get alike (Szegedy et al., 2016).
    """

    metric, unit = "error", "%"

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self._label_smoothing = label_smoothing

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross entropy."""
        return F.cross_entropy(outputs, targets, label_smoothing=self._label_smoothing)

    def sums(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Wrong answers and samples."""
        wrong = (outputs.argmax(dim=1) != targets).sum()
        return torch.stack(
            [wrong, torch.full_like(wrong, len(targets))]
        )  # a kernel: a number's tensor is a copy

    def value(self, sums: Sequence[float]) -> float:
        """Error rate in %."""
        return 100 * sums[0] / sums[1]

    def check(self, output_shape: tuple[int, ...], targets: Tensor) -> None:
        """See that there is a logit for each class among the targets.

        Raises:
            ValueError: there is not.
        """
        if targets.ndim != 1 or targets.is_floating_point():
            raise ValueError(
                f"classification takes targets (samples,) of whole numbers, these are {tuple(targets.shape)} "
                f"{targets.dtype}: give numbers of classes, as targets.flatten(), .argmax(axis=1) or "
                '.astype("int64") make them, or --task regression, next_token or your own'
            )
        _refuse_negative("classification", targets)
        n_classes = int(targets.max()) + 1
        if max((n_classes, *output_shape)) < 2:  # one split may well have one class alone
            raise ValueError(
                "classification takes two classes or more, all targets are 0: add samples of others"
            )
        if len(output_shape) != 1 or output_shape[0] < n_classes:
            raise ValueError(
                f"the network returns shape {output_shape} for a sample, the data have {n_classes} "
                f"classes: the postprocess must return ({n_classes},), a number for each"
            )


class Regression(Task):
    """Numbers: mean squared error, and its root in the targets' own unit. Outputs and targets (batch, …)."""

    metric = "RMSE"

    def n_outputs(self, targets: Tensor, vocabulary: int | None = None) -> int:
        """The numbers of a target."""
        return prod(targets.shape[1:])

    def check(self, output_shape: tuple[int, ...], targets: Tensor) -> None:
        """See that outputs are numbers in a row, or of the targets' shape: in another they would be mixed up.

        Raises:
            ValueError: they are not, or there are not as many as a target has.
        """
        got, wanted = ([n for n in shape if n > 1] for shape in (output_shape, targets.shape[1:]))
        if len(got) > 1 and got != wanted:
            raise ValueError(
                f"regression takes outputs of the targets' shape {tuple(targets.shape[1:])}, or in a row, "
                f"the network returns {output_shape}: transpose or flatten them in the postprocess"
            )
        super().check(output_shape, targets)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error."""
        return F.mse_loss(outputs.view_as(targets), targets.to(outputs.dtype))

    def sums(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Squared errors and numbers."""
        squares = (outputs.view_as(targets).double() - targets).square().sum()
        return torch.stack([squares, torch.full_like(squares, targets.numel())])

    def value(self, sums: Sequence[float]) -> float:
        """Root of the mean squared error."""
        return math.sqrt(sums[0] / sums[1])


class NextToken(Task):
    """The next token at every place: cross entropy, and perplexity.

    Outputs are logits (batch, tokens, vocabulary), targets token numbers (batch, tokens).

    Args:
        label_smoothing: as for a :class:`Classification`; the perplexity is without it.
    """

    metric = "perplexity"

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self._label_smoothing = label_smoothing

    def n_outputs(self, targets: Tensor, vocabulary: int | None = None) -> int:
        """The vocabulary, over inputs and targets."""
        return max(super().n_outputs(targets), vocabulary or 0)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross entropy of a token."""
        return F.cross_entropy(
            outputs.flatten(0, 1), targets.flatten(), label_smoothing=self._label_smoothing
        )

    def sums(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy of all tokens, and their number."""
        total = F.cross_entropy(outputs.flatten(0, 1).double(), targets.flatten(), reduction="sum")
        return torch.stack([total, torch.full_like(total, targets.numel())])

    def value(self, sums: Sequence[float]) -> float:
        """Perplexity: exp of the mean cross entropy; infinite where that is beyond all numbers."""
        try:
            return math.exp(sums[0] / sums[1])
        except OverflowError:
            return math.inf

    def check(self, output_shape: tuple[int, ...], targets: Tensor) -> None:
        """See that there is a logit for each token of the vocabulary at each place.

        Raises:
            ValueError: there is not.
        """
        if targets.ndim != 2 or targets.is_floating_point():
            raise ValueError(
                "next_token takes targets (samples, tokens) of whole numbers, these are "
                f"{tuple(targets.shape)} {targets.dtype}"
            )
        _refuse_negative("next_token", targets)
        n_tokens, least = targets.shape[1], int(targets.max()) + 1
        if len(output_shape) != 2 or output_shape[0] != n_tokens or output_shape[1] < least:
            raise ValueError(
                f"the network returns shape {output_shape} for a sample of {n_tokens} tokens of {least}: the "
                f"postprocess must return ({n_tokens}, {least}), a number for each that may come next"
            )


def _refuse_negative(task: str, targets: Tensor) -> None:
    least = int(targets.min())
    if least < 0:
        raise ValueError(
            f"{task} takes targets from 0, these begin with {least}: number them from 0, and leave out "
            "samples that have none"
        )


TASKS: dict[str, Callable[[float], Task]] = {
    "classification": Classification,
    "regression": lambda label_smoothing: Regression(),
    "next_token": NextToken,
}
"""By name, from the label smoothing, which means nothing to some."""


def build_task(name: str, *, label_smoothing: float = 0.0) -> Task:
    """The task called ``name``, or your own as ``path.to.module:name``.

    Raises:
        ValueError: there is none of that name.
    """
    if name in TASKS:
        return TASKS[name](label_smoothing)
    own = imported("task", name, TASKS)
    try:
        task = own() if isinstance(own, type) else own
    except ANY_ERROR as error:
        raise ValueError(
            f"task {name!r} cannot be made ({said(error)}): give a class with loss, sums and value whose "
            "__init__ needs no argument, or an object of it"
        ) from error
    if not isinstance(task, Task):
        raise ValueError(f"task {name!r} is a {type(task).__name__}: make it a models.task.Task")
    return task
