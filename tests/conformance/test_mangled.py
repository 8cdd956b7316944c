"""Configurations mangled at random give findings, and never a traceback."""

import random
from pathlib import Path

import pytest

from hawse.config.load import load
from hawse.config.show import show
from hawse.pipeline.check import check
from hawse.registry import Registry

ROLES = [path.read_text() for path in sorted(Path(load.__code__.co_filename).parents[1].glob("roles/*.yaml"))]
PIECES = [
    "{", "}", "[", "]", ":", "- ", "\n", "null", "~", "5", "true", "&a ", "*a", "<<: ", "${env:X}", "${", "'", '"', "\t", "#",
    "é", "!!int ", "? ", "|\n", "  ", "name",
]  # fmt: skip


def mangle(text, chance):
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(text))
        kind = chance.random()
        if kind < 0.4:
            text = text[:at] + chance.choice(PIECES) + text[at:]
        elif kind < 0.7:
            text = text[:at] + text[at + chance.randint(1, 8) :]
        else:
            lines = text.split("\n")
            one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
            lines[one], lines[other] = lines[other], lines[one]
            text = "\n".join(lines)
    return text


@pytest.mark.parametrize("seed", range(4))
def test_mangled(seed):
    chance = random.Random(seed)
    wrong = 0
    for _ in range(60):
        checked = check([f"yaml:{mangle(chance.choice(ROLES), chance)}"], Registry, environ={})
        assert (checked.graph is None) == bool(checked.errors)
        assert all(str(finding) and finding.code.startswith("HW") for finding in checked.findings)
        show(checked.root, checked.configuration)
        show(checked.root, checked.configuration, defaults=True)
        wrong += bool(checked.errors)
    assert wrong > 20
