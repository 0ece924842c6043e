import io
import pickle
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.datasets import CIFAR10, MNIST, SVHN
from torchvision.datasets.utils import calculate_md5

from orchestrator.data.datasets import (
    DATASETS,
    DatasetError,
    ImageData,
    Source,
    _stratified,
    load_dataset,
)

RNG = np.random.default_rng(7)


def png(image: np.ndarray) -> bytes:
    """Encode (c, h, w) uint8 without loss."""
    buffer = io.BytesIO()
    Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def noise(n: int, c: int = 3, h: int = 8, w: int = 8) -> np.ndarray:
    return RNG.integers(256, size=(n, c, h, w), dtype=np.uint8)


def write_parquet(file: Path, contents: list[bytes | None], labels: list, **columns) -> None:
    images = [{"bytes": content, "path": None} for content in contents]
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = {"image": pa.array(images, struct), "label": pa.array(labels, pa.int64()), **columns}
    pq.write_table(pa.table({k: v for k, v in table.items() if v is not None}), file)


@pytest.fixture
def parquet(tmp_path):
    """A sound Parquet set of 2 classes, for tests to damage one file of."""
    write_parquet(tmp_path / "train-0.parquet", [png(x) for x in noise(4)], [0, 1, 0, 1])
    write_parquet(tmp_path / "test-0.parquet", [png(x) for x in noise(2)], [0, 1])
    return tmp_path


def write_folder(root: Path, images: dict[str, np.ndarray]) -> None:
    for name, image in images.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(image))


# digits


def test_digits_are_all_there_stratified_and_disjoint():
    data = load_dataset("digits")
    published = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    train = np.bincount(data.train_labels)
    assert (train + np.bincount(data.validation_labels) == published).all()
    assert (abs(train - 0.8 * np.array(published)) <= 1).all()
    pixels = {x.tobytes() for x in data.train_images} | {x.tobytes() for x in data.validation_images}
    assert len(pixels) == 1797
    assert data.train_images.dtype == np.uint8
    assert data.train_images.max() == 255
    assert data.train_labels.dtype == np.int64
    assert (data.input_shape, data.n_classes) == ((1, 8, 8), 10)
    assert (data.pad, data.flip) == (0, False)


def test_digits_split_is_the_same_every_time():
    first, second = load_dataset("digits"), load_dataset("digits")
    assert (first.train_images == second.train_images).all()
    assert (first.validation_labels == second.validation_labels).all()


# subsets


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.data())
def test_stratified_rows(labels, data):
    labels = np.array(labels)
    size = data.draw(st.integers(0, len(labels)))
    rows = _stratified(labels, size)
    assert len(rows) == size
    assert (np.diff(rows) > 0).all()
    assert set(rows) <= set(_stratified(labels, min(size + 1, len(labels))))
    whole = np.bincount(labels)
    taken = np.bincount(labels[rows], minlength=len(whole))[whole > 0]
    whole = whole[whole > 0]
    # no class is more than one image ahead of another
    assert max((taken - 1) / whole) <= min(taken / whole)
    if size >= len(whole):
        assert taken.min() >= 1


def test_subsets_keep_images_with_their_labels():
    whole = load_dataset("digits")
    part = load_dataset("digits", train_subset=100, validation_subset=20)
    assert set(np.bincount(part.train_labels)) <= {9, 10, 11}
    assert (np.bincount(part.validation_labels) == 2).all()
    label_of = {x.tobytes(): y for x, y in zip(whole.train_images, whole.train_labels, strict=True)}
    assert [label_of[x.tobytes()] for x in part.train_images] == part.train_labels.tolist()


@pytest.mark.parametrize("subset", [{"train_subset": 1439}, {"train_subset": 9}])
def test_subset_out_of_range(subset):
    with pytest.raises(DatasetError, match=r"train_subset \d+ of digits .* 10 .* 1438"):
        load_dataset("digits", **subset)
    with pytest.raises(DatasetError, match=r"validation_subset 360 .* 359"):
        load_dataset("digits", validation_subset=360)


# ImageData


def test_mean_and_std_are_those_of_the_training_images():
    data = load_dataset("synthetic:3x5x7x2x50")
    scaled = data.train_images / 255
    assert data.input_shape == (3, 5, 7)
    np.testing.assert_allclose(data.mean, scaled.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(data.std, scaled.std((0, 2, 3)), rtol=1e-12)


@given(st.integers(0, 255), st.integers(1, 50))
def test_std_of_a_constant_channel_is_one(value, n):
    images = np.full((n, 1, 3, 3), value, np.uint8)
    labels = np.zeros(n, np.int64)
    data = ImageData("constant", images, labels, images, labels, 1, 0, False)
    assert data.std == (1.0,)
    assert data.mean == pytest.approx((value / 255,))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifar-10", "did you mean cifar10.*choose one of digits.*parquet:DIR.*synthetic"),
        ("Digits", "did you mean digits"),
        ("", "unknown data set ''"),
        ("digits:folder", "write digits$"),
        ("parquet", "write parquet:DIR"),
        ("image_folder:", "write image_folder:DIR"),
        ("synthetic:3x32", "CxHxWxK"),
        ("synthetic:3x0x32x10", "CxHxWxK"),
        ("synthetic:3x8x8x10x9", "NUMBER >= K"),
        ("parquet:/no/such/folder", "0 files train-"),
        ("image_folder:/no/such/folder", "not complete.*train/CLASS"),
    ],
)
def test_bad_names(name, message):
    with pytest.raises(DatasetError, match=message):
        load_dataset(name)


def test_registering_a_function_is_all_a_new_data_set_needs(monkeypatch):
    images, labels = noise(3), np.array([0, 1, 2])
    source = Source(labels, labels, lambda train, validation: (images[train], images[validation]))
    monkeypatch.setitem(DATASETS, "mine", (lambda argument, data_dir: source, ""))
    assert (load_dataset("mine").train_images == images).all()


def test_synthetic():
    data = load_dataset("synthetic")
    assert data.train_images.shape == (1024, 3, 32, 32)
    assert data.validation_images.shape == (256, 3, 32, 32)
    assert data.n_classes == 10
    again = load_dataset("synthetic")
    assert (data.train_images == again.train_images).all()
    small = load_dataset("synthetic:1x4x6x7x7")
    assert small.train_images.shape == (7, 1, 4, 6)
    assert sorted(small.train_labels) == list(range(7))


# parquet


def test_parquet_round_trip_over_several_files(tmp_path):
    images, labels = noise(10, h=16, w=8), [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    coarse = pa.array([0] * 3)
    for i in range(3):  # three rows a file, the tenth left out
        rows = slice(3 * i, 3 * i + 3)
        write_parquet(
            tmp_path / f"train-{i}.parquet", [png(x) for x in images[rows]], labels[rows],
            fine_label=pa.array(labels[rows]), coarse_label=coarse, label=None,
        )  # fmt: skip
    write_parquet(tmp_path / "validation-0.parquet", [png(images[9])], [0])
    write_parquet(tmp_path / "test-0.parquet", [b"not looked at"], [0])
    data = load_dataset(f"parquet:{tmp_path}")
    assert (data.train_images == images[:9]).all()
    assert data.train_labels.tolist() == labels[:9]
    assert (data.validation_images == images[9:]).all()
    assert (data.n_classes, data.pad, data.flip) == (3, 2, True)

    part = load_dataset(f"parquet:{tmp_path}", train_subset=5)
    index = {x.tobytes(): i for i, x in enumerate(images)}
    rows = [index[x.tobytes()] for x in part.train_images]
    assert [labels[row] for row in rows] == part.train_labels.tolist()
    assert len(set(rows)) == 5


def test_parquet_decodes_only_the_subset(parquet):
    contents = [png(x) for x in noise(4)]
    kept = _stratified(np.array([0, 1, 0, 1]), 2)
    broken = [x if row in kept else b"broken" for row, x in enumerate(contents)]
    write_parquet(parquet / "train-0.parquet", broken, [0, 1, 0, 1])
    assert len(load_dataset(f"parquet:{parquet}", train_subset=2).train_images) == 2
    with pytest.raises(DatasetError, match=r"train-0.parquet, row \d"):
        load_dataset(f"parquet:{parquet}")


IMAGE = png(noise(1)[0])
LABELS = pa.array([0, 1])


@pytest.mark.parametrize(
    ("contents", "labels", "columns", "message"),
    [
        ([IMAGE, b"junk"], [0, 1], {}, "cannot decode .*row 1 as PNG or JPEG"),
        ([IMAGE, IMAGE[:-30]], [0, 1], {}, "cannot decode .*row 1 as PNG or JPEG"),
        ([IMAGE, None], [0, 1], {}, "row 1 holds no image"),
        ([IMAGE, png(noise(1, h=9)[0])], [0, 1], {}, r"row 1 is 8x9, .*row 0 is 8x8"),
        ([IMAGE] * 2, [0, 2], {}, "2 values from 0 to 2: number the classes 0..1"),
        ([IMAGE] * 2, [1, 2], {}, "2 values from 1 to 2"),
        ([IMAGE] * 2, [-1, 0], {}, "2 values from -1 to 0"),
        ([IMAGE] * 2, [0, 0], {}, "validation label 1 is not among"),
        ([IMAGE] * 2, [0, None], {}, "1 rows of 'label' are empty"),
        ([], [], {}, "holds no training images"),
        ([IMAGE] * 2, [0, 1], {"label": None}, "one integer column.*has none"),
        ([IMAGE] * 2, [0, 1], {"image": None}, "struct column with binary bytes.*has none"),
        ([IMAGE] * 2, [0, 1], {"fine_label": LABELS}, "has label, fine_label"),
        ([IMAGE] * 2, [0, 1], {"label": None, "a": LABELS, "b": LABELS}, "has a, b"),
    ],
)
def test_bad_parquet_contents(parquet, contents, labels, columns, message):
    write_parquet(parquet / "train-0.parquet", contents, labels, **columns)
    with pytest.raises(DatasetError, match=message) as error:
        load_dataset(f"parquet:{parquet}")
    assert "DatasetError" not in str(error.value)  # told once, not as the reason of another


@pytest.mark.parametrize("damage", ["truncate", "scramble"])
def test_corrupt_parquet_file(parquet, damage):
    file = parquet / "train-0.parquet"
    content = bytearray(file.read_bytes())
    content[4:200] = b"\xff" * 196
    file.write_bytes(content[:100] if damage == "truncate" else content)
    with pytest.raises(DatasetError, match=r"cannot read .*train-0.parquet as Parquet"):
        load_dataset(f"parquet:{parquet}")


def test_parquet_without_validation_files(parquet):
    (parquet / "test-0.parquet").unlink()
    with pytest.raises(DatasetError, match=r"1 files train-.* 0 files validation-"):
        load_dataset(f"parquet:{parquet}")


# image_folder


@pytest.mark.parametrize("validation", ["validation", "val", "test"])
def test_image_folder_round_trip(tmp_path, validation):
    images = noise(5)
    names = ["train/cat/1.png", "train/cat/2.png", "train/bird/1.PNG", "train/dog/1.png"]
    write_folder(tmp_path, dict(zip([*names, f"{validation}/dog/9.png"], images, strict=True)))
    data = load_dataset(f"image_folder:{tmp_path}")
    assert data.train_labels.tolist() == [0, 1, 1, 2]  # bird, cat, cat, dog
    assert (data.train_images == images[[2, 0, 1, 3]]).all()
    assert data.validation_labels.tolist() == [2]
    assert (data.validation_images == images[4:]).all()
    assert (data.pad, data.flip) == (1, True)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"train/cat/2.png": noise(1, h=4)[0]}, r"cat/2.png is 8x4, .*cat/1.png is 8x8"),
        ({"validation/cat/2.png": noise(1, w=4)[0]}, r"cat/2.png is 4x8, .*cat/1.png is 8x8"),
        ({"validation/cow/1.png": noise(1)[0]}, "validation/cow is a class without training"),
        ({"train/cow/1.txt": noise(1)[0]}, "not complete.*cow"),
    ],
)
def test_bad_image_folder(tmp_path, extra, message):
    sound = dict.fromkeys(("train/cat/1.png", "validation/cat/1.png"), noise(1)[0])
    write_folder(tmp_path, {**sound, **extra})
    with pytest.raises(DatasetError, match=message):
        load_dataset(f"image_folder:{tmp_path}")


def test_image_folder_without_validation(tmp_path):
    write_folder(tmp_path, {"train/cat/1.png": noise(1)[0]})
    with pytest.raises(DatasetError, match=r"not complete.*validation"):
        load_dataset(f"image_folder:{tmp_path}")


# torchvision's sets, from small files in their own formats


@pytest.fixture
def offline(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn", "mnist"])
def test_missing_network_names_the_remedies(offline, tmp_path, name):
    with pytest.raises(DatasetError, match=f"place intact files in {tmp_path}.*parquet:DIR.*digits"):
        load_dataset(name, data_dir=tmp_path)


def write_cifar10(root: Path, images: np.ndarray, labels: list[int]) -> None:
    """Six batches of equal size, the last one for validation."""
    root.mkdir()
    names = [name for name, _ in CIFAR10.train_list + CIFAR10.test_list]
    size = len(images) // 6
    for i, name in enumerate(names):
        rows = slice(i * size, (i + 1) * size)
        batch = {"data": images[rows].reshape(size, -1), "labels": labels[rows]}
        (root / name).write_bytes(pickle.dumps(batch))
    (root / "batches.meta").write_bytes(pickle.dumps({"label_names": []}))


def test_cifar10_layout(monkeypatch, tmp_path):
    images, labels = noise(12, h=32, w=32), [0, 1] * 6
    root = tmp_path / CIFAR10.base_folder
    write_cifar10(root, images, labels)
    for attribute in ("train_list", "test_list"):
        names = [name for name, _ in getattr(CIFAR10, attribute)]
        monkeypatch.setattr(CIFAR10, attribute, [[x, calculate_md5(root / x)] for x in names])
    meta = {**CIFAR10.meta, "md5": calculate_md5(root / "batches.meta")}
    monkeypatch.setattr(CIFAR10, "meta", meta)
    data = load_dataset("cifar10", data_dir=tmp_path)
    assert (data.train_images == images[:10]).all()
    assert (data.validation_images == images[10:]).all()
    assert data.validation_labels.tolist() == [0, 1]
    assert data.train_images.flags.c_contiguous
    assert (data.pad, data.flip) == (4, True)


def test_foreign_cifar10_pickles_are_never_opened(offline, tmp_path):
    class Malicious:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    write_cifar10(tmp_path / CIFAR10.base_folder, noise(6, h=32, w=32), [0] * 6)
    for file in (tmp_path / CIFAR10.base_folder).iterdir():
        file.write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(DatasetError, match=r"cifar-10-python.tar.gz"):
        load_dataset("cifar10", data_dir=tmp_path)
    assert not (tmp_path / "executed").exists()


def test_svhn_layout(monkeypatch, tmp_path):
    images, labels = noise(4, h=32, w=32), np.array([10, 1, 10, 1])  # 10 stands for zero
    published = dict(SVHN.split_list)
    for split in ("train", "test"):
        file = tmp_path / f"{split}_32x32.mat"
        scipy.io.savemat(file, {"X": images.transpose(2, 3, 1, 0), "y": labels[:, None]})
        published[split] = [published[split][0], file.name, calculate_md5(file)]
    monkeypatch.setattr(SVHN, "split_list", published)
    data = load_dataset("svhn", data_dir=tmp_path)
    assert (data.train_images == images).all()
    assert data.validation_labels.tolist() == [0, 1, 0, 1]
    assert (data.pad, data.flip) == (4, False)


def write_mnist(root: Path, images: np.ndarray, labels: np.ndarray) -> None:
    root.mkdir(parents=True)
    for split in ("train", "t10k"):
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            header = np.array([0x800 + values.ndim, *values.shape], ">i4").tobytes()
            (root / f"{split}-{kind}-ubyte").write_bytes(header + values.tobytes())


def test_mnist_layout(tmp_path):
    images, labels = noise(3, c=1, h=28, w=28), np.array([2, 0, 1], np.uint8)
    root = tmp_path / MNIST.__name__ / "raw"
    write_mnist(root, images[:, 0], labels)
    data = load_dataset("mnist", data_dir=tmp_path)
    assert (data.train_images == images).all()
    assert data.train_labels.tolist() == [2, 0, 1]
    assert data.train_labels.dtype == np.int64
    assert (data.pad, data.flip) == (0, False)

    (root / "train-images-idx3-ubyte").write_bytes(b"something else entirely")
    with pytest.raises(DatasetError, match=r"MNIST/raw.*place intact files"):
        load_dataset("mnist", data_dir=tmp_path)
