"""Names of functions and classes that are passed as they are."""

import functools
import linecache

import pytest

from models.imported import imported
from models.resnet import resnet
from models.task import Regression
from orchestrator.config import Sweep
from orchestrator.config.own import named
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


def notebook(width=4, factor=2, comment="as it is", unused=0):
    """What the cells of a notebook define, without a module that could be imported."""
    text = LIBRARY.format(width=width, factor=factor, comment=comment, unused=unused)
    file = f"<cell {hash(text)}>"
    linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file
    space = {"__name__": "__main__"}
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


def test_a_function_without_source_is_refused():
    space = {"__name__": "__main__"}
    exec("def network(input_shape, n_classes): return 1", space)
    with pytest.raises(ValueError, match="network has no source that can be read: put it into a file"):
        named(space["network"])


def test_a_sweep_of_a_function_is_the_sweep_of_its_name():
    assert Sweep(network=resnet, depth=20) == Sweep(network="models.resnet:resnet", depth=20)
    by_hand = Sweep(network=notebook()["network"], n_subnetworks=(1, 3)).trials()
    assert len({trial.trial_id for trial in by_hand}) == 2
