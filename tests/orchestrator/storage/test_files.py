import errno

import pytest

from orchestrator.storage.files import WriteError, remove, write_atomically


def write_file(text):
    return lambda path: path.write_text(text)


def write_folder(**contents):
    def write(path):
        path.mkdir()
        for name, text in contents.items():
            (path / name).write_text(text)

    return write


def contents(path):
    return {entry.name: entry.read_text() for entry in path.iterdir()}


def test_a_file_is_made_with_its_folders_and_replaced(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    for text in ("old", "new"):
        write_atomically(path, write_file(text))
        assert contents(path.parent) == {"file": text}


def test_a_folder_is_replaced_whole(tmp_path):
    path = tmp_path / "folder"
    write_atomically(path, write_folder(a="1", b="2"))
    write_atomically(path, write_folder(b="3"))
    assert contents(path) == {"b": "3"}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("old", [None, "file", "folder"])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_writer_that_fails_changes_nothing(tmp_path, old, kind):
    path = tmp_path / "target"
    if old is not None:
        write_atomically(path, write_file("old") if old == "file" else write_folder(a="old"))

    def fail(temporary):
        (write_file("half") if kind == "file" else write_folder(a="half"))(temporary)
        raise OSError(errno.ENOSPC, "anything")

    with pytest.raises(
        WriteError, match=rf"^{path} cannot be written \(No space left on device\): make room"
    ):
        write_atomically(path, fail)
    assert list(tmp_path.iterdir()) == ([] if old is None else [path])
    if old is not None:
        assert (path if old == "file" else path / "a").read_text() == "old"


def test_in_a_folder_the_file_that_cannot_be_written_is_named_once(tmp_path):
    def fail(_):
        raise OSError(errno.EACCES, "anything")

    def write(temporary):
        temporary.mkdir()
        write_atomically(temporary / "part", fail)

    with pytest.raises(WriteError, match=r"part cannot be written \(Permission denied\)") as raised:
        write_atomically(tmp_path / "folder", write)
    assert str(raised.value).count("cannot be written") == 1
    assert not any(tmp_path.iterdir())


def test_memory_that_is_short_is_no_matter_of_the_disk(tmp_path):
    def fail(_):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    with pytest.raises(WriteError, match=r"\(Cannot allocate memory\): raise the limit of memory"):
        write_atomically(tmp_path / "target", fail)


def test_a_writer_that_writes_nothing_is_an_error(tmp_path):
    (tmp_path / "target").write_text("old")
    with pytest.raises(WriteError, match="No such file"):
        write_atomically(tmp_path / "target", lambda path: None)
    assert contents(tmp_path) == {"target": "old"}


def test_what_is_half_written_is_hidden_beside_its_target(tmp_path):
    seen = []

    def write(temporary):
        seen.append(temporary)
        temporary.write_text("half")
        assert contents(tmp_path)["target.parquet"] == "old"

    (tmp_path / "target.parquet").write_text("old")
    write_atomically(tmp_path / "target.parquet", write)
    assert seen[0].parent == tmp_path
    assert seen[0].name.startswith(".")
    assert not seen[0].name.endswith(".parquet")


@pytest.mark.parametrize("left_by_the_dead", [write_file("half"), write_folder(a="half")])
def test_what_a_killed_process_left_is_no_obstacle(tmp_path, left_by_the_dead):
    paths = []

    def note(path):
        paths.append(path)
        path.mkdir()

    write_atomically(tmp_path / "target", note)
    left_by_the_dead(paths[0])
    write_atomically(tmp_path / "target", write_folder(b="new"))
    assert contents(tmp_path / "target") == {"b": "new"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["target"]


def test_remove_takes_files_folders_and_nothing(tmp_path):
    for make in (lambda path: None, write_file("x"), write_folder(a="x")):
        make(tmp_path / "target")
        remove(tmp_path / "target")
        assert not any(tmp_path.iterdir())
