"""What is found missing before Ray starts."""

import os
import pwd
import shutil

import pytest

from orchestrator.environment import LONGEST_SOCKET, check_folders, check_names


@pytest.fixture(autouse=True)
def no_settings(monkeypatch, tmp_path):
    """A home, nothing set that says where Ray's folders are."""
    for name in ("RAY_TMPDIR", "TMPDIR", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "ray"))
    monkeypatch.setattr("orchestrator.environment.LONGEST_SOCKET", 4096)  # pytest's own paths are long


def test_where_all_is_well_nothing_is_left_behind(tmp_path):
    check_folders(None)
    check_names(["--store", "é", "--dataset", "image_folder:/data/[red]"])
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".ray", "home", "ray", "ray"]


def test_without_a_home_it_is_refused_with_a_cluster_too(monkeypatch):
    def nobody(uid):
        raise KeyError(uid)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", nobody)  # as of docker's --user
    for address in (None, "auto"):
        with pytest.raises(ValueError, match=r"^this user has no home folder: set HOME to"):
            check_folders(address)


@pytest.mark.parametrize("home", ["/proc/none", "/dev/null/home"])
def test_a_home_that_cannot_be_written_is_refused_unless_it_has_the_token(monkeypatch, tmp_path, home):
    monkeypatch.setenv("HOME", home)
    with pytest.raises(
        ValueError, match=rf"^Ray cannot keep its token in {home}/\.ray/auth_token \(.*: set HOME"
    ):
        check_folders(None)
    check_folders("auto")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    check_folders(None)


def test_a_token_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "home" / ".ray" / "auth_token").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"auth_token \(Is a directory\): set HOME"):
        check_folders(None)


@pytest.mark.parametrize("variable", ["RAY_TMPDIR", "TMPDIR"])
@pytest.mark.parametrize(
    ("folder", "why"),
    [
        ("/proc/none", r"/proc/none/ray cannot be written \(No such file or directory\)"),
        ("/dev/null", r"/dev/null/ray cannot be written \(Not a directory\)"),
        ("relative", "relative/ray is no absolute path"),
    ],
)
def test_a_folder_of_rays_that_cannot_be_used_is_refused(monkeypatch, variable, folder, why):
    monkeypatch.delenv("RAY_TMPDIR")
    monkeypatch.setenv(variable, folder)
    with pytest.raises(ValueError, match=rf"^Ray's folder {why}: set RAY_TMPDIR to"):
        check_folders(None)


def test_a_path_too_long_for_a_socket_is_refused_to_the_character(monkeypatch, tmp_path):
    monkeypatch.setattr("orchestrator.environment.LONGEST_SOCKET", LONGEST_SOCKET)
    root = tmp_path.parents[-2]  # /tmp, as a rule
    rest = f"/ray/session_2026-01-01_00-00-00_000000_{os.getpid()}/sockets/plasma_store"
    fitting = root / f"test-{os.getpid()}".ljust(LONGEST_SOCKET - len(rest) - len(str(root)) - 1, "x")
    monkeypatch.setenv("RAY_TMPDIR", str(fitting))
    try:
        check_folders(None)
    finally:
        shutil.rmtree(fitting, ignore_errors=True)
    monkeypatch.setenv("RAY_TMPDIR", f"{fitting}xx")
    with pytest.raises(
        ValueError, match=r"x/ray is 2 characters too long for its sockets: set RAY_TMPDIR to a"
    ):
        check_folders(None)


def test_a_name_that_is_not_utf_8_is_refused(monkeypatch, tmp_path):
    name = os.fsdecode(b"caf\xe9")
    with pytest.raises(ValueError, match=r"^'image_folder:caf\\udce9' is not UTF-8: rename it"):
        check_names(["--dataset", f"image_folder:{name}"])
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    with pytest.raises(ValueError, match="is not UTF-8"):
        check_names([])
    (tmp_path / name).rmdir()
    with pytest.raises(ValueError, match="the current folder has been removed: change to another"):
        check_names([])
