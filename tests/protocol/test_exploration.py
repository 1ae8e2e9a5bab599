"""Both endpoints, every state, every accident: nothing is said in two ways, nothing gets stuck, every end is right."""

from __future__ import annotations

import numpy as np
import pytest
from support.durable import DurableInference, DurableTraining
from support.exploring import Violation, World, explore
from support.journal import MemoryJournal
from support.pair import LABELS, InferenceCase, TrainingCase

from securealign.he import plaintext
from securealign.limits import Limits
from securealign.protocol.inference.slots import SlotAllocator
from securealign.protocol.inference.under_way import UnderWay
from securealign.protocol.policy.rank import rank_charge
from securealign.protocol.policy.rules import Policy
from securealign.protocol.resume.session import ResumableProvider

#: Few rows in flight and a record for every other one, so that a short session has all that a long one has.
LIMITS = Limits(rows_between_records=2, messages_between_receipts=2, upload_window=2)
ROWS, DIMENSION, QUERIES = 4, 1, 3


@pytest.fixture(autouse=True)
def one_row_each(monkeypatch):
    from securealign.protocol.training import client

    monkeypatch.setattr(client, "MAX_CHUNK_BYTES", (DIMENSION + 1) * 8)


def training_result(session):
    if not np.array_equal(session.product(), session.case.product):
        return "The product is wrong."
    charged = sum(session.charged.values())
    return "" if charged == rank_charge(DIMENSION + 1, ROWS) else f"{charged} was charged."


def inference_result(session):
    expected = session.case.queries(QUERIES) @ session.case.head.weight + session.case.head.bias
    if not np.allclose(session.answers(), expected):
        return "The logits are wrong."
    charged = session.charged["peer/queries"]
    return "" if charged == QUERIES else f"{charged} queries were charged."


def training(accidents, tampering=0):
    case = TrainingCase(rows=ROWS, client_dim=DIMENSION, policy=Policy(allow_unencrypted=True, max_rank_fraction=4.0))
    session = DurableTraining(case=case, limits=LIMITS, charging=True)
    return World(session, training_result, accidents, tampering)


def inference(accidents, tampering=0, slots=2):
    session = DurableInference(case=InferenceCase(slots=slots), limits=LIMITS, charging=True, queries=QUERIES)
    return World(session, inference_result, accidents, tampering)


def labels_result(session):
    if not np.array_equal(session.answers(), session.case.labelled(session.case.queries(QUERIES))):
        return "The labels are wrong."
    charged = session.charged["peer/bits"]
    return "" if charged == QUERIES else f"{charged} bits were charged."


def labels(accidents, tampering=0, slots=2):
    case = InferenceCase(slots=slots, policy=LABELS)
    session = DurableInference(case=case, limits=LIMITS, charging=True, queries=QUERIES)
    return World(session, labels_result, accidents, tampering)


WORLDS = {"training": training, "inference": inference, "labels": labels}


# `accidents` happen on one path, and the search must not visit fewer than `least` states.
@pytest.mark.parametrize(
    ("name", "accidents", "least"),
    [
        pytest.param("inference", 1, 1_000, marks=pytest.mark.thorough),
        pytest.param("training", 2, 10_000, marks=pytest.mark.thorough),
        pytest.param("inference", 2, 5_000, marks=pytest.mark.thorough),
        pytest.param("labels", 1, 1_000, marks=pytest.mark.thorough),
    ],
)
def test_no_accident_makes_a_party_say_two_things_or_get_stuck(name, accidents, least):
    explored = explore(lambda: WORLDS[name](accidents))
    assert explored.states >= least
    assert not explored.reasons


@pytest.mark.parametrize(
    "name", ["training", *(pytest.param(name, marks=pytest.mark.thorough) for name in ("inference", "labels"))]
)
def test_frames_lost_repeated_or_swapped_never_lead_to_a_wrong_end(name):
    explored = explore(lambda: WORLDS[name](0, tampering=1), may_abort=True)
    assert explored.states >= 100
    codes = {"UNEXPECTED_MESSAGE", "SEQUENCE_BROKEN", "SLOT_REUSED", "TRANSCRIPT_MISMATCH", "CIPHERTEXT_MALFORMED"}
    assert explored.reasons <= codes
    assert explored.reasons


# The controls: what the search finds once a protection is gone.


@pytest.mark.parametrize("name", WORLDS)
def test_the_search_finds_what_is_recorded_too_late(name, monkeypatch):
    record = MemoryJournal.record

    def one_behind(journal, *update):
        # Kept on the journal, so that it is part of the state that the search compares, and goes when the journal does.
        before, journal.late = getattr(journal, "late", None), update
        if before is not None:
            record(journal, *before)

    monkeypatch.setattr(MemoryJournal, "record", one_behind)
    # A snapshot may also lack what its state needs.
    with pytest.raises((Violation, KeyError)):
        explore(lambda: WORLDS[name](1))


@pytest.mark.thorough
def test_the_search_finds_acknowledgements_that_are_made_twice(monkeypatch):
    resume = ResumableProvider.resume

    def without_repeats(endpoint, received):
        yield from resume(endpoint, min(received, endpoint.machine.sent))

    monkeypatch.setattr(ResumableProvider, "resume", without_repeats)
    with pytest.raises(Violation):
        explore(lambda: training(1))


def test_the_search_finds_a_pool_whose_rest_a_restarted_client_does_not_take(monkeypatch):
    expects = UnderWay.expects
    monkeypatch.setattr(UnderWay, "expects", lambda pool, message: pool.arriving is not None and expects(pool, message))
    with pytest.raises(Violation, match="SEQUENCE_BROKEN"):
        explore(lambda: labels(1))


@pytest.mark.thorough
def test_the_search_finds_tables_that_a_restarted_provider_does_not_know(monkeypatch):
    monkeypatch.setattr(plaintext._HeadProvider, "checkpoint", lambda party, pool: b"")
    with pytest.raises(Violation, match="INTERNAL"):
        explore(lambda: labels(1))


def test_the_search_finds_a_slot_that_is_used_twice(monkeypatch):
    take = SlotAllocator.take

    def from_the_start(allocator, count, batch):
        allocator._next = 0
        return take(allocator, count, batch)

    monkeypatch.setattr(SlotAllocator, "take", from_the_start)
    with pytest.raises(Violation, match="Two messages left as slot"):
        explore(lambda: inference(0, slots=4))
