"""Names for functions, classes and objects that a script or notebook passes instead of a name."""

import ast
import functools
import importlib
import inspect
import textwrap
import types
from collections.abc import Iterator
from hashlib import blake2b

from models.imported import keep

MARK = "@"
"""Between a name that cannot be imported and the key of its source."""


def named(own: object) -> object:
    """A name under which :func:`models.imported.imported` finds the object; what is a name already, as it is.

    What can be imported goes by ``module:name``, as on the command line. The name of what cannot, such as a
    function of a notebook, has a key of its source, and of what that refers to of the same notebook: a
    changed function is another network.

    Raises:
        ValueError: there is no source to be read.
    """
    if own is None or isinstance(own, str | int | float):
        return own
    defined = own if isinstance(own, type | types.FunctionType) else type(own)
    name = f"{defined.__module__}:{defined.__qualname__}"
    if defined is not own or not _can_be_imported(defined):
        name += f"{MARK}{_key(own)}"
    keep(name, own)
    return name


def _can_be_imported(defined: "type | types.FunctionType") -> bool:
    if defined.__module__ == "__main__":
        return False
    try:
        return getattr(importlib.import_module(defined.__module__), defined.__qualname__, None) is defined
    except ImportError:
        return False


def _key(own: object) -> str:
    digest = blake2b(digest_size=4)
    for text in sorted(set(_texts(own, set()))):
        digest.update(text.encode())
    return digest.hexdigest()


def _texts(own: object, seen: set[int]) -> Iterator[str]:
    """The source of an object, and of all that it refers to of the same module."""
    if id(own) in seen:
        return
    seen.add(id(own))
    if isinstance(own, functools.partial):
        yield f"{own.args} {own.keywords}"
        yield from _texts(own.func, seen)
    elif isinstance(own, types.FunctionType):
        yield _source(own)
        yield f"{own.__defaults__} {own.__kwdefaults__}"
        for name, value in _around(own):
            if isinstance(value, type | types.FunctionType | functools.partial):
                if getattr(value, "__module__", None) == own.__module__:
                    yield from _texts(value, seen)
            elif isinstance(value, bool | int | float | str | tuple):
                yield f"{name} = {value!r}"
    elif isinstance(own, type):
        # By its parts: Python does not find the source of a notebook's class as a whole.
        yield f"class {own.__qualname__}({', '.join(base.__qualname__ for base in own.__bases__)})"
        plain = (bool, int, float, str, tuple)
        said = (item for item in vars(own).items() if isinstance(item[1], plain))
        yield repr([(name, value) for name, value in said if not name.startswith("__")])
        methods = (getattr(value, "__func__", value) for value in vars(own).values())
        bases = (base for base in own.__bases__ if base.__module__ == own.__module__)
        for part in (*methods, *bases):
            if isinstance(part, type | types.FunctionType):
                yield from _texts(part, seen)
    else:
        yield repr(sorted(vars(own).items())) if hasattr(own, "__dict__") else repr(own)
        yield from _texts(type(own), seen)


def _around(own: types.FunctionType) -> Iterator[tuple[str, object]]:
    """What a function refers to of its module and of the functions around it."""
    for name, cell in zip(own.__code__.co_freevars, own.__closure__ or (), strict=True):
        yield name, cell.cell_contents
    for name in sorted(_names(own.__code__)):
        if name in own.__globals__:
            yield name, own.__globals__[name]


def _names(code: types.CodeType) -> set[str]:
    """All names in a function, also in what is defined within it."""
    within = (const for const in code.co_consts if isinstance(const, types.CodeType))
    return set(code.co_names).union(*map(_names, within))


def _source(own: types.FunctionType) -> str:
    """The code in one way of writing it, without comments."""
    try:
        text = textwrap.dedent(inspect.getsource(own))
    except (OSError, TypeError) as error:
        raise ValueError(
            f"{own.__qualname__} has no source that can be read: put it into a file, and name it as "
            "module:name"
        ) from error
    try:
        return ast.unparse(ast.parse(text))
    except SyntaxError:  # a lambda within a line
        return text
