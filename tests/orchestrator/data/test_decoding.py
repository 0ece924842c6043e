import contextlib
import io
import re
import struct
import zlib
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from orchestrator.data import decoding
from orchestrator.data.decoding import Pixels, any_colour
from orchestrator.data.errors import DatasetError
from orchestrator.data.kept import opened
from orchestrator.data.tasks import Tasks

PIXELS = np.random.default_rng(3).integers(256, size=(6, 5, 3), dtype=np.uint8)  # h, w, c


def decode_all(splits, folder, **options):
    """Arrays of the splits' images, and what is wrong with which."""
    colour = any(map(any_colour, splits))
    files = [Path(folder, f"{i}.npy") for i in range(len(splits))]
    with_counts = [(partial(iter, encoded), len(encoded)) for encoded in splits]
    pixels = Pixels(**{"channels": 3 if colour else 1, **options})
    faults = decoding.decode(with_counts, files, pixels, Tasks())
    return [np.array(opened(file)) for file in files], faults


def decode(encoded, **options):
    """The images of one split, all sound."""
    with TemporaryDirectory() as folder:
        (images,), faults = decode_all([encoded], folder, **options)
    if faults:
        raise DatasetError("; ".join(faults.values()))
    return images


def encoded(image: Image.Image, file_format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
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


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("LA", 1), ("P", 3), ("RGBA", 3)])  # opaque
def test_other_modes(mode, channels):
    image = Image.fromarray(PIXELS).convert(mode)
    expected = np.asarray(image.convert("L" if channels == 1 else "RGB")).reshape(6, 5, channels)
    assert (decode([("a", encoded(image))])[0] == expected.transpose(2, 0, 1)).all()


SHAPE = np.zeros((6, 5), np.uint8)
SHAPE[2:4] = 255


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_what_is_transparent_shows_white(mode):
    black = Image.new("RGBA", (5, 6))
    black.putalpha(Image.fromarray(SHAPE))
    image = black.convert(mode)
    options = {"transparency": image.getpixel((0, 0))} if mode == "P" else {}
    if mode == "P":
        image.putpalette([0] * 768)
        image.paste(1, (0, 2, 5, 4))
        options = {"transparency": 0}
        image.paste(0, (0, 0, 5, 2)), image.paste(0, (0, 4, 5, 6))
    assert (decode([("a", encoded(image, **options))])[0] == 255 - SHAPE).all()


@pytest.mark.parametrize(
    ("orientation", "turned"), [(3, lambda x: x[::-1, ::-1]), (6, lambda x: np.rot90(x, -1))]
)
@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_images_are_turned_as_their_exif_data_say(orientation, turned, file_format):
    exif = Image.Exif()
    exif[0x112] = orientation
    content = encoded(Image.fromarray(PIXELS), file_format, exif=exif)
    assert (decode([("a", content)])[0] == turned(PIXELS).transpose(2, 0, 1)).all()
    upright = encoded(Image.fromarray(turned(PIXELS).copy()))
    assert len(decode([("a", content), ("b", upright)])) == 2  # they are of one size


def bomb(width: int, height: int) -> bytes:
    """A sound PNG header that claims a size, with next to no pixels behind it."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return chunks(header, b"IDAT" + zlib.compress(bytes(1000)), b"IEND")


def chunks(*contents: bytes) -> bytes:
    """A PNG of these chunks."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(x) - 4) + x + struct.pack(">I", zlib.crc32(x)) for x in contents
    )


def png16(colour_type: int, channels: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", 5, 6, 16, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + bytes(5 * 2 * channels) for _ in range(6))
    return chunks(header, b"IDAT" + zlib.compress(rows), b"IEND")


def tiff16() -> bytes:
    """6 rows of 5 pixels of 3 channels of 16 bits, not compressed."""
    pixels = bytes(5 * 6 * 3 * 2)
    tags = [(256, 3, 1, 5), (257, 3, 1, 6), (258, 3, 3, 8), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 14)]
    tags += [(277, 3, 1, 3), (278, 3, 1, 6), (279, 4, 1, len(pixels))]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return (
        b"II*\0" + struct.pack("<I", 14 + len(pixels)) + struct.pack("<HHH", 16, 16, 16) + pixels
        + struct.pack("<H", len(tags)) + entries + bytes(4)
    )  # fmt: skip


@pytest.mark.parametrize("content", [png16(0, 1), png16(2, 3), png16(4, 2), png16(6, 4), tiff16()])
def test_more_than_8_bits_are_never_cut_off(content):
    with pytest.raises(DatasetError, match=r"^deep has mode .*: convert it to 8-bit grey or RGB$"):
        decode([("sound", GREY), ("deep", content)], channels=1)
    with pytest.raises(DatasetError, match=r"deep has mode .*RGB \(and 1 more of 3 images likewise\)$"):
        decode([("deep", content), ("sound", GREY), ("deep", content)], channels=1)


def test_images_are_scaled_and_cropped_to_the_centre():
    images = decode(
        [("a", COLOUR), ("b", encoded(Image.fromarray(np.full((9, 30), 7, np.uint8))))], image_size=4
    )
    assert images.shape == (2, 3, 4, 4)
    assert (images[1] == 7).all()


def test_grey_and_colour_can_be_asked_for():
    assert (decode([("a", GREY)], channels=3)[0] == PIXELS[..., 0]).all()
    assert decode([("a", COLOUR)], channels=1).shape == (1, 1, 6, 5)


BROKEN = [
    [(f"a{i}", x) for i, x in enumerate((b"", COLOUR, b"none"))],
    [("b0", COLOUR[:-50]), ("b1", COLOUR)],
]


def test_of_several_broken_images_all_are_told_and_the_others_are_there(tmp_path):
    (first, second), faults = decode_all(BROKEN, tmp_path, channels=3)
    assert [(position, fault.split()[2]) for position, fault in faults.items()] == [
        (0, "a0"),
        (2, "a2"),
        (3, "b0"),
    ]
    for image in (first[1], second[1]):
        assert (image == PIXELS.transpose(2, 0, 1)).all()
    assert re.match(r"3 of 5 images are broken: .*a0.*skip", decoding.broken(faults.values(), 5))


def test_rays_tasks_make_of_images_what_this_process_does(local_ray, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir(), (tmp_path / "there").mkdir()
    here = decode_all(BROKEN, tmp_path / "here", image_size=4)
    monkeypatch.setattr(decoding, "_BATCH", 1)
    monkeypatch.setattr(decoding, "_PATIENCE", 0.0)
    there = decode_all(BROKEN, tmp_path / "there", image_size=4)
    assert here[1] == there[1]
    assert all((a[i] == b[i]).all() for a, b, i in zip(here[0], there[0], (1, 1), strict=True))


def test_nothing_but_broken_images():
    with pytest.raises(DatasetError, match=r"300 of 300 images are broken: .* and 200 more: replace"):
        decode([(f"a{i}", b"") for i in range(300)])


def test_files_and_order(tmp_path):
    images = np.arange(100, dtype=np.uint8).reshape(100, 1, 1)
    paths = [tmp_path / f"{i}.png" for i in range(100)]
    for path, image in zip(paths, images, strict=True):
        path.write_bytes(encoded(Image.fromarray(image)))
    assert (decode([(path.name, path) for path in paths]) == images[:, None]).all()


def torn(content: bytes) -> bytes:
    """A PNG whose pixels break off into something that is no chunk."""
    start = content.index(b"IDAT")
    (length,) = struct.unpack(">I", content[start - 4 : start])
    return content[: start - 4] + struct.pack(">I", length - 60) + content[start:]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot decode bad"),
        (b"no image at all", "cannot decode bad"),
        (COLOUR[:-60], "cannot decode bad"),
        (torn(COLOUR), r"cannot decode bad \(SyntaxError: broken PNG"),
        (JPEG[: len(JPEG) // 2], "cannot decode bad"),
        (encoded(Image.fromarray(PIXELS), "PPM"), "cannot decode bad .it is no PNG, JPEG, WEBP"),
        (None, "bad holds no image"),
        (encoded(Image.fromarray(PIXELS[..., 0].astype(np.uint16))), "mode I;16.*8-bit"),
        (encoded(Image.fromarray(PIXELS[:5])), "bad is 5x5, good is 5x6"),
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
