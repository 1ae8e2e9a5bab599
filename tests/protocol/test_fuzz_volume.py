"""A hundred thousand inputs: no machine, codec or wire format does worse with any of them than raise a typed error.

The quick tier gives every target a hundredth of its inputs. All inputs are watched for memory that is written to, and
a tenth of them for memory that is allocated.
"""

from __future__ import annotations

import re
import tracemalloc
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import numpy as np
import pytest
from suites.test_lwe_hostile import exchange
from support.durable import FixedRoot
from support.mutation import Mutator
from support.targets import PHASES, Target, decoding, machines, tolerated
from support.toy import TOY

from securealign.limits import MEBIBYTE
from securealign.storage.folder import Sealer

SIDES = ("client", "provider")
BLOBS = tuple(exchange(TOY).blobs)
#: Inputs of each target; all of them together are a hundred thousand.
DECODED, HANDLED, BLOB, SEALED = 15_000, 3_500, 1_500, 1_500
#: What handling inputs may allocate at most, beyond what is there.
MEMORY = 64 * MEBIBYTE
#: Tracing takes twice the time of the inputs, so one of so many batches is traced, and the first one always.
BATCH, TRACED = 50, 10


def test_these_are_a_hundred_thousand():
    assert len(PHASES) * (DECODED + len(SIDES) * HANDLED) + len(BLOBS) * BLOB + SEALED == 100_000


@pytest.fixture(params=[100, pytest.param(1, marks=pytest.mark.thorough)], ids=["a hundredth", "all"])
def divisor(request) -> int:
    """By what the number of inputs is divided."""
    return request.param


def pour(target: Target, seed: int, count: int) -> int:
    """Give a target so many inputs; returns how many it took."""
    mutator = Mutator(seed, target.corpus)
    taken = 0
    before = resident(anew=True)
    for first in range(0, count, BATCH):
        inputs = [mutator.draw() for _ in range(min(BATCH, count - first))]
        with traced() if first % (BATCH * TRACED) == 0 else nullcontext():
            taken += sum(tolerated(target, data) for data in inputs)
    assert resident() - before < MEMORY
    return taken


@contextmanager
def traced():
    """Refuse a block that allocates too much, whether or not it writes there."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()


def resident(*, anew: bool = False) -> int:
    """Return the most bytes of memory that this process has written to; `anew` forgets what it has given back."""
    if anew:
        with suppress(OSError):  # not every sandbox has this file
            Path("/proc/self/clear_refs").write_text("5")
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024


@pytest.mark.parametrize("phase", PHASES)
def test_frames_are_decoded_or_refused(phase, divisor):
    count = DECODED // divisor
    taken = pour(decoding(phase), 1, count)
    # Otherwise the inputs were too wild to reach what is behind the first check.
    assert 0.02 * count < taken < count


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("phase", PHASES)
def test_machines_go_on_or_abort(phase, side, divisor):
    count = HANDLED // divisor
    assert pour(machines(phase, side), 2, count) == count


@pytest.mark.parametrize("name", BLOBS)
def test_blobs_of_lwe_are_taken_or_refused(name, divisor):
    data, receive = exchange(TOY).blobs[name]
    assert pour(Target(receive, [data]), 3, BLOB // divisor) < BLOB // divisor


def test_sealed_records_are_opened_or_refused(divisor):
    sealer = Sealer(FixedRoot())
    sealed = sealer.seal(b"a record", "1/fields")
    taken = pour(Target(lambda data: sealer.open(data, "1/fields"), [sealed]), 4, SEALED // divisor)
    assert taken < 0.1 * SEALED / divisor


@pytest.mark.parametrize("allocate", [np.ones, np.empty])
def test_an_input_that_takes_too_much_memory_is_noticed(allocate):
    """The control: one block that is written to, and one that is not."""
    with pytest.raises(AssertionError):
        pour(Target(lambda data: allocate(MEMORY, np.uint8) is None, [bytes(8)]), 5, 2)


def test_memory_that_is_written_to_is_noticed_without_the_tracer(monkeypatch):
    monkeypatch.setattr(tracemalloc, "get_traced_memory", lambda: (0, 0))
    with pytest.raises(AssertionError):
        pour(Target(lambda data: np.ones(2 * MEMORY, np.uint8) is None, [bytes(8)]), 5, 2)
