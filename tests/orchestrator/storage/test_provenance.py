import importlib.util
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

import pytest
import torch

from orchestrator.storage import provenance

FIELDS = {"python", "torch", "ray", "project", "commit", "host"}


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@localhost"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def module_in(folder):
    """The module as it is when it lies in this folder."""
    path = shutil.copy(provenance.__file__, folder)
    spec = importlib.util.spec_from_file_location("provenance_elsewhere", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_versions_are_those_that_run():
    versions = provenance.versions()
    assert versions.keys() == FIELDS
    assert torch.__version__.startswith(versions["torch"].partition("+")[0])
    assert versions["project"] == version(provenance.DISTRIBUTION)
    assert all(isinstance(value, str) for value in versions.values())
    assert versions["python"]
    assert versions["host"]


def test_what_is_not_installed_is_asked_itself_or_left_empty(tmp_path, monkeypatch):
    def missing(distribution):
        raise PackageNotFoundError(distribution)

    elsewhere = module_in(tmp_path)
    for module in (provenance, elsewhere):
        monkeypatch.setattr(module, "version", missing)
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not imported
    versions = provenance.versions()
    assert versions["torch"] == torch.__version__
    assert versions["ray"] == ""
    assert versions["project"] == version(provenance.DISTRIBUTION)
    assert elsewhere.versions()["project"] == ""


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_in_a_checkout_that_it_is_no_part_of_there_is_no_commit(tmp_path):
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "-m", "of somebody else")
    site_packages = tmp_path / ".venv" / "site-packages"
    site_packages.mkdir(parents=True)
    assert module_in(site_packages).versions()["commit"] == ""


def test_outside_a_checkout_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert module_in(tmp_path).versions()["commit"] == ""


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_commit_is_marked_when_files_differ_from_it(tmp_path):
    module = module_in(tmp_path)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    git(tmp_path, "tag", "v1")  # the commit is wanted, not a name that can move
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert module.versions()["commit"] == commit[:12]
    with (tmp_path / "provenance.py").open("a") as file:
        file.write("# changed")
    assert module.versions()["commit"] == commit[:12] + "+"
