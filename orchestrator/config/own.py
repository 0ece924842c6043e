"""Names for functions, classes and objects that a script or notebook passes instead of a name."""

import importlib
import types
from hashlib import blake2b

from models.imported import MARK, keep
from orchestrator.config.contents import contents


def named(own: object) -> object:
    """A name under which :func:`models.imported.imported` finds the object; what is a name already, as it is.

    What can be imported goes by ``module:name``, as on the command line. The name of what cannot, such as a
    function of a notebook, has a key of its source, and of all that this refers to, functions and values: a
    changed function is another network.

    Raises:
        ValueError: there is no source to be read.
    """
    if own is None or isinstance(own, str | int | float):
        return own
    defined = _defined(own)
    name = f"{defined.__module__}:{defined.__qualname__}"
    if defined is not own or not _can_be_imported(defined):
        name += f"{MARK}{_key(own)}"
    keep(name, own)
    return name


def is_named(own: object, name: object, *, whatever_key: bool = False) -> bool:
    """Whether an object has this name, or had it in the script that it is imported from now.

    Args:
        own: what :func:`named` takes.
        name: what it returned, maybe in another process.
        whatever_key: whether another version of the code is the same object.
    """
    if named(own) == name:
        return True
    if isinstance(own, str) or not isinstance(name, str):
        return False
    defined, mark, key = name.partition(":")[2].partition(MARK)
    return bool(mark) and defined == _defined(own).__qualname__ and (whatever_key or key == _key(own))


def _defined(own: object) -> "type | types.FunctionType":
    """The function or class that gives an object its name."""
    defined = getattr(own, "__func__", own)  # of a method
    return defined if isinstance(defined, type | types.FunctionType) else type(own)


def _can_be_imported(defined: "type | types.FunctionType") -> bool:
    if defined.__module__ == "__main__":
        return False
    try:
        return getattr(importlib.import_module(defined.__module__), defined.__qualname__, None) is defined
    except ImportError:
        return False


def _key(own: object) -> str:
    digest = blake2b(digest_size=4)
    for text in contents(own):
        digest.update(text.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
