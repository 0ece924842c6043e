import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from orchestrator.data.decoding import DatasetError, decode

PIXELS = np.random.default_rng(3).integers(256, size=(6, 5, 3), dtype=np.uint8)  # h, w, c


def encoded(image: Image.Image, file_format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format)
    return buffer.getvalue()


COLOUR = encoded(Image.fromarray(PIXELS))
GREY = encoded(Image.fromarray(PIXELS[..., 0]))
JPEG = encoded(Image.fromarray(PIXELS), "JPEG")


def test_colour_keeps_its_channels():
    assert (decode([("a", COLOUR)])[0] == PIXELS.transpose(2, 0, 1)).all()


def test_grey_alone_has_one_channel():
    images = decode([("a", GREY), ("b", GREY)])
    assert images.shape == (2, 1, 6, 5)
    assert (images[1, 0] == PIXELS[..., 0]).all()


@pytest.mark.parametrize("order", [(GREY, COLOUR), (COLOUR, GREY)])
def test_grey_among_colour_is_repeated(order):
    images = decode([("a", order[0]), ("b", order[1])])
    assert images.shape == (2, 3, 6, 5)
    assert (images[order.index(GREY)] == PIXELS[..., 0]).all()
    assert (images[order.index(COLOUR)] == PIXELS.transpose(2, 0, 1)).all()


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("LA", 1), ("P", 3), ("RGBA", 3)])
def test_other_modes(mode, channels):
    image = Image.fromarray(PIXELS).convert(mode)
    expected = np.asarray(image.convert("L" if channels == 1 else "RGB")).reshape(6, 5, channels)
    assert (decode([("a", encoded(image))])[0] == expected.transpose(2, 0, 1)).all()


def test_files_and_order(tmp_path):
    images = np.arange(100, dtype=np.uint8).reshape(100, 1, 1)
    paths = [tmp_path / f"{i}.png" for i in range(100)]
    for path, image in zip(paths, images, strict=True):
        path.write_bytes(encoded(Image.fromarray(image)))
    assert (decode([(path.name, path) for path in paths]) == images[:, None]).all()


def bomb(width: int, height: int) -> bytes:
    """A sound PNG header that claims a size, with next to no pixels behind it."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [header, b"IDAT" + zlib.compress(bytes(1000)), b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(x) - 4) + x + struct.pack(">I", zlib.crc32(x)) for x in chunks
    )


def torn(content: bytes) -> bytes:
    """A PNG whose pixels break off into something that is no chunk."""
    start = content.index(b"IDAT")
    (length,) = struct.unpack(">I", content[start - 4 : start])
    return content[: start - 4] + struct.pack(">I", length - 60) + content[start:]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot decode bad as PNG or JPEG"),
        (b"no image at all", "cannot decode bad as PNG or JPEG"),
        (COLOUR[:-60], "cannot decode bad as PNG or JPEG"),
        (torn(COLOUR), r"cannot decode bad as PNG or JPEG \(SyntaxError: broken PNG"),
        (JPEG[: len(JPEG) // 2], "cannot decode bad as PNG or JPEG"),
        (encoded(Image.fromarray(PIXELS), "WEBP"), "cannot decode bad as PNG or JPEG"),
        (None, "bad holds no image"),
        (encoded(Image.fromarray(PIXELS[..., 0].astype(np.uint16))), "mode I;16.*8-bit"),
        (encoded(Image.fromarray(PIXELS[:5])), "bad is 5x5, good is 5x6"),
        (bomb(1025, 1024), "bad claims 1025x1024 pixels, more than 1048576"),
        (bomb(10_000, 10_000), "bad claims 10000x10000 pixels"),
        (bomb(60_000, 60_000), "cannot decode bad .*DecompressionBomb"),
    ],
)
def test_unacceptable_images(content, message):
    with pytest.raises(DatasetError, match=message):
        decode([("good", COLOUR), ("bad", content)])
    with pytest.raises(DatasetError, match="bad"):
        decode([("bad", content), ("good", COLOUR)])


@given(
    st.sampled_from([COLOUR, GREY, JPEG]),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_damage_is_either_harmless_or_reported(content, changes):
    damaged = bytearray(content)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    with contextlib.suppress(DatasetError):  # any other exception fails the test
        assert decode([("damaged", bytes(damaged))]).dtype == np.uint8
