"""Every reader of files that the project has, with files to be damaged: see ``benchmarks.fuzz``."""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from safetensors.torch import save_file

from analysis import frames
from analysis.reading import DamagedError, UnreadableError, read_table, sealed
from analysis.schema import SCHEMAS
from models.parareal import PararealNetwork
from models.profiling import measure_profile
from models.tearing import interface_factories
from orchestrator.config import Options, Sweep
from orchestrator.costs import Costs, key_of
from orchestrator.data import kept, parquet
from orchestrator.data.decoding import Pixels, any_colour, decode
from orchestrator.data.errors import DatasetError, reported
from orchestrator.data.tasks import Tasks
from orchestrator.devices import Available
from orchestrator.initial import initial_weights
from orchestrator.plan import make_plan
from orchestrator.status import look
from orchestrator.storage import checkpoint
from orchestrator.storage.mirror import Mirror, MirrorError
from orchestrator.storage.store import Store, StoreError
from orchestrator.trial import Job

VALUES = {"string": "text", "int64": 7, "double": 1 / 3, "bool": True}
SMALL = Sweep(network=("mlp",), depth=(4,), width=(4,), dataset=("synthetic:1x4x4x4x64",), batch_size=(16,))
CORES = Available(cpus=2, gpus=0)


class Reader(NamedTuple):
    """What is tried.

    Attributes:
        files: whole ones, which are damaged one at a time.
        read: reads them as the product does; returns something whose ``repr`` is all that was read.
        declared: the errors that a damaged file may end in.
        exact: whether a damaged file that is read must read as the whole one: where there are checksums.
    """

    files: list[Path]
    read: Callable[[], object]
    declared: tuple[type[Exception], ...]
    exact: bool = True


def _row(schema: pa.Schema) -> dict[str, Any]:
    row = {field.name: VALUES.get(str(field.type), pd.Timestamp("2026-03-01", tz="UTC")) for field in schema}
    return row | {"trial_id": "one", "epochs": 7} if "epochs" in row else row | {"trial_id": "one"}


def _filled(folder: Path, kinds: tuple[str, ...] = tuple(SCHEMAS)) -> Store:
    """A store with one trial, and a value in every column."""
    store = Store(folder / "store")
    for kind in kinds:
        store.write(kind, "one", [_row(SCHEMAS[kind])] * 3)
    store.announce({"one": {"epochs": 7, "network": "resnet", "seed": 0, "learning_rate": 0.1}})
    return store


def table(folder: Path) -> Reader:
    """One Parquet file of the store."""
    store = _filled(folder)
    files = [store.path / kind / "one.parquet" for kind in SCHEMAS]
    return Reader(files, lambda: [read_table(file).to_pylist() for file in files], (DamagedError,))


def load(folder: Path) -> Reader:
    """A whole store, as the analysis reads it: what is damaged is named and left out."""
    store = _filled(folder, ("epochs", "timings"))
    files = [store.path / kind / "one.parquet" for kind in ("epochs", "timings")]

    def read() -> object:
        with warnings.catch_warnings():
            warnings.simplefilter("error", frames.StoreWarning)
            results = frames.load(store.path)
        return [getattr(results, kind).to_dict("list") for kind in SCHEMAS]

    return Reader(files, read, (frames.StoreError, frames.StoreWarning))


def status(folder: Path) -> Reader:
    """``sweep.json``, as orchestrator.status reads it."""
    store = _filled(folder, ())
    return Reader([store.path / "sweep.json"], lambda: look(store.path, ids=True), (StoreError,))


def checkpoints(folder: Path) -> Reader:
    """A checkpoint: manifest and states."""
    states = {part: bytes(range(200)) for part in ("driver", "subnetwork-1", "subnetwork-2")}
    checkpoint.save(folder / "one", 1, states)
    there = sorted((folder / "one" / "epoch-0001").iterdir())
    return Reader(there, lambda: checkpoint.load(folder / "one", 1), (DamagedError,))


def _job() -> Job:
    (job,) = make_plan(SMALL, Options(), CORES).jobs
    return job


def costs(folder: Path) -> Reader:
    """A profile of costs."""
    job = _job()
    network, compute = job.tearing.network, job.config.compute(torch.device("cpu"))
    preprocess, coarse = interface_factories(network, preprocess="auto", coarse="units")
    profile = measure_profile(
        network,
        preprocess=preprocess,
        coarse=coarse,
        n_coarse_units=[1],
        batch_size=job.config.batch_size,
        compute=compute,
        repeats=1,
    )
    file = folder / "costs" / f"{key_of(job.config, network, job.resources)}.json"
    file.parent.mkdir()
    file.write_text(sealed(profile.to_dict()))

    def read() -> object:
        return Costs(folder).profile(job.config, network, job.resources, []).to_dict()

    return Reader([file], read, (ValueError,))


def sidecar(folder: Path) -> Reader:
    """What is known of decoded data, and the headers of their arrays."""
    arrays = {"x.npy": np.arange(24, dtype=np.uint8).reshape(2, 3, 4), "y.npy": np.arange(2.0)}
    decoded = folder / "decoded"

    def make(temporary: Path) -> dict[str, Any]:
        for name, array in arrays.items():
            kept.create(temporary / name, array.shape, array.dtype)[:] = array
        return {"faults": {"3": "cannot decode a.png"}}

    def read() -> object:
        with reported("the images cannot be read", "fetch them again"):
            faults = kept.made(decoded, make)["faults"]
        there = [kept.opened(decoded / name) for name in arrays]
        # The numbers themselves have no checksum: gigabytes would be read for it at every start.
        return faults, [(array.dtype, array.shape, array.strides) for array in there]

    read()
    return Reader(sorted(decoded.iterdir()), read, (DatasetError,))


def _image_files(folder: Path) -> list[Path]:
    """One image in each of the formats that are read, and in some of their kinds."""
    rgb = np.random.default_rng(3).integers(256, size=(12, 9, 3), dtype=np.uint8)
    colour, grey = Image.fromarray(rgb), Image.fromarray(rgb[..., 0])
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds: list[tuple[str, Image.Image, dict[str, Any]]] = [
        ("a.png", colour, {}),
        ("b.png", colour.convert("P"), {"transparency": 3}),
        ("c.png", grey.convert("LA"), {}),
        ("d.jpg", colour, {"exif": exif}),
        ("e.jpg", grey, {"progressive": True}),
        ("f.jpg", colour.convert("CMYK"), {}),
        ("g.webp", colour, {"lossless": True}),
        ("h.webp", colour.convert("RGBA"), {}),
        ("i.bmp", colour, {}),
        ("j.bmp", colour.convert("P"), {}),
        *((f"k-{c}.tif", colour, {"compression": c}) for c in ("raw", "tiff_lzw", "tiff_deflate", "jpeg")),
        ("l.tif", grey.convert("1"), {"compression": "group4"}),
        ("m.gif", colour.convert("P"), {"save_all": True, "append_images": [grey.convert("P")]}),
    ]
    for name, image, options in kinds:
        image.save(folder / name, **options)
    return [folder / name for name, *_ in kinds]


def images(folder: Path) -> Reader:
    """An image file of a stranger's: nothing in it says what it should be."""
    files = _image_files(folder)
    whole = {file: file.read_bytes() for file in files}

    def read() -> object:
        # Beside a sound one, as in a folder with a single broken image; the others need not be read again.
        encoded = [(str(file), file) for file in (f for f in files if f.read_bytes() != whole[f])]
        splits = [(partial(iter, [*encoded, ("sound", whole[files[0]])]), len(encoded) + 1)]
        any_colour(encoded)
        faults = decode(splits, [folder / "out.npy"], Pixels(3, 8), Tasks())
        return faults, np.array(kept.opened(folder / "out.npy")).tobytes()

    return Reader(files, read, (DatasetError,), exact=False)


def image_tables(folder: Path) -> Reader:
    """Parquet files of encoded images, as hubs publish them: a stranger's too."""
    contents = [file.read_bytes() for file in _image_files(folder)[:4]]
    data = folder / "data"
    data.mkdir()
    struct = pa.array([{"bytes": content, "path": "a"} for content in contents])
    words = pa.array(["cat", "dog"] * 2).dictionary_encode()
    pq.write_table(pa.table({"image": struct, "label": [0, 1, 0, 1]}), data / "train-0.parquet")
    pq.write_table(
        pa.table({"image": pa.array(contents), "label": pa.array([0, 1, 0, 1], pa.int8())}),
        data / "validation-0.parquet",
        compression="zstd",
        data_page_version="2.0",
    )
    other = folder / "other"
    other.mkdir()
    pq.write_table(pa.table({"img": struct, "class": words}), other / "train-0.parquet", compression="gzip")

    def read() -> object:
        found = []
        for path in (data, other):
            for split in parquet.list_images(path, None).splits.values():
                found.append((split.labels.tolist(), list(split.encoded(np.arange(len(split.labels))))))
        return found

    return Reader(sorted(folder.glob("*/*.parquet")), read, (DatasetError,), exact=False)


def weights(folder: Path) -> Reader:
    """A .safetensors file of a stranger's, to begin with."""
    job, file = _job(), folder / "weights.safetensors"
    save_file(PararealNetwork(job.tearing).state_dict(), file)
    config = replace(job.config, initial=str(file))
    return Reader([file], lambda: initial_weights(config, job.tearing), (ValueError,), exact=False)


def state(folder: Path) -> Reader:
    """A state whose checksum is right, made by a stranger: torch's loader alone stands before it."""
    network = torch.nn.Linear(3, 2)
    file, buffer = folder / "state.pt", io.BytesIO()
    torch.save({"module": network.state_dict(), "step": 3, "name": "text"}, buffer)
    file.write_bytes(buffer.getvalue())

    def read() -> object:
        return torch.load(io.BytesIO(file.read_bytes()), map_location="cpu", weights_only=True)

    # Whatever torch raises ends the trial with a reason; no code may run, and the process must not crash.
    return Reader([file], read, (Exception,), exact=False)


def mirror(folder: Path) -> Reader:
    """The notes on what has been copied to a mirror; whatever they say, the copy must be whole."""
    store, url = folder / "store", (folder / "mirror").as_uri()
    store.mkdir()
    for name in "ab":
        (store / name).write_text(name)
    Mirror(store, url).push()

    def read() -> object:
        Mirror(store, url).push()
        return {file.name: file.read_text() for file in sorted((folder / "mirror").iterdir())}

    return Reader([store / ".mirror.json"], read, (MirrorError, UnreadableError))


READERS: dict[str, Callable[[Path], Reader]] = {
    maker.__name__: maker
    for maker in (
        *(table, load, status, checkpoints, costs, sidecar, mirror),
        *(images, image_tables, weights, state),
    )
}
"""By name, what makes a reader with its files in a folder."""


@contextmanager
def damaged(file: Path, content: bytes, whole: bytes) -> Iterator[None]:
    """Have other content in a file for a while."""
    try:
        file.write_bytes(content)
        yield
    finally:
        file.write_bytes(whole)
