import io

import pytest
import torch

from analysis.reading import UnreadableError
from orchestrator.storage.checkpoint import KEPT, load_latest, save
from orchestrator.storage.files import WriteError
from tests.unreadable import make_readable, make_unreadable


def states(epoch):
    """What actors give: files of torch."""
    parts = {}
    for part in ("driver", "subnetwork-1", "subnetwork-2"):
        buffer = io.BytesIO()
        torch.save({"module": {"weight": torch.full((100,), float(epoch))}, "optimizer": {}}, buffer)
        parts[part] = buffer.getvalue()
    return parts


def save_epochs(folder, last):
    for epoch in range(1, last + 1):
        save(folder, epoch, states(epoch))


def load(folder):
    """What is loaded where nothing is amiss."""
    told = []
    loaded = load_latest(folder, tell=told.append)
    assert told == []
    return loaded


def test_the_newest_is_loaded_byte_for_byte(tmp_path):
    save_epochs(tmp_path / "trial", 3)
    epoch, loaded = load(tmp_path / "trial")
    assert (epoch, loaded) == (3, states(3))
    state = torch.load(io.BytesIO(loaded["subnetwork-2"]), weights_only=True)
    assert (state["module"]["weight"] == 3).all()


def test_without_a_checkpoint_there_is_nothing_to_load(tmp_path):
    assert load(tmp_path / "nowhere") == (0, {})
    assert load(tmp_path) == (0, {})


def test_the_last_few_are_kept(tmp_path):
    save_epochs(tmp_path, KEPT + 3)
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == [f"epoch-{epoch:04d}" for epoch in range(4, KEPT + 4)]


def test_the_newest_is_the_one_of_the_highest_epoch(tmp_path):
    for epoch in (9998, 9999, 10000, 10001):
        save(tmp_path, epoch, states(epoch))
    assert load(tmp_path)[0] == 10001


def test_an_epoch_that_is_run_again_replaces_its_checkpoint(tmp_path):
    save(tmp_path, 1, states(1))
    save(tmp_path, 1, {"driver": b"other"})
    assert load(tmp_path) == (1, {"driver": b"other"})


def truncate(path):
    path.write_bytes(path.read_bytes()[:-50])


def empty(path):
    path.write_bytes(b"")


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def scramble(path):
    path.write_bytes(b"\xff\x00{[" + path.read_bytes())


def remove(path):
    path.unlink()


DAMAGES = [truncate, empty, flip_a_bit, scramble, remove]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["driver.pt", "subnetwork-2.pt", "manifest.json"])
def test_a_damaged_checkpoint_is_told_of_and_passed_over(tmp_path, file, damage):
    save_epochs(tmp_path, 2)
    damage(tmp_path / "epoch-0002" / file)
    told = []
    assert load_latest(tmp_path, tell=told.append) == (1, states(1))
    assert len(told) == 1
    assert f"{tmp_path / 'epoch-0002'} is damaged (" in told[0]
    assert told[0].endswith(": using the one before")


@pytest.mark.parametrize("place", ["trial", "trial/epoch-0002/driver.pt", "trial/epoch-0002/manifest.json"])
def test_a_checkpoint_that_cannot_be_read_just_now_is_not_passed_over(tmp_path, place):
    save_epochs(tmp_path / "trial", 2)
    path = make_unreadable(tmp_path / place)
    with pytest.raises(UnreadableError, match=f"^{path} cannot be read"):
        load(tmp_path / "trial")
    make_readable(path)
    assert load(tmp_path / "trial") == (2, states(2))


def test_if_all_are_damaged_training_starts_again(tmp_path):
    save_epochs(tmp_path, 2)
    for part in tmp_path.glob("*/driver.pt"):
        truncate(part)
    told = []
    assert load_latest(tmp_path, tell=told.append) == (0, {})
    assert len(told) == 2
    save(tmp_path, 1, states(1))  # and the epochs that are run again are kept
    assert load(tmp_path) == (1, states(1))


def test_a_checkpoint_that_cannot_be_written_leaves_those_before(tmp_path):
    save_epochs(tmp_path, 1)
    with pytest.raises(WriteError, match=r"epoch-0002 cannot be written .*run the same command again"):
        save(tmp_path, 2, states(2) | {"x" * 300: b"no disk takes such a name"})
    assert load(tmp_path) == (1, states(1))
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-0001"]


def test_a_half_written_checkpoint_is_none(tmp_path):
    save_epochs(tmp_path, 1)
    half = tmp_path / ".epoch-0002.123.tmp"
    half.mkdir()
    (half / "driver.pt").write_bytes(b"half")
    assert load(tmp_path) == (1, states(1))


def test_a_line_lost_from_the_manifest_is_damage(tmp_path):
    save_epochs(tmp_path / "trial", 2)
    manifest = tmp_path / "trial" / "epoch-0002" / "manifest.json"
    lines = [line for line in manifest.read_text().splitlines() if "subnetwork-1" not in line]
    manifest.write_text("\n".join(lines))
    told = []
    epoch, loaded = load_latest(tmp_path / "trial", tell=told.append)
    assert (epoch, loaded) == (1, states(1))
    assert "its checksum is another" in told[0]
