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
    """`queue`: with the queue on enrichment's disk, as the role has it, and (LONG=1) without."""
    if "queue" in metafunc.fixturenames:
        ways = [True, False] if os.environ.get("LONG") == "1" else [True]
        metafunc.parametrize("queue", ways, ids=["queue" if way else "memory" for way in ways])
