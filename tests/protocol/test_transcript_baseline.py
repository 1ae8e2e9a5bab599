"""The bytes of a session are what they were in the last release, and their sizes say nothing about the data."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from transcripts import generate


@pytest.mark.parametrize("name", generate.SCENARIOS)
def test_sessions_are_byte_for_byte_the_recorded_ones(name):
    before, now = generate.recorded(name), generate.finished(name)
    assert not generate.explain(before, now), "scripts/transcripts --check explains, scripts/transcripts accepts"
    assert before == now


def test_every_recording_belongs_to_a_scenario():
    assert {path.stem for path in generate.FOLDER.glob("*.json")} == set(generate.SCENARIOS)


SCALES = {"zeros": 0.0, "tiny": 1e-30, "huge": 1e30, "other values": None}


@pytest.mark.parametrize("name", generate.SCENARIOS)
@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
def test_the_sequence_of_messages_and_their_sizes_do_not_depend_on_the_data(name, scale):
    recorded = generate.recorded(name)["messages"]
    case = generate.SCENARIOS[name]
    other = replace(case, data="other data") if scale is None else replace(case, scale=scale)
    pair = other.finished()
    pair.assert_done()
    described = generate.describe(pair)["messages"]
    for frame in (*recorded, *described):
        del frame["sha256"]
    assert described == recorded


@pytest.fixture
def baseline():
    return generate.recorded("training_toy")


def changed(baseline, change):
    other = copy.deepcopy(baseline)
    other["transcript"] = "f" * 64
    change(other["messages"])
    return other


DIFFERENCES = {
    "another length": (
        lambda messages: messages[2].update(bytes=1, sha256="0" * 64),
        ["message 3, KeyChunk to the provider, had 3345 bytes and has 1", "the transcript was"],
    ),
    "a missing message": (
        lambda messages: messages.pop(),
        [
            "message 10 was Confirm to the client and is not there: the sequence of messages is another",
            "the transcript",
        ],
    ),
    "another type": (
        lambda messages: messages[0].update(message="InferenceHello"),
        ["message 1 was TrainingHello to the provider and is InferenceHello to the provider", "the transcript"],
    ),
    "other bytes": (
        lambda messages: [message.update(sha256="0" * 64) for message in messages[4:]],
        [
            "message 5, RowBatch to the provider, holds other bytes of the same length",
            "so do 5 of the 5",
            "the transcript",
        ],
    ),
}


@pytest.mark.parametrize(("change", "sentences"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_a_difference_is_explained(baseline, change, sentences):
    found = generate.explain(baseline, changed(baseline, change))
    assert len(found) == len(sentences)
    for sentence, begin in zip(found, sentences, strict=True):
        assert sentence.startswith(begin)


def test_nothing_is_said_of_what_did_not_change(baseline):
    assert generate.explain(baseline, copy.deepcopy(baseline)) == []
