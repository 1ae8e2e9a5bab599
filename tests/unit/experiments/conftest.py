import pytest

from securealign.alignment import logistic


@pytest.fixture(autouse=True, scope="module")
def _few_penalties():
    """Let heads choose among few penalties: how they choose is tested on its own, and takes most of an experiment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logistic, "GRID", logistic.GRID[::4])
        yield
