"""Training and validation batches that every actor derives alone from (seed, epoch, step)."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property, lru_cache, partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from orchestrator.data.blocks import Array
from orchestrator.data.data import Augmentation, Data


class _Purpose(IntEnum):
    """What a random stream is for, so that no two purposes share one."""

    ORDER = 0
    AUGMENTATION = 1
    OWN_AUGMENTATION = 2


@dataclass(frozen=True)
class _Draws:
    """The random numbers of whole epochs, from one CPU generator for each purpose, epoch and step."""

    seed: int
    n_images: int
    n_steps: int
    batch_size: int
    wanted: Augmentation
    device: torch.device

    def order(self, epoch: int) -> tuple[Tensor, Tensor]:
        """Rows (n_steps, batch_size) of the training set, on the host and on the device."""
        generator = self._generator(epoch, 0, _Purpose.ORDER)
        order = torch.randperm(self.n_images, generator=generator)
        rows = order[: self.n_steps * self.batch_size].view(self.n_steps, self.batch_size)
        return rows, self._on_device(rows)

    def augmentation(self, epoch: int) -> tuple[Tensor, Tensor]:
        """Corners of the crops and what is mirrored, one for each image of each step.

        The corners (n_steps, 2, batch_size, 1), int16, are y and x in pixels of the padded image;
        the second tensor (n_steps, batch_size, 1) is bool.
        """
        corners = torch.empty(self.n_steps, 2, self.batch_size, 1, dtype=torch.int16)
        mirrored = torch.empty(self.n_steps, self.batch_size, 1, dtype=torch.bool)
        for step in range(self.n_steps):
            generator = self._generator(epoch, step, _Purpose.AUGMENTATION)
            for corner, pad in zip(corners[step], self.wanted.pad, strict=True):
                corner.random_(2 * pad + 1, generator=generator)
            mirrored[step].random_(2, generator=generator)
        return self._on_device(corners), self._on_device(mirrored & self.wanted.flip)

    def of_own(self, epoch: int, step: int) -> torch.Generator:
        """What a user's own augmentation draws from, on the device."""
        return self._generator(epoch, step, _Purpose.OWN_AUGMENTATION, self.device)

    def _generator(
        self, epoch: int, step: int, purpose: _Purpose, device: torch.device | str = "cpu"
    ) -> torch.Generator:
        (state,) = np.random.SeedSequence((self.seed, epoch, step, purpose)).generate_state(1, np.uint64)
        return torch.Generator(device).manual_seed(int(state))

    def _on_device(self, tensor: Tensor) -> Tensor:
        """A copy that no host waits for, which takes pinned memory."""
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()  # its allocator keeps it until the copy is done
        return tensor.to(self.device, non_blocking=True)


def fits(n_bytes: int, device: torch.device) -> bool:
    """Whether a split's inputs may lie on the device: half of what is free is left to training."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return n_bytes <= free / 2


class _Inputs:
    """The inputs of a split: on the device where they fit; else as they are, and batches go by pinned memory.

    Args:
        array: all of them, which nothing may write to.
        device: where batches are wanted.
    """

    def __init__(self, array: Array, device: torch.device) -> None:
        self._device = device
        self._resident = fits(array.nbytes, device)
        self._all = from_dlpack(array).to(device) if self._resident else from_dlpack(array)

    def chosen(self, rows: tuple[Tensor, Tensor], step: int) -> Tensor:
        """Those of a step's rows, of which there are all of an epoch's, on the host and on the device."""
        on_host, on_device = rows
        if self._resident:
            return self._all.index_select(0, on_device[step])
        batch = self._room(on_host.shape[1])
        return self._sent(torch.index_select(self._all, 0, on_host[step], out=batch))

    def some(self, rows: slice) -> Tensor:
        """Those of consecutive rows; not to be written to."""
        batch = self._all[rows]
        return batch if self._resident else self._sent(self._room(len(batch)).copy_(batch))

    def _room(self, n: int) -> Tensor:
        """For n samples on the host, where the device can read."""
        pinned = self._device.type == "cuda"  # its allocator keeps it until the copy is done
        return torch.empty(n, *self._all.shape[1:], dtype=self._all.dtype, pin_memory=pinned)

    def _sent(self, batch: Tensor) -> Tensor:
        return batch.to(self._device, non_blocking=True)


class Batches:
    """The batches of a data set, equal in every process that asks for the same (epoch, step).

    Inputs stay as they are on `device`, on the CPU without a copy and never written to; gathering,
    augmenting and what a network reads is made there: images are normalised, tokens become int64, other
    numbers `dtype`. They go there when an input is first asked for: targets need none. Where a GPU has no
    room for all of a split, batches are gathered on the host and go by pinned memory. All random numbers
    but a user's own come from CPU generators, so a batch does not depend on the device.

    An epoch's random numbers are drawn at its first request, so that no later one makes the host
    wait for a GPU: epochs are best asked for one after the other, and from one CUDA stream.

    `augmentation` says how training batches are cropped and mirrored; None: as the set usually is. As in
    the usual CIFAR recipe, the padding is black (raw 0, before normalising), and an image is cropped back to
    its size. A user's own augmentation has the last word, with a generator of the device.

    `n_train_steps` counts the full batches of an epoch: the images left over, other ones in every
    epoch, are dropped. `validation` and `test` are the batches of the images that are held out.

    Raises ValueError when `batch_size` is below 1 or above the number of training images.
    """

    def __init__(
        self,
        data: Data,
        *,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        augmentation: Augmentation | None = None,
    ) -> None:
        n_train = len(data.train_inputs)
        if not 1 <= batch_size <= n_train:
            raise ValueError(
                f"batch size {batch_size} is not in 1..{n_train}, the number of training images of "
                f"{data.name}: choose another batch size or a larger training subset"
            )
        self.n_train_steps = n_train // batch_size
        self._data = data
        self._batch_size = batch_size
        self._device = torch.device(device)
        self._dtype = dtype
        self._wanted = data.augmentation() if augmentation is None else augmentation
        self._train_targets = self._on_device(data.train_targets)

        if data.holds_images:
            mean, std = (torch.tensor(x, dtype=torch.float64)[:, None, None] for x in (data.mean, data.std))
            self._scale = (1 / (255 * std)).to(device, dtype)
            self._shift = (-mean / std).to(device, dtype)
        draws = _Draws(seed, n_train, self.n_train_steps, batch_size, self._wanted, self._device)
        self._order = lru_cache(maxsize=1)(draws.order)
        self._augmentation = lru_cache(maxsize=1)(draws.augmentation)
        self._generator = draws.of_own
        held_out = partial(HeldOut, batch_size, self._as_read, self._number)
        self.validation, self.test = (
            held_out(partial(_Inputs, inputs, self._device), self._on_device(targets))
            for inputs, targets in (
                (data.validation_inputs, data.validation_targets),
                (data.test_inputs, data.test_targets),
            )
        )

    def train(self, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """What the network reads, (batch_size, …), and targets (batch_size, …) of one training step.

        Raises IndexError when `step` is not in 0..n_train_steps-1.
        """
        rows = self._rows(epoch, step)
        inputs = self._train_inputs.chosen(self._order(epoch), step)
        if self._wanted[:2] != Augmentation()[:2]:
            corners, mirrored = self._augmentation(epoch)
            inputs = self._augmented(inputs, corners[step], mirrored[step])
        inputs = self._as_read(inputs)
        if self._wanted.own is not None:
            inputs = self._wanted.own(inputs, self._generator(epoch, step))
        return inputs, self._targets_of(rows)

    def train_targets(self, epoch: int, step: int) -> Tensor:
        """The targets of :meth:`train` alone."""
        return self._targets_of(self._rows(epoch, step))

    def _targets_of(self, rows: Tensor) -> Tensor:
        return self._number(self._train_targets.index_select(0, rows), copy=False)

    @cached_property
    def _train_inputs(self) -> _Inputs:
        return _Inputs(self._data.train_inputs, self._device)

    def _on_device(self, array: Array) -> Tensor:
        """The array on the device; nothing may write to it or hand out a view of it.

        On the CPU, DLPack shares memory, read-only memory too, such as files and Ray's object store.
        """
        return from_dlpack(array).to(self._device)

    def _rows(self, epoch: int, step: int) -> Tensor:
        """Which training images make up the batch."""
        _check_step(step, self.n_train_steps)
        _, on_device = self._order(epoch)
        return on_device[step]

    def _augmented(self, images: Tensor, corners: Tensor, mirrored: Tensor) -> Tensor:
        """Each image (uint8) cropped at its own place out of its padded self, or mirrored, or both.

        One gather: pixel (y, x) of the result is pixel (y + dy, x + dx) of the padded image, and
        the columns of a mirrored one run backwards. `corners` (2, n, 1) are dy and dx.
        """
        n, c, h, w = images.shape
        dy, dx = corners
        y = torch.arange(h, device=images.device) + dy
        x = torch.arange(w, device=images.device)
        x = torch.where(mirrored, x.flip(0), x) + dx

        rows, columns = self._wanted.pad
        padded = F.pad(images, [columns, columns, rows, rows])
        pixels = y[:, :, None] * padded.shape[3] + x[:, None, :]
        return padded.flatten(2).gather(2, pixels.view(n, 1, h * w).expand(n, c, h * w)).view(n, c, h, w)

    def _as_read(self, inputs: Tensor) -> Tensor:
        """What a network reads: a tensor of its own."""
        if self._data.holds_images:
            return inputs.to(self._dtype).mul_(self._scale).add_(self._shift)
        return self._number(inputs)

    def _number(self, values: Tensor, *, copy: bool = True) -> Tensor:
        """Values in the type that a network computes in, or in int64."""
        return values.to(self._dtype if values.is_floating_point() else torch.int64, copy=copy)


class HeldOut:
    """Batches of samples that nothing is trained on, in the data set's order, as they are.

    Args:
        batch_size: samples in a batch; the last may be smaller.
        as_read: makes what a network reads of raw inputs.
        number: brings targets to the type that they are computed with.
        inputs: all of them, made ready when a batch is first asked for.
        targets: theirs, on the device.
    """

    def __init__(
        self,
        batch_size: int,
        as_read: Callable[[Tensor], Tensor],
        number: Callable[[Tensor], Tensor],
        inputs: Callable[[], _Inputs],
        targets: Tensor,
    ) -> None:
        self.n_steps = -(-len(targets) // batch_size)
        self._batch_size = batch_size
        self._inputs = lru_cache(maxsize=1)(inputs)
        self._targets = targets
        self._as_read, self._number = as_read, number

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """What the network reads, and targets, of one step.

        Raises IndexError when `step` is not in 0..n_steps-1.
        """
        rows = self._rows(step)
        return self._as_read(self._inputs().some(rows)), self._number(self._targets[rows])

    def targets(self, step: int) -> Tensor:
        """The targets of a step alone."""
        return self._number(self._targets[self._rows(step)])

    def _rows(self, step: int) -> slice:
        _check_step(step, self.n_steps)
        return slice(step * self._batch_size, (step + 1) * self._batch_size)


def _check_step(step: int, n_steps: int) -> None:
    if not 0 <= step < n_steps:
        raise IndexError(f"step {step} is not in 0..{n_steps - 1}, the steps of an epoch")
