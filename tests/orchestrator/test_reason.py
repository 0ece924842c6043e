"""What an error says, in one line."""

import traceback

import pytest

from orchestrator.reason import reason


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("no room\n\ttried three times", "no room"),
        ("\n\n  too late \n", "too late"),
        ("", "RuntimeError"),
        (" \n", "RuntimeError"),
    ],
)
def test_the_first_line_that_says_anything(text: str, line: str) -> None:
    assert reason(RuntimeError(text)) == line


def test_the_last_line_of_a_traceback() -> None:
    try:
        {}["missing"]
    except KeyError:
        text = f"the actor died in its constructor, ray::Actor.__init__()\n{traceback.format_exc()}\n"
    assert reason(RuntimeError(text)) == "KeyError: 'missing'"
