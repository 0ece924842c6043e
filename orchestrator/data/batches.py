"""Training and validation batches that every actor derives alone from (seed, epoch, step)."""

from enum import IntEnum

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from orchestrator.data.datasets import ImageData


class _Purpose(IntEnum):
    """What a random stream is for, so that no two purposes share one."""

    ORDER = 0
    AUGMENTATION = 1


class Batches:
    """The batches of a data set, equal in every process that asks for the same (epoch, step).

    Images stay uint8 on `device`, on the CPU without a copy and never written to; gathering,
    augmenting and normalising happen there. All random numbers come from CPU generators, so a batch
    does not depend on the device.

    `augment` applies the set's own random crop and flip (`ImageData.pad`, `ImageData.flip`) to
    training batches. As in the usual CIFAR recipe, the padding is black (raw 0, before
    normalising), an image is cropped back to its size, and every second one is mirrored.

    `n_train_steps` counts the full batches of an epoch: the images left over, other ones in every
    epoch, are dropped. `n_validation_steps` covers every validation image; its last batch may be
    smaller.

    Raises ValueError when `batch_size` is below 1 or above the number of training images.
    """

    def __init__(
        self,
        data: ImageData,
        *,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        augment: bool = True,
    ) -> None:
        n_train, n_validation = len(data.train_images), len(data.validation_images)
        if not 1 <= batch_size <= n_train:
            raise ValueError(
                f"batch size {batch_size} is not in 1..{n_train}, the number of training images of "
                f"{data.name}: choose another batch size or a larger training subset"
            )
        self.n_train_steps = n_train // batch_size
        self.n_validation_steps = -(-n_validation // batch_size)
        self._batch_size = batch_size
        self._seed = seed
        self._dtype = dtype
        self._pad = data.pad if augment else 0
        self._flip = data.flip and augment

        # DLPack shares memory, read-only memory too, such as arrays in Ray's object store.
        # Nothing below may write to these four tensors or hand out a view of them.
        self._train_images = from_dlpack(data.train_images).to(device)
        self._train_labels = from_dlpack(data.train_labels).to(device)
        self._validation_images = from_dlpack(data.validation_images).to(device)
        self._validation_labels = from_dlpack(data.validation_labels).to(device)

        mean, std = (torch.tensor(x, dtype=torch.float64)[:, None, None] for x in (data.mean, data.std))
        self._scale = (1 / (255 * std)).to(device, dtype)
        self._shift = (-mean / std).to(device, dtype)
        self._order_epoch: int | None = None
        self._order = torch.empty(0)

    def train(self, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """Normalised images (batch_size, c, h, w) and labels (batch_size,) of one training step.

        Raises IndexError when `step` is not in 0..n_train_steps-1.
        """
        rows = self._rows(epoch, step)
        images = self._train_images.index_select(0, rows)
        if self._pad or self._flip:
            images = self._augmented(images, self._generator(epoch, step, _Purpose.AUGMENTATION))
        return self._normalised(images), self._train_labels.index_select(0, rows)

    def train_labels(self, epoch: int, step: int) -> Tensor:
        """The labels of :meth:`train` alone."""
        return self._train_labels.index_select(0, self._rows(epoch, step))

    def validation(self, step: int) -> tuple[Tensor, Tensor]:
        """Normalised images and labels of one validation step, in the data set's order.

        Raises IndexError when `step` is not in 0..n_validation_steps-1.
        """
        _check_step(step, self.n_validation_steps)
        rows = slice(step * self._batch_size, (step + 1) * self._batch_size)
        return self._normalised(self._validation_images[rows]), self._validation_labels[rows].clone()

    def _rows(self, epoch: int, step: int) -> Tensor:
        """Which training images make up the batch."""
        _check_step(step, self.n_train_steps)
        if epoch != self._order_epoch:
            generator = self._generator(epoch, 0, _Purpose.ORDER)
            order = torch.randperm(len(self._train_labels), generator=generator)
            self._order_epoch, self._order = epoch, order.to(self._train_labels.device)
        return self._order[step * self._batch_size : (step + 1) * self._batch_size]

    def _generator(self, epoch: int, step: int, purpose: _Purpose) -> torch.Generator:
        (state,) = np.random.SeedSequence((self._seed, epoch, step, purpose)).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(state))

    def _augmented(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Each image (uint8) cropped at its own place out of its padded self, or mirrored, or both.

        One gather: pixel (y, x) of the result is pixel (y + dy, x + dx) of the padded image, and
        the columns of a mirrored one run backwards.
        """
        n, c, h, w = images.shape
        dy, dx = torch.randint(2 * self._pad + 1, (2, n, 1), generator=generator).to(images.device)
        mirrored = torch.randint(2, (n, 1), generator=generator).to(images.device, torch.bool)
        y = torch.arange(h, device=images.device) + dy
        x = torch.arange(w, device=images.device).expand(n, w)
        x = torch.where(mirrored & self._flip, x.flip(1), x) + dx

        padded = F.pad(images, [self._pad] * 4)
        pixels = y[:, :, None] * padded.shape[3] + x[:, None, :]
        return padded.flatten(2).gather(2, pixels.view(n, 1, h * w).expand(n, c, h * w)).view(n, c, h, w)

    def _normalised(self, images: Tensor) -> Tensor:
        return images.to(self._dtype).mul_(self._scale).add_(self._shift)


def _check_step(step: int, n_steps: int) -> None:
    if not 0 <= step < n_steps:
        raise IndexError(f"step {step} is not in 0..{n_steps - 1}, the steps of an epoch")
