"""Objects of the user's own, by the name under which they can be imported."""

import importlib
from collections.abc import Iterable
from pathlib import Path

from models.initialisation import seeded

MARK = "@"
"""Between a name that cannot be imported and the key of its source."""

_KEPT: dict[str, object] = {}


def keep(name: str, own: object) -> None:
    """Have :func:`imported` find an object that is there already, in this process alone."""
    _KEPT[name] = own


def imported(kind: str, name: str, known: Iterable[str]) -> object:
    """The object at ``path.to.module:name``.

    Args:
        kind: what it is to be, for errors.
        name: where it is.
        known: names that would not have needed an import.

    Raises:
        ValueError: it is no such name, or cannot be imported.
    """
    if name in _KEPT:
        return _KEPT[name]
    module_name, colon, attribute = name.partition(":")
    if not colon:
        raise ValueError(
            f"unknown {kind} {name!r}: choose one of {', '.join(known)}, "
            "or name your own as path.to.module:name"
        )
    if MARK in attribute:
        raise ValueError(
            f"{kind} {name!r} was given as an object, of a script or notebook: give it again, as in "
            "load_network(…, network=my_network)"
        )
    if "/" in module_name or module_name.endswith(".py"):
        path = Path(module_name).with_suffix("")
        path = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        dotted = path.name if path.is_absolute() else ".".join(part for part in path.parts if part != "..")
        raise ValueError(
            f"{kind} {name!r} has a file's path before the colon: write the module as Python imports it from "
            f"the folder where the command runs, such as {dotted}:{attribute}"
        )
    try:
        with seeded(0, "import"):  # what a module draws as it is imported is the same in every process
            return getattr(importlib.import_module(module_name), attribute)
    except (Exception, SystemExit) as error:  # whatever the module does
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{kind} {name!r} cannot be imported ({why}): "
            "the module must be importable from the folder where the command runs"
        ) from error
