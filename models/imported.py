"""Objects of the user's own, by the name under which they can be imported."""

import importlib
from collections.abc import Iterable

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
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (Exception, SystemExit) as error:  # whatever the module does
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{kind} {name!r} cannot be imported ({why}): "
            "the module must be importable from the folder where the command runs"
        ) from error
