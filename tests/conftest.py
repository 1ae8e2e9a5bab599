"""No drawn example has a deadline: a busy machine is not a failure. Most thorough tests are run without the tracer."""

import math

import pytest
from hypothesis import HealthCheck, settings

from securealign import commands

settings.register_profile("securealign", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("securealign")


@pytest.fixture
def no_progress_lines(monkeypatch):
    """Have commands print no line of progress, however long they take on a busy machine."""
    monkeypatch.setattr(commands, "_LINE_SECONDS", math.inf)


#: The folder whose thorough tests count for the coverage of everything: the quick tier has a part of the lab alone.
MEASURED = "experiments"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Take thorough tests out of what coverage measures: they reach the same lines again, thousands of times."""
    for item in items:
        if item.get_closest_marker("thorough") and MEASURED not in item.path.parts:
            item.add_marker("no_cover")
