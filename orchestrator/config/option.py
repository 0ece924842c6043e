"""What options have in common: how they are spelt, checked, and added without new keys for old trials."""

from dataclasses import Field, field
from typing import Any

BEFORE = "before"


def later(default: Any, *, before: Any) -> Any:
    """Declare an option that came after the first stores.

    Args:
        default: its value where none is given.
        before: what was done before there was the option. A trial with this value keeps the key that it had.
    """
    return field(default=default, metadata={BEFORE: before})


def as_before(declared: "Field[Any]", value: object) -> bool:
    """Whether a value says no more than what was done before there was the option."""
    return BEFORE in declared.metadata and declared.metadata[BEFORE] == value


def spelt(name: str) -> str:
    """A field's name as the command line spells it."""
    return "--" + name.replace("_", "-")


def at_least(least: int, group: object, *names: str, none: bool = False) -> None:
    """Check numbers; ``none``: whether None may be given too.

    Raises:
        ValueError: one of them is smaller.
    """
    for name in names:
        value = getattr(group, name)
        if value is None if none else False:
            continue
        if value < least:
            raise ValueError(f"{spelt(name)} {value}: give {least} or more{', or None' * none}")
