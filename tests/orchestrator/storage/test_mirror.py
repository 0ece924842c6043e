import threading

import pytest

from analysis.reading import UnreadableError
from orchestrator.storage.mirror import Mirror, MirrorError, following
from orchestrator.storage.store import Store
from tests.unreadable import make_readable, make_unreadable


def tree(folder):
    """Content of all files by name, without hidden ones."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("[!.]*") if p.is_file()}


@pytest.fixture
def folder(tmp_path):
    store = Store(tmp_path / "store")
    store.write("trials", "a", [{"trial_id": "a", "status": "running"}])
    checkpoint = store.checkpoints("a") / "epoch-0001"
    checkpoint.mkdir(parents=True)
    (checkpoint / "network.pt").write_bytes(b"weights")
    return store.path


@pytest.fixture
def url(tmp_path):
    return (tmp_path / "mirror").as_uri()


def test_the_mirror_gets_every_file_and_every_change(folder, url, tmp_path):
    mirror = Mirror(folder, url)
    mirror.push()
    assert tree(tmp_path / "mirror") == tree(folder)
    Store(folder).write("trials", "a", [{"trial_id": "a", "status": "finished"}])
    Store(folder).write("epochs", "a", [{"trial_id": "a", "epoch": 1}])
    mirror.push()
    assert tree(tmp_path / "mirror") == tree(folder)


def test_what_cannot_be_read_just_now_does_not_go_from_the_mirror(folder, url, tmp_path):
    mirror = Mirror(folder, url)
    mirror.push()
    before = tree(tmp_path / "mirror")
    path = make_unreadable(folder / "checkpoints")
    with pytest.raises(MirrorError, match=str(path)):
        mirror.push()
    assert tree(tmp_path / "mirror") == before
    make_readable(path)
    mirror.push()
    assert tree(tmp_path / "mirror") == before


def test_damaged_notes_cost_a_copy_and_unreadable_ones_are_an_error(folder, url, tmp_path):
    Mirror(folder, url).push()
    (folder / ".mirror.json").write_text("{")
    Mirror(folder, url).push()
    assert tree(tmp_path / "mirror") == tree(folder)
    make_unreadable(folder / ".mirror.json")
    with pytest.raises(UnreadableError, match=r"\.mirror\.json cannot be read"):
        Mirror(folder, url)


def test_old_checkpoints_go_from_the_mirror_too(folder, url, tmp_path):
    mirror = Mirror(folder, url)
    mirror.push()
    (folder / "checkpoints/a/epoch-0001/network.pt").unlink()
    mirror.push()
    assert tree(tmp_path / "mirror") == tree(folder)


def test_what_is_being_written_is_left_out(folder, url, tmp_path):
    (folder / "trials/.a.parquet.123.tmp").write_bytes(b"half")
    (folder / ".lock").touch()
    Mirror(folder, url).push()
    assert not list((tmp_path / "mirror").rglob(".*"))


def test_what_has_not_changed_is_not_copied_again_in_another_run(folder, url, tmp_path):
    Mirror(folder, url).push()
    copy = tmp_path / "mirror/trials/a.parquet"
    copied = copy.stat().st_mtime_ns
    Mirror(folder, url).push()
    assert copy.stat().st_mtime_ns == copied


def test_an_empty_store_is_filled_from_the_mirror(folder, url, tmp_path):
    Mirror(folder, url).push()
    Mirror(tmp_path / "new", url).pull()
    assert tree(tmp_path / "new") == tree(folder)
    assert Store(tmp_path / "new").status("a") == "running"


def test_a_store_with_results_is_not_touched(folder, url, tmp_path):
    Mirror(folder, url).push()
    other = Store(tmp_path / "other")
    other.write("trials", "b", [{"trial_id": "b"}])
    before = tree(other.path)
    Mirror(other.path, url).pull()
    assert tree(other.path) == before


@pytest.mark.parametrize("url", ["s3:/", "nowhere", "file:///proc/mirror"])
def test_a_mirror_that_cannot_be_written_is_refused(folder, url):
    with pytest.raises(MirrorError, match="that you may write to"):
        Mirror(folder, url)


def test_results_are_copied_as_they_come_and_at_the_end(folder, url, tmp_path):
    copied = threading.Event()

    class Watched(Mirror):
        def push(self):
            super().push()
            copied.set()

    with following(Watched(folder, url), pytest.fail, period=0.01):
        assert copied.wait(10)
        Store(folder).write("trials", "b", [{"trial_id": "b"}])
    assert tree(tmp_path / "mirror") == tree(folder)


def test_an_outage_is_told_of_and_made_good(folder, url, tmp_path):
    mirror = Mirror(folder, url)
    (tmp_path / "mirror").rmdir()
    (tmp_path / "mirror").write_text("in the way")
    told = threading.Event()
    with following(mirror, lambda _: told.set(), period=0.01):
        assert told.wait(10)
        (tmp_path / "mirror").unlink()
    assert tree(tmp_path / "mirror") == tree(folder)


def test_an_outage_that_lasts_is_an_error(folder, url, tmp_path):
    mirror = Mirror(folder, url)
    (tmp_path / "mirror").rmdir()
    (tmp_path / "mirror").write_text("in the way")
    with pytest.raises(MirrorError, match="the same command copies what is missing"), following(mirror, str):
        pass
