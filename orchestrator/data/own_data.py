"""Data of a user's own: arrays or torch data sets, as a function of theirs returns them, found sound."""

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from orchestrator.data.batches import Batches
from orchestrator.data.blocks import Array, blocks
from orchestrator.data.data import Data, OwnAugmentation
from orchestrator.data.errors import ANY_ERROR, DatasetError, reason, reported
from orchestrator.data.kept import Copy, keep, scratch
from orchestrator.data.mapped import mapped
from orchestrator.data.source import Rows
from orchestrator.data.splits import part_off, subset

SPLITS = ("train", "validation", "test")
_NAMES = {*SPLITS, "augmentation"}


def load_own(
    name: str,
    make: object,
    decoded: Path,
    *,
    train_subset: int | None = None,
    validation_subset: int | None = None,
    validation_fraction: float | None = None,
) -> Data:
    """The data set that a user's function makes.

    Args:
        name: what it is called.
        make: the function. It returns the training, validation and, where there is one, test split in a
            tuple, or in a dict of these names, beside which ``"augmentation"`` may stand. A split is a pair
            of arrays or tensors, inputs (n, …) and targets (n, …), or a map-style torch data set of such
            samples. Arrays may be memory-mapped: they are not copied.
        decoded: where samples are kept that are chosen from files, or are not to fill the memory.
        train_subset: keep that many training samples, classes in proportion, others at random.
        validation_subset: the same, of validation samples.
        validation_fraction: of the training samples, to validate on where the function returns no such split.

    Raises:
        DatasetError: it is none; the message says what to return.
    """
    if not callable(make):
        raise DatasetError(f"data set {name!r} is a {type(make).__name__}, not a function: give one")
    with reported(f"{name} raises an error", "mend the function", ANY_ERROR):
        returned = make()
    given = _by_name(name, returned)
    augmentation = given.pop("augmentation", None)
    splits = {split: _pair(name, split, given[split], decoded) for split in SPLITS if split in given}
    _check(name, splits)
    remarks = [_remark(splits["train"])]
    if validation_fraction is not None:
        if "validation" in splits:
            raise DatasetError(
                f"--validation-fraction {validation_fraction}: {name} returns samples to validate on: leave "
                "the option out"
            )
        whole = splits["train"]
        halves = part_off(name, _classes(whole[1]), validation_fraction)
        splits |= {split: _chosen(whole, rows, decoded) for split, rows in zip(SPLITS, halves, strict=False)}
        remarks.append(f"validated on {len(halves[1]):,} of its {len(whole[1]):,} training samples")
    if "validation" not in splits:
        raise DatasetError(
            f"{name} returns no samples to validate on: add a split validation, or take some of the training "
            "samples with --validation-fraction 0.1"
        )
    for split, size in (("train", train_subset), ("validation", validation_subset)):
        if size is not None:
            classes = _classes(splits[split][1])
            rows = subset(name, split, classes, size, len(np.unique(classes)))
            splits[split] = _chosen(splits[split], rows, decoded)
    arrays: dict[str, Any] = {}
    for split, (inputs, targets) in splits.items():
        arrays |= {f"{split}_inputs": inputs, f"{split}_targets": targets}
    data = Data(name=name, **arrays, own_augmentation=augmentation, remarks=tuple(remarks))
    if augmentation is not None:
        _check_augmentation(data, augmentation)
    return data


def _by_name(name: str, returned: object) -> dict[str, Any]:
    """What a user's function has returned, by what it is."""
    if isinstance(returned, tuple | list) and len(returned) in (2, 3):
        return dict(zip(SPLITS, returned, strict=False))
    if isinstance(returned, dict) and "train" in returned and returned.keys() <= _NAMES:
        return dict(returned)
    what = f"the keys {', '.join(map(str, returned))}" if isinstance(returned, dict) else _kind(returned)
    raise DatasetError(
        f"{name} returns {what}: return train and validation, or train, validation and test, in a tuple, or "
        "in a dict of these names, with augmentation where there is one"
    )


def _pair(name: str, split: str, given: object, decoded: Path) -> tuple[Array, Array]:
    """Inputs and targets of a split."""
    if isinstance(given, TensorDataset):
        given = given.tensors
    if isinstance(given, tuple | list) and len(given) == 2 and all(map(_is_array, given)):
        inputs, targets = given
        _check_order(f"{name}: {split}", inputs, targets)
    elif isinstance(given, tuple | dict | str) or hasattr(given, "dtype") or not _is_map_style(given):
        raise DatasetError(
            f"{name}: {split} is {_kind(given)}: give a pair of arrays (inputs, targets), or a torch data "
            "set with a length that returns such a pair for each number"
        )
    else:
        inputs, targets = _gathered(name, split, given, decoded)
    return (
        _array(name, f"{split} inputs", inputs, "iuf", decoded),
        _array(name, f"{split} targets", targets, "biuf", decoded),
    )


def _check_order(what: str, inputs: Any, targets: Any) -> None:
    """See that inputs and targets of pandas, taken as they stand, are not the same rows in another order."""
    indices = [values.index for values in (inputs, targets) if isinstance(values, pd.DataFrame | pd.Series)]
    if len(indices) == 2 and not indices[0].equals(indices[1]) and set(indices[0]) == set(indices[1]):
        raise DatasetError(
            f"{what} inputs and targets have the same index in another order: bring them to one, as "
            "targets.loc[inputs.index] does"
        )


def _is_array(given: object) -> bool:
    """Of numpy, torch or pandas."""
    return hasattr(given, "dtype") or hasattr(given, "to_numpy")


def _is_map_style(given: object) -> bool:
    return hasattr(given, "__getitem__") and hasattr(given, "__len__")


def _gathered(name: str, split: str, samples: Any, decoded: Path) -> tuple[Array, Array]:
    """All samples of a torch data set in two arrays, which are in no memory of this process's own."""
    with reported(f"{name}: {split} has no length", "see to its __len__", ANY_ERROR):
        n = len(samples)
    if not n:
        raise DatasetError(f"{name} holds no {split} samples: return some")
    arrays: list[Array] = []
    with reported(f"{name}: a sample of {split} cannot be read", "see to its __getitem__", ANY_ERROR):
        for i in range(n):
            sample = samples[i]
            if not isinstance(sample, tuple | list) or len(sample) != 2:
                raise DatasetError(f"{name}: {split}[{i}] is {_kind(sample)}: give a pair (input, target)")
            values = [np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x) for x in sample]
            if not arrays:
                arrays = [scratch(decoded, (n, *value.shape), value.dtype) for value in values]
            for what, array, value in zip(("input", "target"), arrays, values, strict=True):
                if (value.shape, value.dtype) != (array.shape[1:], array.dtype):
                    raise DatasetError(
                        f"{name}: the {what} of {split}[{i}] is {value.dtype} of shape {value.shape}, of "
                        f"{split}[0] {array.dtype} of {array.shape[1:]}: give all one type and shape"
                    )
                array[i] = value
    inputs, targets = arrays
    return inputs, targets


def _array(name: str, what: str, values: Any, kinds: str, decoded: Path) -> Array:
    """Numbers that torch can read, without a copy where they are already."""
    with reported(
        f"{name}: {what} cannot be read as an array", "give dense numpy arrays or tensors", ANY_ERROR
    ):
        if isinstance(values, Tensor):
            values = values.detach().cpu().resolve_conj().resolve_neg()
            values = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
        array = np.asarray(values)
    if np.ma.is_masked(values):
        raise DatasetError(f"{name}: {what} are masked in part: fill in or leave out what is missing")
    if min(array.strides, default=0) < 0:
        array = array.copy()  # torch has no such strides
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind not in kinds:
        raise DatasetError(
            f"{name}: {what} are {array.dtype}: give floating-point or whole numbers, classes numbered from 0"
        )
    whole = kind == "b" or (kind == "u" and size > 1)
    return _copied(array, decoded, kind="int64" if whole else f"={kind}{min(size, 8)}")


def _check(name: str, splits: dict[str, tuple[Array, Array]]) -> None:
    """See that splits hold samples of one kind, of numbers that can be trained on."""
    train = splits["train"]
    for split, (inputs, targets) in splits.items():
        if len(inputs.shape) < 2 or not targets.ndim or not min(inputs.shape[1:]):
            raise DatasetError(
                f"{name}: {split} inputs are of shape {inputs.shape}, targets of {targets.shape}: give "
                "inputs (samples, …), one number a sample as (samples, 1), and targets (samples, …)"
            )
        if len(inputs) != len(targets):
            raise DatasetError(
                f"{name}: {split} has {len(inputs)} inputs and {len(targets)} targets: give each sample both"
            )
        if not len(inputs):
            raise DatasetError(f"{name} holds no {split} samples: return some")
        for what, array, first in zip(("inputs", "targets"), (inputs, targets), train, strict=True):
            if (array.shape[1:], array.dtype) != (first.shape[1:], first.dtype):
                raise DatasetError(
                    f"{name}: {split} {what} are {array.dtype} of shape {array.shape[1:]} a sample, those of "
                    f"train {first.dtype} of {first.shape[1:]}: give all splits one type and shape"
                )
            _check_numbers(f"{name}: {split} {what}", array)
        if inputs.dtype.kind in "iu" and int(inputs.min()) < 0:
            raise DatasetError(
                f"{name}: {split} inputs are whole numbers from {int(inputs.min())}, which are read as "
                "tokens from 0: number them from 0, or give floating-point numbers"
            )
        if inputs.dtype == np.uint8 and _channels_last(inputs):
            raise DatasetError(
                f"{name}: {split} inputs of shape {inputs.shape[1:]} have their channels last: give "
                "(channels, height, width), as inputs.transpose(0, 3, 1, 2) has them"
            )


def _check_numbers(what: str, array: Array) -> None:
    """See that floating-point numbers are finite."""
    if array.dtype.kind != "f":
        return
    start = 0
    for block in blocks(array):
        with np.errstate(over="ignore"):  # what float32 does not hold is infinite there
            single = block.reshape(len(block), -1).astype(np.float32, copy=False)
        wrong = np.flatnonzero(~np.isfinite(single).all(axis=1))
        if len(wrong):
            raise DatasetError(
                f"{what} are not finite in sample {start + wrong[0]}: fill in or leave out what is missing"
            )
        start += len(block)


def _classes(targets: Array) -> Rows:
    """Class numbers that subsets keep in proportion: one for all where targets are none."""
    if targets.ndim == 1 and targets.dtype.kind in "iu":
        return targets.astype(np.int64)
    return np.zeros(len(targets), np.int64)


def _chosen(split: tuple[Array, Array], rows: Rows, decoded: Path) -> tuple[Array, Array]:
    inputs, targets = (_copied(array, decoded, rows=rows) for array in split)
    return inputs, targets


def _copied(array: Array, decoded: Path, *, rows: Rows | None = None, kind: str | None = None) -> Array:
    """Some samples, or all as another kind of number; the array itself where it is what is asked for."""
    copy = Copy(array, rows, kind)
    if rows is None and copy.dtype == array.dtype:
        return array
    where = mapped(array)
    if where is None:
        return (array if rows is None else array[rows]).astype(copy.dtype, copy=False)
    digest = blake2b(repr((where._replace(host=None), copy.dtype)).encode(), digest_size=8)
    digest.update(b"" if rows is None else rows.data)
    return keep(decoded / f"{Path(where.file).stem}-{digest.hexdigest()}", {"array": copy})["array"]


def _remark(train: tuple[Array, Array]) -> str:
    """How the arrays are understood."""
    inputs, targets = train
    if inputs.dtype == np.uint8 and inputs.ndim == 4:
        how = "images, normalised by channel"
    elif inputs.dtype.kind == "f":
        how = "read as they are, not normalised"
    else:
        how = "tokens from 0"
        how += (
            "; grey images are (samples, 1, height, width)"
            if inputs.dtype == np.uint8 and inputs.ndim == 3
            else ""
        )
    if inputs.dtype.kind == "f" and _channels_last(inputs):
        how += "; if they are images, their channels are last: networks for images take them first"
    remark = f"inputs {inputs.dtype} {inputs.shape[1:]}, {how}; targets {targets.dtype}"
    remark += f" {targets.shape[1:]}" * (targets.ndim > 1)
    if targets.ndim == 1 and targets.dtype.kind in "iu" and (n := len(np.unique(targets))) <= targets.max():
        remark += f"; {n} of the {int(targets.max()) + 1} numbers from 0 to {targets.max()} occur among them"
    return remark


def _channels_last(inputs: Array) -> bool:
    """Whether inputs look like images (n, height, width, channels)."""
    return inputs.ndim == 4 and min(inputs.shape[1:3]) > 4 and inputs.shape[3] in (1, 3, 4)


def _check_augmentation(data: Data, augmentation: OwnAugmentation) -> None:
    """See that a user's augmentation returns a like batch, the same in every process."""
    from ray import cloudpickle  # without Ray there is nobody to send it to

    what = f"{data.name}: the augmentation"
    if not callable(augmentation):
        raise DatasetError(f"{what} is {_kind(augmentation)}: give a function of a batch and a generator")
    try:
        cloudpickle.dumps(augmentation)
    except Exception as error:
        raise DatasetError(f"{what} cannot be sent to another process: {reason(error)}") from error

    def batch(own: Callable[..., Tensor] | None) -> Tensor:
        few = min(4, len(data.train_targets))
        wanted = data.augmentation()._replace(own=own)
        return Batches(data, batch_size=few, seed=0, augmentation=wanted).train(1, 0)[0]

    try:
        first, again, plain = batch(augmentation), batch(augmentation), batch(None)
    except ANY_ERROR as error:
        raise DatasetError(
            f"{what} raises {type(error).__name__}: {reason(error)}: mend it; it gets a batch and a generator"
        ) from error
    given = _kind(first)
    if given != _kind(plain):
        raise DatasetError(f"{what} makes {given} of {_kind(plain)}: return a batch of the same kind")
    if not torch.equal(first, again):
        raise DatasetError(
            f"{what} draws other random numbers each time: draw all of them from the generator that it gets"
        )
    if first.is_floating_point() and not bool(first.isfinite().all()):
        raise DatasetError(f"{what} makes numbers that are not finite: mend it")


def _kind(value: object) -> str:
    """What a value is, for a message."""
    if isinstance(value, np.ndarray | Tensor):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"
