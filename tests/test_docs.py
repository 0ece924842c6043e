"""Links, commands and code of the pages that a reader meets."""

import importlib.util
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis import report
from orchestrator import export, status, sweep
from orchestrator.config import Options, Sweep
from orchestrator.storage.store import Store

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS]
EXECUTED_ELSEWHERE = {"own-network.md", "extending.md", "take-away.md"}
EXTERNAL = {"tensorboard", "pip", "ray"}
"""Programs of others, which the pages may start."""


def blocks(page: Path, *languages: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```(?:{'|'.join(languages)})\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def prose(page: Path) -> str:
    """The page without its blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """What links to the page's headings are called."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# Links


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", prose(page)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name) if name else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_the_readme_lists_every_page_once() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"\]\((docs/[^)#]+)\)", text.split("## Where to read on")[1])
    assert Counter(listed) == Counter(f"docs/{page.name}" for page in DOCS)


# Commands


def commands() -> Iterator[tuple[str, str]]:
    """Every command of a page, in a block or a line, by the page's name."""
    for page in PAGES:
        for block in blocks(page, "sh", "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                yield page.name, line
        for code in re.findall(r"`([^`\n]+)`", prose(page)):
            if re.match(r"(\.venv/bin/)?python -m |make ", code):
                yield page.name, code


def understood(words: list[str]) -> bool:
    """Whether the program that these words start takes the others; no program does anything."""
    program, *arguments = words
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        return {word for word in arguments if "=" not in word} <= set(targets)
    if Path(program).name in EXTERNAL:  # which may start one of ours, such as ray exec
        return all(understood(shlex.split(word)) for word in arguments if word.startswith("python "))
    if Path(program).name != "python" or arguments[0] != "-m":
        return False
    _, module, *options = arguments
    if module == "orchestrator.sweep":
        try:
            sweep.parse(options)
        except SystemExit as exit_:
            return exit_.code == 0  # --help
        return True
    if module in ("orchestrator.status", "orchestrator.export", "analysis.report"):
        # The folder is none yet: refused, but only after the options have been understood.
        mains = {"orchestrator.status": status, "orchestrator.export": export, "analysis.report": report}
        return mains[module].main(options) == 2
    if module == "pytest":
        return all((ROOT / path).exists() for path in options)
    specification = importlib.util.find_spec(module)
    if specification is not None and specification.submodule_search_locations is not None:
        specification = importlib.util.find_spec(f"{module}.__main__")
    if specification is None or specification.origin is None:
        return False
    source = Path(specification.origin).read_text(encoding="utf-8")
    return all(word in source for word in options if re.match(r"--|[a-z]+$", word))


@pytest.mark.parametrize(("page", "line"), list(commands()))
def test_every_command_is_understood(
    page: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line, comments=True)
    if words[0] == "until":  # a loop of the shell around a command
        words = words[1 : next(i for i, word in enumerate(words) if word.endswith(";")) + 1]
        words[-1] = words[-1].rstrip(";")
    assert understood(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_that_is_named_exists(page: Path) -> None:
    fields = {
        *Sweep.__dataclass_fields__,
        *Options.__dataclass_fields__,
        "preset",
        "help",
        "watch",
        "head",
        "epoch",
    }
    known = {f"--{field.replace('_', '-')}" for field in fields}
    named = {
        word
        for code in re.findall(r"`([^`\n]+)`", prose(page))
        if not code.startswith("python -m benchmarks")
        for word in re.findall(r"(?<![\w-])--[a-z0-9-]+", code)
    }
    assert named <= known


# Code


@pytest.mark.parametrize(
    ("page", "code"),
    [
        pytest.param(page, code, id=f"{page.name}-{index}")
        for page in PAGES
        if page.name not in EXECUTED_ELSEWHERE
        for index, code in enumerate(blocks(page, "python"))
    ],
)
def test_python_code_runs(page: Path, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Store("results/quickstart")
    exec(code, {"__name__": page.name})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_of_a_known_kind(page: Path) -> None:
    kinds = set(re.findall(r"^ *```(\w+)$", page.read_text(encoding="utf-8"), re.MULTILINE))
    assert kinds <= {"python", "sh", "bash", "diff"}
