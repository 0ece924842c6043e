import warnings
from hashlib import sha256
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from orchestrator.data.batches import Batches
from orchestrator.data.data import Augmentation, Data
from orchestrator.data.datasets import load_dataset

NONE = Augmentation()
BOTH = Augmentation((2, 2), True)


def image_data(n=23, n_validation=11, c=3, h=8, w=6, *, frozen=False):
    """Random images; the label of image i is i, so that a batch tells which images it holds."""
    rng = np.random.default_rng(5)
    arrays = [
        rng.integers(256, size=(n, c, h, w), dtype=np.uint8),
        np.arange(n),
        rng.integers(256, size=(n_validation, c, h, w), dtype=np.uint8),
        np.arange(n_validation),
    ]
    for array in arrays:
        array.setflags(write=not frozen)
    return Data("random", *arrays, crop=True, flip=True)


def raw(data: Data, images: torch.Tensor) -> np.ndarray:
    """Undo the normalisation."""
    mean, std = (np.array(x)[:, None, None] for x in (data.mean, data.std))
    pixels = (images.double().cpu().numpy() * std + mean) * 255
    assert abs(pixels - pixels.round()).max() < 1e-3
    return pixels.round().astype(int)


def crops(wanted: Augmentation, image: np.ndarray) -> dict[bytes, tuple[int, int, bool]]:
    """Every augmented form of one image, by plain slicing: bytes to (dy, dx, mirrored)."""
    _, h, w = image.shape
    rows, columns = wanted.pad
    padded = np.zeros((len(image), h + 2 * rows, w + 2 * columns), int)
    padded[:, rows : rows + h, columns : columns + w] = image
    forms = {}
    for dy in range(2 * rows + 1):
        for dx in range(2 * columns + 1):
            crop = padded[:, dy : dy + h, dx : dx + w]
            forms[crop.tobytes()] = (dy, dx, False)
            if wanted.flip:
                forms[np.ascontiguousarray(crop[:, :, ::-1]).tobytes()] = (dy, dx, True)
    return forms


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


DATA = {"digits": load_dataset("digits"), "random": image_data(n=60)}
GOLDEN = {  # data set, augment, seed: checksums of the first and last batch of epoch 1, then of epoch 2
    ("digits", True, 0): "42fbc616 ed0473d6 c4b34bf9 b0aad403",
    ("digits", True, 3): "c6da8eea 624e7d23 2324be42 cc9d0328",
    ("digits", False, 0): "42fbc616 ed0473d6 c4b34bf9 b0aad403",
    ("digits", False, 3): "c6da8eea 624e7d23 2324be42 cc9d0328",
    ("random", True, 0): "2e8362a7 72fd3a11 e83dc605 420b5f53",
    ("random", True, 3): "40842c03 a5690b4b 20357daf 456810c1",
    ("random", False, 0): "ad231126 d3854180 66d3365e dacc6f53",
    ("random", False, 3): "60b67e30 0a876273 2d642292 22021759",
}


def checksum(data: Data, images: torch.Tensor, labels: torch.Tensor) -> str:
    """Of the raw pixels and the labels: floats may differ from processor to processor."""
    content = raw(data, images).astype(np.uint8).tobytes() + labels.numpy().astype("<i4").tobytes()
    return sha256(content).hexdigest()[:8]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "augment", "seed"), GOLDEN)
def test_batches_stay_what_they_have_always_been(name, augment, seed, dtype):
    data = DATA[name]
    wanted = BOTH if augment and name == "random" else None if augment else NONE
    batches = Batches(data, batch_size=16, seed=seed, augmentation=wanted, dtype=dtype)
    requests = [(epoch, step) for epoch in (1, 2) for step in (0, batches.n_train_steps - 1)]
    golden = dict(zip(requests, GOLDEN[name, augment, seed].split(), strict=True))
    in_turn = [requests[i] for i in (0, 2, 1, 3, 0)]  # two epochs by turns
    for request in requests + requests[::-1] + in_turn:
        images, labels = batches.train(*request)
        assert checksum(data, images, labels) == golden[request]
        assert torch.equal(batches.train_targets(*request), labels)


@given(st.integers(0, 2**40), st.integers(0, 3), st.integers(0, 5), st.booleans())
@settings(max_examples=25)
def test_a_batch_follows_from_seed_epoch_and_step_alone(seed, epoch, step, augment):
    one, other = (
        Batches(image_data(), batch_size=3, seed=seed, augmentation=BOTH if augment else NONE)
        for _ in range(2)
    )
    for i in range(4):
        other.train(epoch + i % 2, (step + i) % other.n_train_steps)  # in whatever state
    other.validation(0)
    assert same(one.train(epoch, step), other.train(epoch, step))


@given(st.integers(1, 40), st.data())
@settings(max_examples=25)
def test_an_epoch_holds_every_image_once_up_to_the_dropped_tail(n, data):
    batch_size = data.draw(st.integers(1, n))
    batches = Batches(image_data(n=n), batch_size=batch_size, seed=1)
    assert batches.n_train_steps == n // batch_size
    for epoch in range(2):
        labels = torch.cat([batches.train(epoch, i)[1] for i in range(batches.n_train_steps)])
        assert len(labels) == len(labels.unique()) == n - n % batch_size


def test_the_dropped_tail_changes_with_the_epoch():
    batches = Batches(image_data(n=23), batch_size=10, seed=1)
    seen = torch.cat([batches.train(epoch, step)[1] for epoch in range(10) for step in range(2)])
    assert len(seen.unique()) == 23


def test_epochs_steps_and_seeds_differ():
    data = image_data(n=64)
    orders, augmented = set(), set()
    for seed in range(3):
        plain = Batches(data, batch_size=32, seed=seed, augmentation=NONE)
        batches = Batches(data, batch_size=32, seed=seed, augmentation=BOTH)
        for epoch in range(3):
            for step in range(2):
                images, labels = batches.train(epoch, step)
                assert torch.equal(labels, plain.train(epoch, step)[1])
                orders.add(tuple(labels.tolist()))
                forms = [crops(BOTH, x) for x in data.train_inputs[labels]]
                pixels = raw(data, images)
                augmented.add(tuple(f[x.tobytes()] for f, x in zip(forms, pixels, strict=True)))
    assert len(orders) == len(augmented) == 18


@pytest.mark.parametrize(
    ("pad", "flip"),
    [((2, 2), True), ((1, 1), False), ((0, 0), True), ((0, 0), False), ((0, 3), False), ((2, 1), True)],
)
def test_augmentation_against_plain_slicing(pad, flip):
    data, wanted = image_data(n=40), Augmentation(pad, flip)
    batches = Batches(data, batch_size=40, seed=3, augmentation=wanted)
    forms = [crops(wanted, image) for image in data.train_inputs]
    seen = []
    for epoch in range(15):
        images, labels = batches.train(epoch, 0)
        pixels = raw(data, images)
        seen += [forms[i][x.tobytes()] for i, x in zip(labels, pixels, strict=True)]
    # 600 draws leave none of the at most 50 forms out, and take each about equally often
    dys, dxs = (range(2 * p + 1) for p in pad)
    expected = {(y, x, m) for y in dys for x in dxs for m in {False, flip}}
    assert set(seen) == expected
    assert max(map(seen.count, expected)) < 600 / len(expected) * 2.5 + 1
    for i in range(3):
        values = [form[i] for form in seen]
        counts = np.array([values.count(value) for value in set(values)])
        assert (abs(counts - 600 / len(counts)) < 5 * (600 / len(counts)) ** 0.5).all()


def test_without_augmentation_images_come_as_they_are():
    data = image_data()
    images, labels = Batches(data, batch_size=23, seed=0, augmentation=NONE).train(0, 0)
    assert (raw(data, images) == data.train_inputs[labels]).all()
    assert images.mean((0, 2, 3)) == pytest.approx(np.zeros(3), abs=1e-6)
    assert images.std((0, 2, 3), correction=0) == pytest.approx(np.ones(3), abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_validation_covers_all_images_in_order_unaugmented(dtype):
    data = image_data(n_validation=11)
    batches = Batches(data, batch_size=4, seed=0, dtype=dtype)
    images, labels = zip(*map(batches.validation, range(batches.validation.n_steps)), strict=True)
    assert [len(x) for x in labels] == [4, 4, 3]
    assert torch.cat(labels).tolist() == list(range(11))
    assert (raw(data, torch.cat(images)) == data.validation_inputs).all()
    assert images[0].dtype == batches.train(0, 0)[0].dtype == dtype


def test_labels_need_no_images():
    data, whole = image_data(), Batches(image_data(), batch_size=5, seed=0)
    batches = Batches(data, batch_size=5, seed=0)
    object.__setattr__(data, "train_inputs", None)
    assert torch.equal(batches.train_targets(1, 3), whole.train(1, 3)[1])
    for step in range(batches.validation.n_steps):
        labels = batches.validation.targets(step)
        assert torch.equal(labels, whole.validation(step)[1])
        labels.zero_()  # what a user does to a batch stays in the batch
    assert torch.equal(batches.validation.targets(0), whole.validation(0)[1])


def test_random_numbers_are_drawn_once_and_only_where_needed(monkeypatch):
    batches = Batches(image_data(), batch_size=5, seed=0)
    generator = Mock(wraps=torch.Generator)
    monkeypatch.setattr(torch, "Generator", generator)
    for step in range(4):
        batches.train_targets(0, step)
    assert generator.call_count == 1  # the order
    for step in range(4):
        batches.train(0, step)
    assert generator.call_count == 5  # and each step's augmentation


class OnlyOn(TorchDispatchMode):
    """Refuses all that reads a tensor elsewhere than on one kind of device, or a value of one there."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func not in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
        for x in torch.utils._pytree.tree_leaves((args, kwargs)):
            assert not isinstance(x, torch.Tensor) or x.device.type == self.device, func
        return func(*args, **kwargs or {})


def test_the_host_is_asked_once_an_epoch():
    batches = Batches(image_data(), batch_size=5, seed=0, device="meta")
    batches.validation(0)
    for epoch in range(2):
        batches.train(epoch, 0)
        with OnlyOn("meta"):
            for step in range(batches.n_train_steps):
                batches.train(epoch, step)
                batches.train_targets(epoch, step)
            batches.validation(1)
            batches.validation.targets(2)


def test_read_only_arrays_are_shared_and_never_written_to():
    data = image_data(frozen=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batches = Batches(data, batch_size=5, seed=0)
        batches.train(0, 0), batches.validation(0)  # shared when first needed
    writable = Batches(image_data(), batch_size=5, seed=0)
    before = data.train_inputs.copy(), data.validation_targets.copy()
    for mine, theirs in (
        (batches.train(0, 1), writable.train(0, 1)),
        (batches.validation(0), writable.validation(0)),
    ):
        assert same(mine, theirs)
        for tensor in mine:
            tensor.zero_()  # what a user does to a batch stays in the batch
    assert (data.train_inputs == before[0]).all()
    assert (data.validation_targets == before[1]).all()


def test_images_are_not_copied_on_the_cpu():
    data = image_data(n=3)
    batches = Batches(data, batch_size=3, seed=0, augmentation=NONE)
    before = batches.train(0, 0)[0]
    data.train_inputs[:] = 255 - data.train_inputs
    assert not torch.equal(batches.train(0, 0)[0], before)


@pytest.mark.parametrize("batch_size", [0, -1, 24])
def test_impossible_batch_sizes(batch_size):
    with pytest.raises(ValueError, match=rf"batch size {batch_size} is not in 1..23.*choose"):
        Batches(image_data(n=23), batch_size=batch_size, seed=0)


@pytest.mark.parametrize("step", [-1, 4])
def test_steps_outside_the_epoch(step):
    batches = Batches(image_data(n=23, n_validation=20), batch_size=5, seed=0)
    with pytest.raises(IndexError, match=rf"step {step} is not in 0..3"):
        batches.train(0, step)
    for request in (batches.validation, batches.validation.targets):
        with pytest.raises(IndexError, match=rf"step {step} is not in 0..3"):
            request(step)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_device_does_not_change_a_batch(dtype):
    cpu, gpu = (
        Batches(image_data(), batch_size=7, seed=4, device=device, dtype=dtype) for device in ("cpu", "cuda")
    )
    for step in range(3):
        assert same(cpu.train(2, step), [x.cpu() for x in gpu.train(2, step)])
    assert same(cpu.validation(1), [x.cpu() for x in gpu.validation(1)])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_no_step_waits_for_a_gpu():
    batches = Batches(image_data(), batch_size=5, seed=0, device="cuda")
    batches.train(0, 0), batches.validation(0)  # the images go there
    torch.cuda.set_sync_debug_mode("error")
    try:
        for epoch in range(3):
            for step in range(batches.n_train_steps):
                batches.train(epoch, step)
                batches.train_targets(epoch, step)
        batches.validation(1), batches.validation.targets(2)
    finally:
        torch.cuda.set_sync_debug_mode("default")
