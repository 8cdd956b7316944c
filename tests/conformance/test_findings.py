"""Every finding code that the configuration and the service use is explained."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_codes_are_explained():
    used = set()
    for part in ("config", "pipeline"):
        for file in (ROOT / "src" / "hawse" / part).rglob("*.py"):
            used |= set(re.findall(r'"(HW\d{3})"', file.read_text()))
    used |= set(re.findall(r'"(HW\d{3})"', (ROOT / "src/hawse/registry.py").read_text()))
    explained = set(re.findall(r"^\| (HW\d{3}) \|", (ROOT / "docs" / "configuration.md").read_text(), re.M))
    assert used == explained
