"""A hundred thousand inputs: no machine, codec or wire format does worse with any of them than raise a typed error.

The quick tier gives every target a hundredth of its inputs.
"""

from __future__ import annotations

import tracemalloc

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
#: What handling one input may allocate at most, beyond what is there.
MEMORY = 64 * MEBIBYTE


def test_these_are_a_hundred_thousand():
    assert len(PHASES) * (DECODED + len(SIDES) * HANDLED) + len(BLOBS) * BLOB + SEALED == 100_000


@pytest.fixture(params=[100, pytest.param(1, marks=pytest.mark.thorough)], ids=["a hundredth", "all"])
def divisor(request) -> int:
    """By what the number of inputs is divided."""
    return request.param


def pour(target: Target, seed: int, count: int) -> int:
    """Give a target so many inputs; returns how many it took."""
    mutator = Mutator(seed, target.corpus)
    tracemalloc.start()
    try:
        taken = sum(tolerated(target, mutator.draw()) for _ in range(count))
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()
    return taken


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
