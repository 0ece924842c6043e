"""Names of functions and classes that are passed as they are."""

import functools
import importlib
import linecache
import sys

import pytest

from models.imported import imported
from models.resnet import resnet
from models.task import Regression
from orchestrator.config import Sweep
from orchestrator.config.own import is_named, named
from tests.integration.expectation import Expectation

LIBRARY = """
WIDTH = {width}

class Block:
    def forward(self, x):  # {comment}
        return x * {factor}

def helper():
    return [Block() for _ in range(WIDTH)]

def network(input_shape, n_classes):
    return helper()

unused = {unused}
"""


def notebook(width=4, factor=2, comment="as it is", unused=0, name="__main__"):
    """What the cells of a notebook define, without a module that could be imported."""
    return cells(LIBRARY.format(width=width, factor=factor, comment=comment, unused=unused), name)


def cells(text, name="__main__"):
    """The names that a notebook of this text has."""
    file = f"<cell {hash(text)}>"
    linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file
    space = {"__name__": name}
    exec(compile(text, file, "exec"), space)
    return space


def test_what_can_be_imported_goes_by_the_name_that_the_command_line_knows():
    assert named(resnet) == "models.resnet:resnet"
    assert named(Expectation) == "tests.integration.expectation:Expectation"
    assert imported("network", named(resnet), ()) is resnet
    for value in ("resnet", 3, 0.5, None, True):
        assert named(value) is value


def test_a_notebooks_function_is_found_by_a_name_that_changes_with_what_it_does():
    here = notebook()["network"]
    assert named(here).startswith("__main__:network@")
    assert imported("network", named(here), ()) is here
    same = [notebook(), notebook(comment="said otherwise"), notebook(unused=1)]
    assert {named(space["network"]) for space in same} == {named(here)}
    others = [notebook(width=5), notebook(factor=3)]  # of what the function uses, directly or not
    assert len({named(space["network"]) for space in (*same, *others)}) == 3


def test_objects_and_arguments_count():
    class Weighted(Regression):
        def __init__(self, weight):
            self.weight = weight

    names = {named(Weighted(1.0)), named(Weighted(2.0)), named(Weighted)}
    assert len(names) == 3
    partials = {named(functools.partial(notebook()["network"], n_classes=n)) for n in (2, 3)}
    assert len(partials) == 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("[1, {'a': 2}]", "[1, {'a': 3}]"),
        ("np.arange(9999)", "np.arange(9999) + (np.arange(9999) == 5000)"),
        ("torch.ones(3)", "torch.zeros(3)"),
        ("torch.nn.functional.relu", "torch.nn.functional.gelu"),
        ("functools.partial(max, 1)", "functools.partial(max, 2)"),
        ("Holder([1])", "Holder([2])"),
        ("Holder(1).method", "Holder(2).method"),
        ("{lambda: 1}", "{lambda: 2}"),
        ("[lambda: 1, lambda: 2][0]", "[lambda: 1, lambda: 2][1]"),
    ],
)
def test_whatever_values_it_goes_by_count(first, second):
    def network(value):
        text = f"import functools, numpy as np, torch\n{HOLDER}\nVALUE = {value}\ndef net(): return VALUE\n"
        return named(cells(text)["net"])

    assert network(first) == network(first) != network(second)


HOLDER = """
class Holder:
    def __init__(self, held): self.held = held
    def method(self): return self.held
"""


def test_what_is_of_no_account_changes_no_name():
    def dataclass(quantile, lock="threading.Lock()"):
        text = (
            "import dataclasses, threading\n@dataclasses.dataclass\nclass Loss:\n    quantile: float = 0.9\n"
        )
        text += (
            f"    def loss(self): return self.quantile, LOCK\nLOCK = {lock}\n"  # of which there is no copy
        )
        return named(cells(text)["Loss"](quantile))

    assert dataclass(0.9) == dataclass(0.9) != dataclass(0.8)
    assert dataclass(0.9) != dataclass(0.9, lock="threading.Event()")


def test_a_method_goes_by_its_object_and_other_modules_of_ones_own_by_their_code(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    text = "def net():\n    from my_blocks import block\n    return block()\n"

    def with_block(code):
        (tmp_path / "my_blocks.py").write_text(code)
        sys.modules.pop("my_blocks", None)
        importlib.invalidate_caches()
        return named(cells(text)["net"])

    one, two = (with_block(f"def block(): return {n}  # n\n") for n in (1, 22))
    assert one != two
    sys.modules.pop("my_blocks")


def test_a_scripts_object_is_known_where_the_script_is_imported():
    as_script, as_module = notebook(), notebook(name="script")
    name = named(as_script["network"])
    assert is_named(as_module["network"], name)
    assert not is_named(as_module["helper"], name)
    changed = notebook(width=5, name="script")["network"]
    assert not is_named(changed, name)
    assert is_named(changed, name, whatever_key=True)


def test_a_function_without_source_is_refused():
    space = {"__name__": "__main__"}
    exec("def network(input_shape, n_classes): return 1", space)
    with pytest.raises(ValueError, match="network has no source that can be read: put it into a file"):
        named(space["network"])


def test_a_sweep_of_a_function_is_the_sweep_of_its_name():
    assert Sweep(network=resnet, depth=20) == Sweep(network="models.resnet:resnet", depth=20)
    by_hand = Sweep(network=notebook()["network"], n_subnetworks=(1, 3)).trials()
    assert len({trial.trial_id for trial in by_hand}) == 2
