import numpy as np
import pytest
import ray

from orchestrator.data.blocks import blocks
from orchestrator.data.errors import DatasetError
from orchestrator.data.mapped import mapped

NUMBERS = np.arange(120, dtype=np.int32).reshape(20, 6)


@pytest.fixture
def file(tmp_path):
    np.save(tmp_path / "x.npy", NUMBERS)
    return tmp_path / "x.npy"


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x,
        lambda x: x[3:7],
        lambda x: x[::-2, 1:],
        lambda x: np.asarray(x).T,
        lambda x: np.lib.stride_tricks.sliding_window_view(x, 4, axis=0)[2:],
    ],
)
def test_any_view_of_a_file_is_known_by_where_it_lies(file, view):
    array = view(np.load(file, mmap_mode="r"))
    again = mapped(array).array()
    assert (again == view(NUMBERS)).all()
    assert not again.flags.writeable
    assert mapped(again) == mapped(array)


def test_an_offset_in_a_file_without_a_header(tmp_path):
    NUMBERS.tofile(tmp_path / "x.bin")
    for offset in (4, 240):
        array = np.memmap(tmp_path / "x.bin", np.int32, "r", offset=offset)
        assert (mapped(array[1:]).array() == NUMBERS.ravel()[offset // 4 + 1 :]).all()


def test_what_is_in_memory_lies_in_no_file(file):
    own = np.load(file, mmap_mode="c")  # changes stay with the process
    own[0] = 9
    for array in (NUMBERS, own, np.load(file, mmap_mode="r") + 1, np.load(file, mmap_mode="r")[[1, 2]]):
        assert mapped(array) is None
    assert (np.concatenate([*blocks(own)])[0] == 9).all()


def test_another_file_in_its_place_is_not_taken_for_it(file):
    where = mapped(np.load(file, mmap_mode="r"))
    file.unlink()
    with pytest.raises(DatasetError, match=r"x\.npy is not on .*leave it as it is"):
        where.array()
    np.save(file, NUMBERS)
    with pytest.raises(DatasetError, match=r"x\.npy is another file on"):
        where.array()


def test_a_host_without_the_file_fetches_it_and_goes_on_where_it_was_stopped(
    local_ray, tmp_path, monkeypatch
):
    """One host plays both: the file has another name there."""

    def read(file, start):
        return np.fromfile(tmp_path / "x.npy", np.uint8, 100, offset=start)

    monkeypatch.setattr("orchestrator.data.mapped.BYTES", 100)
    np.save(tmp_path / "x.npy", NUMBERS)
    where = mapped(np.load(tmp_path / "x.npy", mmap_mode="r"))
    assert where.host == ray.get_runtime_context().get_node_id()
    monkeypatch.setattr("orchestrator.data.mapped._here", lambda: "another")
    there = tmp_path / "there" / "x.npy"
    monkeypatch.setattr("orchestrator.data.mapped._read", read)
    there.parent.mkdir()
    (there.parent / ".x.npy.part").write_bytes((tmp_path / "x.npy").read_bytes()[:130])
    assert (where._replace(file=str(there)).array() == NUMBERS).all()
    assert there.read_bytes() == (tmp_path / "x.npy").read_bytes()
