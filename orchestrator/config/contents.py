"""What an object holds, in words that are the same in every process: code, and the values that it goes by."""

import ast
import dis
import functools
import importlib
import inspect
import sys
import textwrap
import types
from collections.abc import Iterator
from contextlib import suppress
from hashlib import blake2b
from typing import Any

import numpy as np
import torch

from models.built import ANY_ERROR
from orchestrator.own_code import module_fingerprint

_LONG = 200
_INSTALLED = {*sys.stdlib_module_names, "torch", "numpy"}
_PLAIN = (type(None), type(...), bool, int, float, complex, str, range)


def contents(own: object) -> list[str]:
    """What a user's function, class or object consists of.

    What is defined in its module, or in a notebook or script, goes by its source, and by that of all it
    refers to there; the user's other modules by their code; what is installed by its name. Values go by what
    they hold, as Python would copy them.

    Raises:
        ValueError: a function has no source.
    """
    defined = own.func if isinstance(own, functools.partial) else getattr(own, "__func__", own)
    if isinstance(defined, types.FunctionType):
        _source(defined)
    reader = _Reader({"__main__", getattr(defined, "__module__", None)})
    said = reader.said(own)
    return [*sorted(reader.texts), said]


class _Reader:
    """Reads objects: values into words, and code that they refer to into :attr:`texts`.

    Args:
        here: modules of which every object counts by itself, not the whole.
    """

    def __init__(self, here: set[str | None]) -> None:
        self.texts: set[str] = set()
        self._here = here
        self._read: dict[int, tuple[object, str]] = {}  # with the object, so that none gets its number

    def said(self, value: Any) -> str:
        """A value in words that say all that it holds."""
        if type(value) in _PLAIN:
            return _short(repr(value))
        if id(value) not in self._read:
            self._read[id(value)] = value, "…"  # where it refers to itself
            self._read[id(value)] = value, _short(self._worded(value))
        return self._read[id(value)][1]

    def _worded(self, value: Any) -> str:
        if isinstance(value, bytes | bytearray):
            return _digest(value)
        if isinstance(value, types.ModuleType):
            return f"{value.__name__} {module_fingerprint(value.__name__)}"
        if isinstance(value, types.FunctionType | type):
            return self._named(value)
        if type(value) in (tuple, list):
            return f"{type(value).__name__}({', '.join(map(self.said, value))})"
        if type(value) is dict:
            return f"dict({', '.join(f'{self.said(k)}: {self.said(v)}' for k, v in value.items())})"
        if type(value) in (set, frozenset):
            return f"set({', '.join(sorted(map(self.said, value)))})"
        if isinstance(value, property):
            return self.said((value.fget, value.fset, value.fdel))
        if isinstance(value, staticmethod | classmethod | functools._lru_cache_wrapper):
            return f"{type(value).__name__} {self.said(value.__wrapped__)}"
        if isinstance(value, functools.cached_property):
            return self.said(value.func)
        if isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_meta:
            plain = value.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
            kept = _digest(plain.view(torch.uint8).numpy())
            return f"{value.dtype} {(*value.shape,)} {value.requires_grad} {kept}"
        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            kept = _digest(np.ascontiguousarray(value).reshape(-1).view(np.uint8))
            return f"{value.dtype} {value.shape} {kept}"
        return self._copied(value)

    def _copied(self, value: Any) -> str:
        """Any other value by what copies of it are made from; one that cannot be copied by its type."""
        try:
            how = value.__reduce_ex__(4)
        except ANY_ERROR:  # such as of a lock, a file, a generator
            return self.said(type(value))
        if isinstance(how, str):
            return f"{type(value).__name__} {how}"
        return self.said([*how[:3], *(list(items) for items in how[3:5] if items is not None)])

    def _named(self, value: "types.FunctionType | type") -> str:
        """A function or class by name; its code becomes a text where it is of the user's own."""
        name = value.__qualname__  # without the module: a script's may be imported later
        if value.__module__ not in self._here:
            return f"{value.__module__}:{name} {module_fingerprint(value.__module__)}"
        words = self._class(value) if isinstance(value, type) else self._function(value)
        self.texts.add(f"{name} {words}")
        return name

    def _class(self, value: type) -> str:
        """By its parts: Python does not find the source of a notebook's class as a whole."""
        parts = [f"class of {', '.join(map(self.said, value.__bases__))}"]
        for name, part in vars(value).items():
            part = getattr(part, "__func__", part)
            if isinstance(part, types.FunctionType):
                parts.append(f"{name} = {self._function(part)}")
            elif not name.startswith(("__", "_abc_")):
                parts.append(f"{name} = {self.said(part)}")
        return "\n".join(parts)

    def _function(self, value: types.FunctionType) -> str:
        """By its source; one that was made without, as a dataclass's methods, by what Python executes."""
        try:
            code = _source(value)
        except ValueError:
            code = f"{value.__code__.co_code.hex()} {value.__code__.co_names}"
        around = (f"{name} = {self.said(referred)}" for name, referred in _around(value))
        return "\n".join([code, self.said((value.__defaults__, value.__kwdefaults__)), *around])


def _short(text: str) -> str:
    return text if len(text) <= _LONG else _digest(text.encode("utf-8", "surrogatepass"))


def _digest(values: Any) -> str:
    return blake2b(values).hexdigest()


def _around(own: types.FunctionType) -> Iterator[tuple[str, object]]:
    """What a function refers to of its module, of the functions around it and of what it imports itself."""
    for name, cell in zip(own.__code__.co_freevars, own.__closure__ or (), strict=True):
        if name != "__class__":  # of ``super()``: the class that the function is read with
            yield name, _value(cell)
    for name in sorted(_globals(own.__code__) & own.__globals__.keys()):
        yield name, own.__globals__[name]
    for name in sorted(_imports(own.__code__)):
        with suppress(Exception):  # no module, or one whose import fails: the function will say so
            yield name, importlib.import_module(name)


def _value(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not yet
        return None


def _within(code: types.CodeType) -> Iterator[types.CodeType]:
    """The code of a function, and of all that is defined in it."""
    yield code
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from _within(const)


def _globals(code: types.CodeType) -> set[str]:
    loads = ("LOAD_GLOBAL", "LOAD_NAME")
    return {
        each.argval for part in _within(code) for each in dis.get_instructions(part) if each.opname in loads
    }


def _imports(code: types.CodeType) -> set[str]:
    """Modules, or what may be modules of a package of the user's own."""
    names: set[str] = set()
    for part in _within(code):
        package = ""
        for each in dis.get_instructions(part):
            if each.opname == "IMPORT_NAME":
                package = each.argval
                names.add(package)
            elif each.opname == "IMPORT_FROM" and package.partition(".")[0] not in _INSTALLED:
                names.add(f"{package}.{each.argval}")
    return names


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
        code = ast.unparse(ast.parse(text))
    except SyntaxError:  # a lambda within a line
        code = text
    if text.count("lambda") > 1 and own.__name__ == "<lambda>":  # which of them
        code += f" {min(place[2] for place in own.__code__.co_positions() if place[2])}"
    return code
