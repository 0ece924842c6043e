import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.own_code import fingerprint

NET = '''"""My network."""
from parts.blocks import block

def net(*, input_shape, n_classes):
    """It."""
    return [block(), range(9, n_classes)]  # unit, h
'''
BLOCK = "from . import width\nimport json\n\n\ndef block():\n    return width.WIDTH\n"
FILES = {"net.py": NET, "parts/__init__.py": "", "parts/blocks.py": BLOCK, "parts/width.py": "WIDTH = 3\n"}


def key(folder: Path, changes: dict[str, str], network: str = "net:net") -> str:
    """The fingerprint of a network in these files, in a process of its own."""
    for name, text in (FILES | changes).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    code = (
        "import importlib, sys; sys.path[:0] = sys.argv[1:2]; sys.dont_write_bytecode = True\n"
        "importlib.import_module(sys.argv[2].partition(':')[0])\n"
        "from orchestrator.own_code import fingerprint; print(fingerprint(sys.argv[2]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), network], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_a_change_of_the_code_is_told_and_a_change_of_its_looks_is_not(tmp_path):
    as_it_was = key(tmp_path, {})
    assert len(as_it_was) == 16
    looks = NET.replace("(9,", "( 9,").replace("# unit, h", "# as it should be").replace("It.", "Mine.")
    assert key(tmp_path, {"net.py": looks, "unrelated.py": "1"}) == as_it_was
    changed = [
        key(tmp_path, {"net.py": NET.replace("(9,", "(8,")}),
        key(tmp_path, {"parts/blocks.py": BLOCK.replace("WIDTH", "WIDTH + 1")}),
        key(tmp_path, {"parts/width.py": "WIDTH = 4\n"}),
    ]
    assert len({as_it_was, *changed}) == 4


def test_libraries_of_an_environment_in_the_same_folder_have_no_part_in_it(tmp_path):
    beside = tmp_path / "env" / "site-packages"
    beside.mkdir(parents=True)
    (beside / "library.py").write_text("A = 1\n")
    net = f"import sys\nsys.path.append({str(beside)!r})\nimport library\n{NET}"
    as_it_was = key(tmp_path, {"net.py": net})
    assert key(tmp_path, {"env/site-packages/library.py": "A = 2\n"} | {"net.py": net}) == as_it_was


def test_a_module_of_a_package_is_known_with_what_it_imports_beside_it(tmp_path):
    as_it_was = key(tmp_path, {}, "parts.blocks:block")
    assert key(tmp_path, {"parts/width.py": "WIDTH = 4\n"}, "parts.blocks:block") != as_it_was


@pytest.mark.parametrize("network", ["resnet", "models.resnet:resnet", "math:pi", "not.imported:net"])
def test_nothing_is_said_of_what_is_no_users_own(network):
    import models.resnet  # noqa: F401

    assert fingerprint(network) == ""
