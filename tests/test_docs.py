"""Links and code of the pages that a reader meets first."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert missing == []


def test_proposition_1_runs() -> None:
    text = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(code, {})


def test_every_option_in_a_command_exists() -> None:
    """Commands of the docs name only options that the command line has."""
    from orchestrator.config import Options, Sweep

    known = {f.replace("_", "-") for f in (*Sweep.__dataclass_fields__, *Options.__dataclass_fields__)}
    for page in PAGES:
        for command in re.findall(r"orchestrator\.sweep([^\n`#]*)", page.read_text(encoding="utf-8")):
            options = set(re.findall(r"--([a-z0-9-]+)", command))
            assert options <= known | {"preset", "help"}, (page.name, command)
