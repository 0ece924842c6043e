import os

import numpy as np
import pytest

from orchestrator.data.data import Augmentation
from orchestrator.data.datasets import DatasetError, Reading, load_dataset
from tests.orchestrator.data.files import encode, noise, write_folder

ONE = noise(1)[0]
SOUND = dict.fromkeys([f"{split}/{c}/1.png" for split in ("train", "val") for c in ("cat", "dog")], ONE)


def load(root, *, train_subset=None, skip_broken=False, **reading):
    return load_dataset(
        f"image_folder:{root}",
        train_subset=train_subset,
        skip_broken=skip_broken,
        reading=Reading(**reading),
    )


@pytest.mark.parametrize("validation", ["validation", "val", "Valid", "dev"])
@pytest.mark.parametrize("below", ["", "data/"])
def test_round_trip(tmp_path, validation, below):
    images = noise(6)
    names = ["train/cat/1.png", "train/cat/2/2.png", "train/bird/1.PNG", "train/dog/1.png"]
    names += [f"{validation}/dog/9.png", "test/bird/8.png"]
    write_folder(tmp_path, {below + name: image for name, image in zip(names, images, strict=True)})
    data = load(tmp_path)
    assert data.train_targets.tolist() == [0, 1, 1, 2]  # bird, cat, cat, dog
    assert (data.train_inputs == images[[2, 0, 1, 3]]).all()
    assert data.validation_targets.tolist() == [2]
    assert (data.validation_inputs == images[4:5]).all()
    assert data.test_targets.tolist() == [0]
    assert (data.test_inputs == images[5:]).all()
    assert data.classes == ("bird", "cat", "dog")
    assert data.augmentation() == Augmentation()
    assert f"validated on its split {validation}" in data.remarks
    assert "tested once, at the end, on its split test" in data.remarks
    assert "2 of its classes have no validation images" in data.remarks


def test_one_folder_is_cut_in_two_where_a_fraction_is_asked_for(tmp_path):
    images = noise(20)
    write_folder(tmp_path, {f"{'ab'[i % 2]}/{i:02}.png": image for i, image in enumerate(images)})
    with pytest.raises(
        DatasetError, match=r"no images to validate on \(splits: train\).*--validation-fraction"
    ):
        load(tmp_path)
    data = load(tmp_path, validation_fraction=0.2)
    assert (len(data.train_inputs), len(data.validation_inputs)) == (16, 4)
    assert np.bincount(data.validation_targets).tolist() == [2, 2]
    seen = {x.tobytes() for x in (*data.train_inputs, *data.validation_inputs)}
    assert seen == {x.tobytes() for x in images}
    label_of = {x.tobytes(): i % 2 for i, x in enumerate(images)}
    assert [label_of[x.tobytes()] for x in data.validation_inputs] == data.validation_targets.tolist()
    assert "validated on 4 of its 20 training images, a share of each class: no split does" in data.remarks


def test_what_is_no_image_is_left_out_and_counted(tmp_path):
    write_folder(
        tmp_path,
        SOUND
        | {"train/.ipynb_checkpoints/1-checkpoint.png": ONE, "train/cat/.ipynb_checkpoints/1.png": ONE}
        | {
            "train/cat/notes.txt": b"",
            "train/dog/more.txt": b"",
            "val/dog/model.pt": b"",
            "train/astray.png": ONE,
        },
    )
    data = load(tmp_path)
    assert data.train_targets.tolist() == [0, 1]
    assert data.classes == ("cat", "dog")
    (left_out,) = [remark for remark in data.remarks if remark.startswith("left out")]
    assert set(left_out.removeprefix("left out: ").split(", ")) == {
        *("2 hidden", "2 .txt", "1 .pt", "1 in no class's folder of train")
    }


def test_every_folder_is_read_once_whatever_links_there_are(tmp_path):
    write_folder(tmp_path, SOUND | {"elsewhere/2.png": ONE})
    (tmp_path / "train/cat/self").symlink_to(".")
    (tmp_path / "train/dog/up").symlink_to("../..")
    (tmp_path / "train/dog/more").symlink_to(tmp_path / "elsewhere")
    data = load(tmp_path)
    assert data.train_targets.tolist() == [0, 1, 1]
    for link in ("cat/self", "dog/up"):
        said = f"{tmp_path}/train/{link} is a link to a folder that is read already: left out"
        assert said in data.remarks


def test_a_class_that_is_a_link_to_another_is_none(tmp_path):
    write_folder(tmp_path, SOUND)
    (tmp_path / "train/wolf").symlink_to("dog")
    with pytest.raises(DatasetError, match="has class folders without images, 'wolf': remove them"):
        load(tmp_path)


def test_folders_of_no_known_split_are_said(tmp_path):
    data = load(write_folder(tmp_path, SOUND | {"validate/cat/1.png": ONE, "unlabelled/1.png": ONE}))
    assert "left out, of no known split: unlabelled, validate" in data.remarks
    flat = write_folder(tmp_path / "flat", {f"{c}/{i}.png": ONE for c in "ab" for i in range(2)})
    assert not any("known split" in remark for remark in load(flat, validation_fraction=0.5).remarks)


def test_test_images_without_labels_are_left_out(tmp_path):
    data = load(write_folder(tmp_path, SOUND | {"test/1.png": ONE}))
    assert len(data.test_inputs) == 0
    assert "its split test has no labels (no folders of classes): no test error" in data.remarks


@pytest.mark.parametrize(
    ("file", "file_format"),
    [
        *(("1.jfif", "JPEG"), ("1.JPEG", "JPEG"), ("1.webp", "WEBP"), ("1.bmp", "BMP")),
        *(("1.tif", "TIFF"), ("1.gif", "GIF"), ("wrong_ending.png", "BMP")),
    ],
)
def test_formats(tmp_path, file, file_format):
    flat = np.full((3, 8, 8), 85, np.uint8)
    write_folder(tmp_path, SOUND | {f"train/cat/{file}": encode(flat, file_format)})
    assert load(tmp_path).train_targets.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            SOUND | {"train/cat/2.png": noise(1, h=4)[0]},
            r"cat/2.png is 8x4, .*cat/1.png is 8x8.*--image-size",
        ),
        (SOUND | {"val/cat/2.png": noise(1, w=4)[0]}, r"cat/2.png is 4x8, .*cat/1.png is 8x8"),
        (SOUND | {"val/cow/1.png": ONE}, r"have the labels 'cow', which no .* \('cat', 'dog'\): rename"),
        (SOUND | {"val/cat /1.png": ONE}, r"labels 'cat ', .* \('cat', 'dog'; 'cat ' is not 'cat'\)"),
        (SOUND | {"val/Dog/1.png": ONE}, r"labels 'Dog', .*; 'Dog' is not 'dog'\)"),
        (
            SOUND | {"train/caf\xe9/1.png": ONE, "val/cafe\u0301/1.png": ONE},
            r"labels 'cafe\\u0301', .*\('café', 'cat', 'dog'; 'cafe\\u0301' is not 'café'\)",
        ),
        (SOUND | {"train/cow /1.txt": b""}, "class folders without images, 'cow ': remove"),
        (
            {"train/train/cat.png": ONE, "val/train/cat.png": ONE},
            "has one class, train: .*too high or too deep",
        ),
        (
            {f"zip/{name}": ONE for name in SOUND},
            "has no folder train, but .*/zip has: give image_folder:.*/zip",
        ),
        ({"train/1.png": ONE, "val/2.png": ONE}, "train holds no images: provide .*train/CLASS/IMAGE.png"),
        ({"train/a/1.png": ONE, "train/b/1.png": ONE}, "no images to validate on"),
        ({"train/a/1.png": ONE, "train/b/1.png": ONE, "test/a/1.png": ONE}, "--validation-split test"),
    ],
)
def test_folders_that_are_not_clear(tmp_path, files, message):
    with pytest.raises(DatasetError, match=message) as error:
        load(write_folder(tmp_path, files))
    assert len(str(error.value).splitlines()) == 1


def test_classes_that_look_alike_are_said(tmp_path):
    write_folder(tmp_path, SOUND | {"train/cat /1.png": ONE, "train/Dog/1.png": ONE})
    remarks = load(tmp_path).remarks
    for pair in ("'cat' and 'cat '", "'Dog' and 'dog'"):
        assert f"classes {pair} differ in spaces, case or the form of Unicode alone: one?" in remarks


def test_images_of_any_size_are_brought_to_one(tmp_path):
    wide, tall = np.zeros((3, 20, 40), np.uint8), np.zeros((3, 30, 10), np.uint8)
    wide[:, :, 10:30] = 200  # the centre
    tall[:, 10:20] = 100
    write_folder(tmp_path, SOUND | {"train/cat/1.png": wide, "train/dog/1.png": tall})
    data = load(tmp_path, image_size=5)
    assert data.input_shape == (3, 5, 5)
    assert (data.train_inputs[0, :, :, 1:4] == 200).all()
    assert (data.train_inputs[1, :, 1:4] == 100).all()


GREY = noise(1, c=1)[0]


def test_channels_do_not_depend_on_the_subset(tmp_path):
    names = [f"train/{c}/{i}.png" for c in "ab" for i in range(9)]
    write_folder(tmp_path, dict.fromkeys([*names, "val/a/1.png"], GREY) | {"train/b/9.png": ONE})
    for size in (None, 2, 5):
        assert load(tmp_path, train_subset=size).input_shape == (3, 8, 8)
    assert load(tmp_path, image_mode="grey").input_shape == (1, 8, 8)
    (tmp_path / "train/b/9.png").unlink()
    assert load(tmp_path).input_shape == (1, 8, 8)
    assert load(tmp_path, image_mode="colour").input_shape == (3, 8, 8)


def test_all_broken_images_are_named_and_can_be_left_out(tmp_path):
    images = noise(8)
    broken = {"train/a/2.png": b"<html>404</html>", "train/b/9.png": b"", "val/b/9.png": encode(ONE)[:-40]}
    broken["train/a/3.png"] = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    sound = {
        f"{split}/{c}/1.png": images[i]
        for i, (split, c) in enumerate(zip(["train"] * 2 + ["val"] * 2, "abab", strict=True))
    }
    write_folder(tmp_path, sound | broken)
    with pytest.raises(DatasetError, match=r"^4 of 8 images are broken: .*--skip-broken$") as error:
        load(tmp_path)
    assert all(str(tmp_path / name) in str(error.value) for name in broken)
    assert "train/a/3.png is a Git LFS pointer (run git lfs pull)" in str(error.value)
    data = load(tmp_path, skip_broken=True)
    assert (data.train_inputs == images[:2]).all()
    assert (data.validation_inputs == images[2:4]).all()
    assert data.train_targets.tolist() == data.validation_targets.tolist() == [0, 1]
    assert "left out: 4 broken images of 8" in data.remarks
    (tmp_path / "train/a/1.png").write_bytes(b"broken too")
    with pytest.raises(DatasetError, match="without its broken images the train split lacks a class"):
        load(tmp_path, skip_broken=True)


def test_a_pipe_among_the_images_is_not_waited_for(tmp_path):
    write_folder(tmp_path, SOUND)
    os.mkfifo(tmp_path / "train/cat/2.png")
    with pytest.raises(DatasetError, match=r"2\.png is no file"):
        load(tmp_path)


def test_a_class_whose_name_no_table_can_hold_is_refused(tmp_path):
    odd = os.fsdecode(b"caf\xe9")
    write_folder(tmp_path, {**SOUND, f"train/{odd}/1.png": ONE})
    with pytest.raises(DatasetError, match=r"names of classes 'caf\\udce9' are not UTF-8.*: rename them"):
        load(tmp_path)
