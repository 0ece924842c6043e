"""Imports run one way: analysis and models know nothing of each other or of Ray, and nobody a command."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("models", "orchestrator", "analysis")


def imports(tree: ast.AST) -> Iterator[str]:
    """Full names of what is imported, wherever in the file, but not for type checkers alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from imports(node)


FILES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for package in PACKAGES
    for file in (ROOT / package).rglob("*.py")
}
IMPORTED = {
    module: set(imports(ast.parse(file.read_text(encoding="utf-8")))) for module, file in FILES.items()
}


def own(module: str) -> set[str]:
    """The modules of this project that a module imports."""
    return {
        name if name in FILES else parent
        for name in IMPORTED[module]
        if name in FILES or (parent := name.rpartition(".")[0]) in FILES
    }


@pytest.mark.parametrize(
    ("package", "never"),
    [
        ("models", {"ray", "orchestrator", "analysis", "pandas", "tyro"}),
        ("analysis", {"ray", "torch", "orchestrator", "models"}),
        ("orchestrator", {"benchmarks", "tests"}),
    ],
)
def test_a_package_never_imports(package: str, never: set[str]) -> None:
    for module in FILES:
        if module.partition(".")[0] == package:
            assert not {name.partition(".")[0] for name in IMPORTED[module]} & never, module


def test_nothing_imports_a_command() -> None:
    for module in FILES:
        assert not own(module) & {"orchestrator.sweep", "orchestrator.status", "orchestrator.export"}, module


def test_no_module_imports_itself_by_a_detour() -> None:
    modules = {module: own(module) for module, file in FILES.items() if file.name != "__init__.py"}
    TopologicalSorter(modules).prepare()  # raises CycleError


@pytest.mark.parametrize(
    ("module", "never"),
    [
        ("analysis", {"ray", "torch"}),
        ("models", {"ray"}),
        ("orchestrator.status", {"ray", "torch"}),
        ("orchestrator.export", {"ray"}),
    ],
)
def test_what_can_be_used_alone_loads_alone(module: str, never: set[str]) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert not never & set(loaded.stdout.split())
