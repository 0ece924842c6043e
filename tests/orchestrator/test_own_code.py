import importlib
import sys
from collections.abc import Callable, Iterator
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


Key = Callable[..., str]


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Key]:
    """The fingerprint of a network in these files, imported anew."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)

    def key(changes: dict[str, str], network: str = "net:net") -> str:
        for name, text in (FILES | changes).items():
            (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
            (tmp_path / name).write_text(text)
        forget()
        importlib.import_module(network.partition(":")[0])
        return fingerprint(network)

    def forget() -> None:
        for module in set(sys.modules) - before:
            del sys.modules[module]
        importlib.invalidate_caches()

    yield key
    forget()


def test_a_change_of_the_code_is_told_and_a_change_of_its_looks_is_not(key):
    as_it_was = key({})
    assert len(as_it_was) == 16
    looks = NET.replace("(9,", "( 9,").replace("# unit, h", "# as it should be").replace("It.", "Mine.")
    assert key({"net.py": looks, "unrelated.py": "1"}) == as_it_was
    changed = [
        key({"net.py": NET.replace("(9,", "(8,")}),
        key({"parts/blocks.py": BLOCK.replace("WIDTH", "WIDTH + 1")}),
        key({"parts/width.py": "WIDTH = 4\n"}),
    ]
    assert len({as_it_was, *changed}) == 4


def test_libraries_of_an_environment_in_the_same_folder_have_no_part_in_it(tmp_path, key):
    beside = tmp_path / "env" / "site-packages"
    beside.mkdir(parents=True)
    (beside / "library.py").write_text("A = 1\n")
    net = f"import sys\nsys.path.append({str(beside)!r})\nimport library\n{NET}"
    as_it_was = key({"net.py": net})
    assert key({"env/site-packages/library.py": "A = 2\n"} | {"net.py": net}) == as_it_was


def test_a_module_of_a_package_is_known_with_what_it_imports_beside_it(key):
    as_it_was = key({}, "parts.blocks:block")
    assert key({"parts/width.py": "WIDTH = 4\n"}, "parts.blocks:block") != as_it_was


@pytest.mark.parametrize("network", ["resnet", "models.resnet:resnet", "math:pi", "not.imported:net"])
def test_nothing_is_said_of_what_is_no_users_own(network):
    import models.resnet  # noqa: F401

    assert fingerprint(network) == ""
