"""docs/protocol.md shows the tables, limits and errors of this release."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from securealign.limits import Limits
from securealign.protocol import messages as m
from securealign.protocol import states
from securealign.protocol.states import Direction, State

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(ROOT / "scripts" / "state-diagrams"))


@pytest.fixture(scope="module")
def document():
    return (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")


def test_the_generated_parts_are_current(script, document):
    assert script["updated"](document) == document, "run scripts/state-diagrams"


def test_a_part_that_is_missing_is_named(script, document):
    with pytest.raises(ValueError, match="'limits'"):
        script["updated"](document.replace("<!-- begin generated: limits -->", ""))


def test_a_diagram_holds_every_transition(script):
    text = script["diagram"](states.TRAINING_CLIENT)
    assert "    [*] --> START\n    START --> GREETED: send TrainingHello\n" in text
    assert "    KEY --> KEY: send KeyChunk<br/>receive UploadAck\n" in text
    table = {State.START: {(Direction.SEND, m.Finish): State.DONE}}
    assert script["diagram"](table).splitlines()[3:] == [
        "    [*] --> START",
        "    START --> DONE: send Finish",
        "    DONE --> [*]",
        "```",
    ]


def test_every_limit_is_listed_with_its_reason(script):
    rows = script["limit_table"]().splitlines()[2:]
    assert len(rows) == 2 + len(Limits.__dataclass_fields__)
    assert all(len(row.split("|")[3]) > 10 for row in rows)


def test_every_message_is_described(document):
    for table in (states.TRAINING_CLIENT, states.INFERENCE_CLIENT):
        for _, kind in (event for events in table.values() for event in events):
            assert f"| `{kind.__name__}`" in document
