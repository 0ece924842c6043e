"""docs/troubleshooting.md names the messages that there are, and all of them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
PATTERNS = re.findall(r"^\| `(.+?)` \|", PAGE, re.MULTILINE)

INTERNAL = {
    "step … is not in 0..…, the steps of an epoch",
    "batch size … is not in 1..…, the number of training images of …",  # the plan refuses it first
    "is scattered in memory; receive into a contiguous one",
    "the peer has room for … bytes, not for …",
    "the peer sent … bytes instead of …",
    "subnetworks take … costs of …, not …",
    "has no column …: add it to SCHEMAS",
    "costs of … samples were not measured, only of … to …",  # the forecast leaves such ways out
    "actors wait for what never comes: …",
}
"""Messages for who changes the source."""


def text_of(node: ast.expr) -> str:
    """What a string expression says, … where a value goes."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(value) for value in node.values)
    return "…"


def nodes() -> Iterator[ast.AST]:
    for package in ("models", "orchestrator", "analysis"):
        for file in (ROOT / package).rglob("*.py"):
            yield from ast.walk(ast.parse(file.read_text(encoding="utf-8")))


def raised() -> Iterator[str]:
    """The message of every error, warning and reason of a trial's end that has words of its own."""
    for node in nodes():
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        at = {"reported": 0, "warn": 0, "close": 1}.get(name, 0 if name.endswith("Error") else None)
        if at is not None and len(node.args) > at and re.search(r"\w+ \w+", text := text_of(node.args[at])):
            yield text


TEXTS = {text_of(node) for node in nodes() if isinstance(node, ast.JoinedStr | ast.Constant)}


@pytest.mark.parametrize("pattern", [*PATTERNS, *sorted(INTERNAL)])
def test_a_message_that_is_named_occurs_in_the_source(pattern: str) -> None:
    assert any(pattern in text for text in TEXTS)


def test_every_message_of_the_source_is_named() -> None:
    messages = set(raised())
    assert len(messages) > 90
    unnamed = [text for text in messages if not any(pattern in text for pattern in (*PATTERNS, *INTERNAL))]
    assert unnamed == [], "say in docs/troubleshooting.md what to do"


def test_no_message_is_named_twice() -> None:
    assert len(set(PATTERNS)) == len(PATTERNS)
