"""No drawn example has a deadline: a busy machine is not a failure."""

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
