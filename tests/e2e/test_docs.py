"""The documentation: links lead somewhere, pages are found, and what it says of variables is so."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\((?!https?://)([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    broken = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert not broken


def test_every_page_is_in_the_index():
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link).resolve() for link in LINK.findall(index.read_text())}
    pages = {page for page in (ROOT / "docs").rglob("*.md") if page != index and "decisions" not in page.parts}
    assert pages <= linked


def test_the_quick_start_names_every_variable_of_the_roles():
    used = {
        name
        for role in (ROOT / "src" / "hawse" / "roles").glob("*.yaml")
        for name in re.findall(r"\$\{env:(\w+)", role.read_text())
    }
    told = set(re.findall(r"`(HAWSE_\w+)`", (ROOT / "docs" / "quickstart.md").read_text()))
    assert used == told - {"HAWSE_CONFIG", "HAWSE_DEBUG"}


def test_the_first_screen_of_the_readme_has_the_two_commands():
    first = (ROOT / "README.md").read_text().splitlines()[:12]
    assert any(line.startswith("make up ") for line in first)
    assert any(line.startswith("make test ") for line in first)
