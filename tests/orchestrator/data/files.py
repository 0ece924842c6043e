"""Small data sets on disk, for tests."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

RNG = np.random.default_rng(7)
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def noise(n: int, c: int = 3, h: int = 8, w: int = 8) -> np.ndarray:
    return RNG.integers(256, size=(n, c, h, w), dtype=np.uint8)


def encode(image: np.ndarray, file_format: str = "PNG", **options) -> bytes:
    """Encode (c, h, w) uint8; as PNG without loss."""
    buffer = io.BytesIO()
    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    Image.fromarray(pixels).save(buffer, file_format, **options)
    return buffer.getvalue()


def write_folder(root: Path, images: dict[str, np.ndarray | bytes]) -> Path:
    """Files of these names below a folder, arrays as PNG."""
    for name, image in images.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(image if isinstance(image, bytes) else encode(image))
    return root


def structs(contents: list[bytes | None], kind: pa.DataType = STRUCT) -> pa.Array:
    return pa.array([{"bytes": content, "path": None} for content in contents], kind)


def write_parquet(file: Path, contents: list[bytes | None], labels: list, **columns) -> None:
    """A file with the columns image, label (whole numbers) and others; those that are None are left out."""
    table = {"image": structs(contents), "label": pa.array(labels, pa.int64()), **columns}
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({k: v for k, v in table.items() if v is not None}), file)
