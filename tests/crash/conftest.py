"""Which of the long tests run."""

import os

import pytest


def pytest_collection_modifyitems(config, items):
    """What is marked `long` runs where LONG=1 is set (`make test-faults`)."""
    if os.environ.get("LONG") == "1":
        return
    kept = [item for item in items if "long" not in item.keywords]
    left = [item for item in items if "long" in item.keywords]
    config.hook.pytest_deselected(items=left)
    items[:] = kept


def pytest_generate_tests(metafunc):
    """`queue`: on, as enrichment's role has it; where it makes a difference (`both`), and LONG=1, also off."""
    if "queue" in metafunc.fixturenames:
        both = os.environ.get("LONG") == "1" and metafunc.definition.get_closest_marker("both")
        ways = [True, False] if both else [True]
        metafunc.parametrize("queue", ways, ids=["queue" if way else "memory" for way in ways])
