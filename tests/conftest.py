"""What holds for all tests: drawn examples, what coverage measures, and when memory is searched for garbage."""

import gc
import math

import pytest
from hypothesis import HealthCheck, settings

from securealign import commands

# No drawn example has a deadline: a busy machine is not a failure. `scripts/test` asks for the profile "quick".
settings.register_profile("securealign", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("securealign"), max_examples=25, stateful_step_count=20)
settings.load_profile("securealign")

#: The folder whose thorough tests count for the coverage of everything: the quick tier has a part of the lab alone.
MEASURED = "unit"

# Modules live as long as the process. To search them for garbage while they are imported, and again in every test,
# takes a tenth of the time of a run.
gc.disable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests, and take thorough ones out of what coverage measures: they reach the same lines many times."""
    for item in items:
        if item.get_closest_marker("thorough") and MEASURED not in item.path.parts:
            item.add_marker("no_cover")
    # The longest come first, so that no worker is left alone with them at the end.
    items.sort(key=lambda item: "test_exploration" not in item.nodeid)


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


@pytest.fixture
def no_progress_lines(monkeypatch):
    """Have commands print no line of progress, however long they take on a busy machine."""
    monkeypatch.setattr(commands, "_LINE_SECONDS", math.inf)
