"""The bytes of a session are what they were in the last release, and their sizes say nothing about the data."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from transcripts import generate


@pytest.mark.parametrize("name", generate.SCENARIOS)
def test_sessions_are_byte_for_byte_the_recorded_ones(name):
    recorded = json.loads((generate.FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    pair = generate.SCENARIOS[name].finished()
    pair.assert_done()
    assert generate.describe(pair) == recorded


def test_every_recording_belongs_to_a_scenario():
    assert {path.stem for path in generate.FOLDER.glob("*.json")} == set(generate.SCENARIOS)


SCALES = {"zeros": 0.0, "tiny": 1e-30, "huge": 1e30, "other values": None}


@pytest.mark.parametrize("name", generate.SCENARIOS)
@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
def test_the_sequence_of_messages_and_their_sizes_do_not_depend_on_the_data(name, scale):
    recorded = json.loads((generate.FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    case = generate.SCENARIOS[name]
    other = replace(case, data="other data") if scale is None else replace(case, scale=scale)
    pair = other.finished()
    pair.assert_done()
    described = generate.describe(pair)
    for frame in recorded + described:
        del frame["sha256"]
    assert described == recorded
