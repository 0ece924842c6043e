"""A key of the code of a user's own network and task, so that a store never mixes two versions of it."""

import ast
import sys
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

from models.imported import MARK

_PROJECT = Path(__file__).parents[1]
_VERSIONED = ("models", "orchestrator", "analysis")


def fingerprint(*names: str) -> str:
    """A key of the code behind each ``path.to.module:name``, once it is imported.

    Of the module's code, and of what it imports from the folder that it was found in. Comments, blank lines
    and docstrings have no part in it. "" where all is this project's own, or without a source file.
    """
    sources: dict[str, Path] = {}
    for name in names:
        module, colon, attribute = name.partition(":")
        if colon and MARK not in attribute:  # a name with a mark has a key of its own
            _begin(module, sources)
    return _digest(sources)


def module_fingerprint(module: str) -> str:
    """The same of a whole module that something refers to; "" of Python's own and of installed packages."""
    file = _file(module)
    if file is None or module.partition(".")[0] in sys.stdlib_module_names:
        return ""
    if {"site-packages", "dist-packages"} & {*file.parts}:
        return ""
    sources: dict[str, Path] = {}
    _begin(module, sources)
    return _digest(sources)


def _digest(sources: dict[str, Path]) -> str:
    if not sources:
        return ""
    digest = blake2b(digest_size=8)
    for name, source in sorted(sources.items()):
        digest.update(f"{name}\n{_code(source)}\n".encode())
    return digest.hexdigest()


def _begin(module: str, sources: dict[str, Path]) -> None:
    """Add the source of a module, and of all that it imports from the folder that it was found in."""
    file = _file(module)
    if file is not None:
        _collect(module, file.parents[module.count(".")], module.partition(".")[0], sources)


def _is_versioned(file: Path) -> bool:
    """Whether a file is this project's own, which its version says."""
    return file.is_relative_to(_PROJECT) and file.relative_to(_PROJECT).parts[0] in _VERSIONED


def _collect(name: str, folder: Path, package: str, sources: dict[str, Path]) -> None:
    """Add the source of a module, and of all that it imports of the user's own."""
    file = _file(name)
    if file is None or name in sources or not file.is_relative_to(folder):
        return
    if "site-packages" in file.relative_to(folder).parts:  # of an environment beside the user's files
        return
    if "site-packages" in folder.parts and name.partition(".")[0] != package:
        return
    if _is_versioned(file):
        return
    sources[name] = file
    within = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for imported in _imports(ast.parse(file.read_bytes()), within):
        _collect(imported, folder, package, sources)


def _file(module: str) -> Path | None:
    """The source file of a module that has been imported."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return Path(file).resolve() if file is not None and file.endswith(".py") else None


def _imports(tree: ast.Module, package: str) -> Iterator[str]:
    """Names of what may be a module among what is imported, from within a package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = parts[: len(parts) + 1 - node.level] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def _code(file: Path) -> str:
    """The code of a file in one way of writing it, without docstrings."""
    tree = ast.parse(file.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
