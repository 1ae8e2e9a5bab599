"""A hundred thousand inputs: no machine, codec or wire format does worse with any of them than raise a typed error."""

from __future__ import annotations

import tracemalloc

import pytest
from suites.test_lwe_hostile import exchange
from support.durable import FixedRoot
from support.mutation import Mutator
from support.targets import PHASES, Target, decoding, machines, tolerated
from support.toy import TOY

from securealign.limits import MEBIBYTE
from securealign.storage.sealing import Sealer

SIDES = ("client", "provider")
BLOBS = tuple(exchange(TOY).blobs)
#: Inputs of each target; all of them together are a hundred thousand.
DECODED, HANDLED, BLOB, SEALED = 15_000, 3_500, 1_500, 1_500
#: What handling one input may allocate at most, beyond what is there.
MEMORY = 64 * MEBIBYTE


def test_these_are_a_hundred_thousand():
    assert len(PHASES) * (DECODED + len(SIDES) * HANDLED) + len(BLOBS) * BLOB + SEALED == 100_000


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
def test_frames_are_decoded_or_refused(phase):
    taken = pour(decoding(phase), 1, DECODED)
    # Otherwise the inputs were too wild to reach what is behind the first check.
    assert 0.02 * DECODED < taken < DECODED


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("phase", PHASES)
def test_machines_go_on_or_abort(phase, side):
    assert pour(machines(phase, side), 2, HANDLED) == HANDLED


@pytest.mark.parametrize("name", BLOBS)
def test_blobs_of_lwe_are_taken_or_refused(name):
    data, receive = exchange(TOY).blobs[name]
    assert pour(Target(receive, [data]), 3, BLOB) < BLOB


def test_sealed_records_are_opened_or_refused():
    sealer = Sealer(FixedRoot())
    sealed = sealer.seal(b"a record", "1/fields")
    taken = pour(Target(lambda data: sealer.open(data, "1/fields"), [sealed]), 4, SEALED)
    assert taken < 0.1 * SEALED
