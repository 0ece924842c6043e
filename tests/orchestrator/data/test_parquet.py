import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.data.data import Augmentation
from orchestrator.data.datasets import DatasetError, Reading, load_dataset
from orchestrator.data.labels import number
from orchestrator.data.source import Source
from orchestrator.data.splits import stratified
from tests.orchestrator.data.files import STRUCT, encode, noise, structs, write_parquet

IMAGE = encode(noise(1)[0])
LABELS = pa.array([0, 1])


def load(root, *, train_subset=None, **reading):
    return load_dataset(f"parquet:{root}", train_subset=train_subset, reading=Reading(**reading))


@pytest.fixture
def parquet(tmp_path):
    """A sound Parquet set of 2 classes, for tests to damage one file of."""
    write_parquet(tmp_path / "train-0.parquet", [encode(x) for x in noise(4)], [0, 1, 0, 1])
    write_parquet(tmp_path / "val-0.parquet", [encode(x) for x in noise(2)], [0, 1])
    return tmp_path


def test_round_trip_over_several_files(tmp_path):
    images, labels = noise(10, h=16, w=8), [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    coarse = pa.array([0] * 3)
    for i in range(3):  # three rows a file, the tenth left out
        rows = slice(3 * i, 3 * i + 3)
        write_parquet(
            tmp_path / f"train-{i}.parquet", [encode(x) for x in images[rows]], labels[rows],
            fine_label=pa.array(labels[rows]), coarse_label=coarse, label=None,
        )  # fmt: skip
    write_parquet(tmp_path / "validation-0.parquet", [encode(images[9])], [0])
    data = load(tmp_path)
    assert (data.train_inputs == images[:9]).all()
    assert data.train_targets.tolist() == labels[:9]
    assert (data.validation_inputs == images[9:]).all()
    assert len(data.classes) == 3
    assert data.augmentation() == Augmentation()

    part = load(tmp_path, train_subset=5)
    index = {x.tobytes(): i for i, x in enumerate(images)}
    rows = [index[x.tobytes()] for x in part.train_inputs]
    assert [labels[row] for row in rows] == part.train_targets.tolist()
    assert len(set(rows)) == 5


def test_the_test_split_is_unseen_until_it_is_asked_for(parquet):
    write_parquet(parquet / "test-0.parquet", [IMAGE] * 3, [1, 1, 0])
    data = load(parquet)
    assert (len(data.validation_inputs), data.test_targets.tolist()) == (2, [1, 1, 0])
    asked = load(parquet, validation_split="test")
    assert (asked.validation_targets.tolist(), len(asked.test_inputs)) == ([1, 1, 0], 0)
    write_parquet(parquet / "test-0.parquet", [IMAGE] * 3, [-1, -1, -1])  # as hubs mark what they keep secret
    secret = load(parquet)
    assert len(secret.test_inputs) == 0
    assert "its split test has no labels (all are -1): no test error" in secret.remarks


def test_a_test_split_without_labels_is_left_out_and_never_read_with_other_labels(parquet):
    write_parquet(parquet / "test-0.parquet", [IMAGE] * 3, [5, 6, 7], label=None, id=pa.array([0, 1, 0]))
    data = load(parquet)
    assert len(data.test_inputs) == 0
    assert "its split test has no labels (no column label): no test error" in data.remarks
    write_parquet(parquet / "val-0.parquet", [IMAGE] * 2, [5, 6], label=None, id=pa.array([0, 1]))
    with pytest.raises(DatasetError, match=r"val-0.parquet has no column 'label', as other files have"):
        load(parquet)


@pytest.mark.parametrize(
    "names",
    [
        ("data/train-00000-of-00001.parquet", "data/validation-00000-of-00001-ab12.parquet"),
        ("default/train/0000.parquet", "default/validation/0000.parquet"),
        ("plain_text/train-0.parquet", "plain_text/dev-0.parquet"),
        ("train.parquet", "eval.parquet"),
        ("train/part-0.snappy.parquet", "val/part-0.snappy.parquet"),
        ("train.parquet/part-00000-c000.snappy.parquet", "validation.parquet/part-00000-c000.snappy.parquet"),
        ("train.parquet/part-0.parquet", "validation.parquet"),
    ],
)
def test_layouts_of_hubs(tmp_path, names):
    for name, labels in zip(names, ([0, 1, 1], [0, 1]), strict=True):
        write_parquet(tmp_path / name, [IMAGE] * len(labels), labels)
    write_parquet(tmp_path / ".cache" / names[0], [IMAGE], [7])
    write_parquet(tmp_path / "partial-train" / "0000.parquet", [IMAGE], [7])
    data = load(tmp_path)
    assert (len(data.train_inputs), len(data.validation_inputs)) == (3, 2)
    assert "left out, of no known split: partial-train/0000.parquet" in data.remarks


@pytest.mark.parametrize("other", ["train/0.parquet", "train.parquet/part-0.parquet"])
def test_a_split_lies_in_one_place(tmp_path, other):
    for name in ("train-0.parquet", other, "val.parquet"):
        write_parquet(tmp_path / name, [IMAGE] * 2, [0, 1])
    message = rf"train lies in 2 places, {tmp_path}, {(tmp_path / other).parent}: remove all but one"
    with pytest.raises(DatasetError, match=message):
        load(tmp_path)


VIEW = pa.struct([("bytes", pa.binary_view()), ("path", pa.string())])


@pytest.mark.parametrize(
    "images",
    [
        pa.array([IMAGE] * 4),
        pa.array([IMAGE] * 4, pa.large_binary()),
        pa.array([IMAGE] * 4, pa.binary_view()),
        structs([IMAGE] * 4, VIEW),
        structs([IMAGE] * 4, pa.struct([("bytes", pa.large_binary())])),
    ],
)
def test_columns_of_encoded_images(parquet, images):
    write_parquet(parquet / "train-0.parquet", [None] * 4, [0, 1, 0, 1], image=images)
    assert len(load(parquet).train_inputs) == 4


@pytest.mark.parametrize(
    ("values", "classes", "numbers"),
    [
        (pa.array(["dog", "cat", "dog"]), ("cat", "dog"), [1, 0, 1]),
        (pa.array(["dog", "cat", "dog"], pa.large_string()), ("cat", "dog"), [1, 0, 1]),
        (pa.array(["dog", "cat", "dog"]).dictionary_encode(), ("cat", "dog"), [1, 0, 1]),
        (pa.array([True, False, True]), ("False", "True"), [1, 0, 1]),
        (pa.array([9, -2, 9]), ("-2", "9"), [1, 0, 1]),
        (pa.array([9, 2, 9], pa.uint8()), ("2", "9"), [1, 0, 1]),
    ],
)
def test_labels_of_any_kind_are_numbered_by_sorted_value(tmp_path, values, classes, numbers):
    for split in ("train", "val"):
        write_parquet(
            tmp_path / f"{split}-0.parquet", [IMAGE] * 3, [0, 1, 2], label=values, id=pa.array(range(3))
        )
    data = load(tmp_path)
    assert data.classes == classes
    assert data.train_targets.tolist() == data.validation_targets.tolist() == numbers


@pytest.mark.parametrize("more", [0, 2**62, 2**63])
def test_large_labels_are_told_apart_whatever_types_files_have(tmp_path, more):
    def labels(values, kind):
        return pa.array([value + more for value in values], kind)

    signed = pa.int64() if more < 2**63 else pa.uint64()
    for name, values, kind in (("train-0", (1, 2, 3), pa.uint64()), ("val-0", (3, 1), signed)):
        write_parquet(
            tmp_path / f"{name}.parquet", [IMAGE] * len(values), [0] * len(values), label=labels(values, kind)
        )
    data = load(tmp_path)
    assert data.classes == tuple(str(value + more) for value in (1, 2, 3))
    assert data.validation_targets.tolist() == [2, 0]


def test_whole_numbers_of_two_types_are_compared_exactly():
    large = np.array([2**63 + 1, 2**63 + 3], np.uint64)
    labels, names = number("mine", Source(large, large[::-1], lambda *_: ()))
    assert (labels["validation"].tolist(), names) == ([1, 0], (str(2**63 + 1), str(2**63 + 3)))
    with pytest.raises(DatasetError, match="validation images have the labels 1, which no training"):
        number("mine", Source(large, np.array([1]), lambda *_: ()))


def test_the_names_that_a_hub_gives_numbered_classes_are_kept(parquet):
    meta = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    for name in ("train-0.parquet", "val-0.parquet"):
        table = pq.read_table(parquet / name).replace_schema_metadata({"huggingface": json.dumps(meta)})
        pq.write_table(table, parquet / name)
    assert load(parquet).classes == ("cat", "dog")


def test_a_column_is_named(parquet):
    for name, n in (("train-0.parquet", 4), ("val-0.parquet", 2)):
        breed = pa.array(["pug", "poodle"] * (n // 2))
        write_parquet(parquet / name, [IMAGE] * n, [0, 1] * (n // 2), breed=breed)
    assert load(parquet).classes == ("0", "1")
    breeds = load(parquet, label_column="breed")
    assert breeds.classes == ("poodle", "pug")
    assert {"classes: poodle, pug", "labels are its column breed"} <= set(breeds.remarks)
    message = r"--label-column 'race': .* has the columns 'label', 'breed': name one"
    with pytest.raises(DatasetError, match=message):
        load(parquet, label_column="race")


def test_only_the_subset_is_decoded(parquet):
    contents = [encode(x) for x in noise(4)]
    kept = stratified(np.array([0, 1, 0, 1]), 2)
    broken = [x if row in kept else b"broken" for row, x in enumerate(contents)]
    write_parquet(parquet / "train-0.parquet", broken, [0, 1, 0, 1])
    assert len(load(parquet, train_subset=2).train_inputs) == 2
    with pytest.raises(DatasetError, match=r"train-0.parquet, row \d"):
        load(parquet)


def test_many_row_groups_of_several_batches(tmp_path):
    images = noise(900, c=1, h=2, w=3)
    table = pa.table({"image": structs([encode(x) for x in images]), "label": pa.array(np.arange(900) % 2)})
    pq.write_table(table, tmp_path / "train.parquet", row_group_size=400)
    write_parquet(tmp_path / "val.parquet", [encode(images[0])], [0])
    assert (load(tmp_path).train_inputs == images).all()
    kept = stratified(np.arange(900) % 2, 7)
    assert (load(tmp_path, train_subset=7).train_inputs == images[kept]).all()


@pytest.mark.parametrize(
    ("contents", "labels", "columns", "message"),
    [
        ([IMAGE, b"junk"], [0, 1], {}, r"cannot decode .*row 1 \(it is no PNG, .*--skip-broken"),
        ([IMAGE, IMAGE[:-30]], [0, 1], {}, "cannot decode .*row 1 "),
        ([IMAGE, None], [0, 1], {}, "row 1 holds no image"),
        ([IMAGE, encode(noise(1, h=9)[0])], [0, 1], {}, r"row 1 is 8x9, .*row 0 is 8x8"),
        ([IMAGE] * 2, [0, 0], {}, "has one class, 0"),
        ([IMAGE] * 2, [0, 2], {}, r"validation images have the labels 1, .*\(0, 2\)"),
        ([IMAGE] * 2, [0, None], {}, "1 rows of 'label' are empty"),
        ([IMAGE] * 2, [0, 1], {"label": pa.array([" ", "cat"])}, "1 rows of 'label' are empty"),
        ([], [], {}, "holds no train images"),
        ([IMAGE] * 2, [0, 1], {"label": None}, "needs one column of labels .*, and has none: say"),
        ([IMAGE] * 2, [0, 1], {"image": None}, "column of encoded images.*has none"),
        (
            [IMAGE] * 2,
            [0, 1],
            {"fine_label": LABELS},
            "has 'label', 'fine_label': say which it is with --label-column",
        ),
        ([IMAGE] * 2, [0, 1], {"label": None, "id": LABELS, "artist": LABELS}, "has 'id', 'artist'"),
        (
            [IMAGE] * 2,
            [0, 1],
            {"label": None, "id": LABELS, "kind": pa.array(["a", "b"])},
            "has 'id', 'kind': say",
        ),
        (
            [IMAGE] * 3,
            [0] * 3,
            {"label": None, "id": pa.array([5, 6, 7])},
            "each of 3 rows has a 'id' of its own",
        ),
        ([IMAGE] * 2, [0, 1], {"label": pa.array([0.0, 1.0])}, "'label' is of type double: a label is"),
        ([IMAGE] * 2, [0, 1], {"label": pa.array([[0], [1]])}, "'label' is of type list"),
        ([IMAGE] * 2, [0, 1], {"img": structs([IMAGE] * 2, STRUCT)}, "has 'image', 'img': rename or drop"),
    ],
)
def test_bad_contents(parquet, contents, labels, columns, message):
    write_parquet(parquet / "train-0.parquet", contents, labels, **columns)
    with pytest.raises(DatasetError, match=message) as error:
        load(parquet)
    assert "DatasetError" not in str(error.value)  # told once, not as the reason of another


@pytest.mark.parametrize("damage", ["truncate", "scramble"])
def test_corrupt_file(parquet, damage):
    file = parquet / "train-0.parquet"
    content = bytearray(file.read_bytes())
    content[4:200] = b"\xff" * 196
    file.write_bytes(content[:100] if damage == "truncate" else content)
    with pytest.raises(DatasetError, match=r"cannot read .*train-0.parquet as Parquet"):
        load(parquet)


def test_a_pointer_of_git_lfs_is_told_as_what_it_is(parquet):
    (parquet / "val-0.parquet").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    )
    with pytest.raises(DatasetError, match=r"val-0.parquet is a Git LFS pointer, .*: run git lfs pull"):
        load(parquet)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["train-00000-of-00001-aa.parquet", "train-00000-of-00001-bb.parquet"],
            r"2 versions, .*aa.*bb.*: remove",
        ),
        (["train-00000-of-00001.parquet", "train-00000-of-00002.parquet"], "2 versions, of 00001, of 00002"),
        (["train-00000-of-00001.parquet", "train.parquet"], "2 versions, of 00001, of no number: remove"),
        (
            ["train-00000-of-00005.parquet", "train-00003-of-00005.parquet"],
            "train has 2 of 5 files, .* 1, 2, 4: fetch",
        ),
        (["fine/train/0.parquet", "coarse/train/0.parquet"], "holds 2 sets, in .*/coarse, .*/fine: give one"),
        (["other-0.parquet"], "0 files train-.* and 1 others of no known split"),
        ([], "0 files train-"),
    ],
)
def test_files_that_are_not_one_set(tmp_path, names, message):
    for name in names:
        write_parquet(tmp_path / name, [IMAGE] * 2, [0, 1])
    with pytest.raises(DatasetError, match=message):
        load(tmp_path)


@pytest.mark.parametrize(
    "kind",
    [pa.binary(len(IMAGE)), pa.dictionary(pa.int32(), pa.binary())],
    ids=["of one length", "by number"],
)
def test_encoded_images_of_other_types(tmp_path, kind):
    column = pa.array([IMAGE, IMAGE]).cast(kind) if pa.types.is_fixed_size_binary(kind) else None
    column = pa.array([IMAGE, IMAGE]).dictionary_encode() if column is None else column
    for split in ("train", "val"):
        pq.write_table(pa.table({"image": column, "label": LABELS}), tmp_path / f"{split}.parquet")
    assert len(load(tmp_path).train_inputs) == 2


@pytest.mark.parametrize("words", [["a", "a\0"], ["a", "x" * 300]])
def test_words_that_are_no_names_of_classes(tmp_path, words):
    for split in ("train", "val"):
        write_parquet(tmp_path / f"{split}.parquet", [IMAGE] * 2, [], label=pa.array(words))
    with pytest.raises(DatasetError, match=r"has words of \d+ characters.*--label-column"):
        load(tmp_path)


def test_files_that_number_the_classes_otherwise_are_refused(tmp_path):
    for split, names in (("train", ["cat", "dog"]), ("val", ["dog", "cat"])):
        known = json.dumps({"info": {"features": {"label": {"names": names}}}}).encode()
        table = pa.table({"image": structs([IMAGE] * 2), "label": LABELS})
        pq.write_table(table.replace_schema_metadata({b"huggingface": known}), tmp_path / f"{split}.parquet")
    with pytest.raises(DatasetError, match=r"val\.parquet numbers the classes otherwise than .*train"):
        load(tmp_path)


def test_numbers_of_words_that_are_not_there_are_refused(parquet):
    file = parquet / "train-0.parquet"
    words = pa.array(["cat", "dog", "cat", "dog"]).dictionary_encode()
    write_parquet(file, [IMAGE] * 4, [], label=words)
    write_parquet(parquet / "val-0.parquet", [IMAGE] * 2, [], label=pa.array(["cat", "dog"]))
    whole, group = file.read_bytes(), pq.ParquetFile(file).metadata.row_group(0)
    column = group.column(group.num_columns - 1)
    assert column.path_in_schema == "label"
    refused = set()
    start = column.dictionary_page_offset
    for place in range(start, start + column.total_compressed_size):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x80]) + whole[place + 1 :])
        try:
            load(parquet)
        except DatasetError as error:
            refused.add(str(error))
    assert any("out of bounds" in each for each in refused), refused
