"""securealign replay: recordings that hold up, and everything that gives one away that does not."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from support.pair import TOY_LWE
from typer.testing import CliRunner

from securealign.api import align_in_process, classify_in_process
from securealign.cli import app
from securealign.errors import ErrorCode, ExitCode, InputError
from securealign.harness.bench.inputs import synthetic_embeddings, synthetic_head
from securealign.harness.runs.checking import check_run
from securealign.harness.runs.reading import read_run
from securealign.harness.runs.simulated import record_sessions
from securealign.harness.simulation import Conditions, built_in_networks

#: Made-up embeddings that share no texts, or too little to tell.
pytestmark = pytest.mark.filterwarnings("ignore:The public embeddings may not belong together")

CONDITIONS = [
    None,
    *(Conditions(network=network) for network in built_in_networks().values()),
    Conditions(network=built_in_networks()["mobile"], provider_factor=0, client_factor=0, seed=3),
]


@pytest.fixture(scope="module")
def sessions():
    z_a, z_b = synthetic_embeddings(60, 8, 5)
    training = align_in_process(z_a, z_b, suite=TOY_LWE, ridge="auto")
    inference = classify_in_process(*synthetic_head(8, 3), np.zeros((9, 8)), suite=TOY_LWE, pool_slots=4, batch=2)
    return training.session, inference.session


@pytest.fixture
def file(tmp_path, sessions):
    path = tmp_path / "run.jsonl"
    record_sessions(path, sessions, CONDITIONS[1], command="simulate")
    return path


@pytest.mark.parametrize("conditions", CONDITIONS, ids=lambda value: value and f"{value.network.name}")
def test_every_recorded_run_holds_up(tmp_path, sessions, conditions):
    path = tmp_path / "run.jsonl"
    record_sessions(path, sessions, conditions, command="simulate")
    training, inference = check_run(read_run(path))
    assert training.startswith("session 0, training: ")
    assert "transcript" in training
    assert "confirmed by both" in inference


def alter(path, change: Callable[[list[dict]], object]) -> None:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    change(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def messages(lines: list[dict], kind: str) -> list[dict]:
    return [line for line in lines if line["event"] == "message" and line["type"] == kind]


def other_digest(line: dict) -> None:
    line["sha256"] = line["sha256"][::-1]


def swap_digests(lines: list[dict]) -> None:
    first, second = messages(lines, "Query")[:2]
    first["sha256"], second["sha256"] = second["sha256"], first["sha256"]


def drop(kind: str) -> Callable[[list[dict]], object]:
    return lambda lines: lines.remove(messages(lines, kind)[0])


def move(kind: str, to: float) -> Callable[[list[dict]], object]:
    return lambda lines: messages(lines, kind)[0].update(sent=to, received=to)


def forget_time(lines: list[dict]) -> None:
    messages(lines, "Query")[0]["received"] = None


ALTERATIONS = {
    "a digest": (lambda lines: other_digest(messages(lines, "RowBatch")[0]), "session 0: the digests"),
    "two digests of one direction swapped": (swap_digests, "session 1: the digests"),
    "a confirmation": (
        lambda lines: other_digest(messages(lines, "Confirm")[0]),
        "session 0: what the parties confirmed",
    ),
    "the transcript": (
        lambda lines: [line.update(transcript="0" * 64) for line in lines if line["event"] == "end"],
        "session 0: the digests",
    ),
    "a size": (lambda lines: messages(lines, "RowBatch")[0].update(bytes=1), "RowBatch up"),
    "a message that is missing": (drop("Answer"), "Answer down"),
    "a message too early": (move("Finish", 0.0), "cannot send Finish"),
    "a message of no protocol": (
        lambda lines: [
            line.update(type="Gossip")
            for line in (*messages(lines, "Finish"), *lines[-1:])
            if line.get("type") == "Finish"
        ],
        "Finish up",
    ),
    "a time that is not known": (forget_time, "lacks the time"),
}


@pytest.mark.parametrize(("change", "found"), ALTERATIONS.values(), ids=ALTERATIONS)
def test_an_altered_recording_is_found(file, change, found):
    check_run(read_run(file))
    alter(file, change)
    with pytest.raises(InputError, match=found) as caught:
        check_run(read_run(file))
    assert caught.value.code is ErrorCode.FILE_INVALID
    assert "record the run again" in caught.value.hint


def test_a_session_that_stops_short_is_found(file):
    """Its figures are altered along, so that only the protocol tells."""

    def cut(lines):
        for line in messages(lines, "Confirm")[1:2]:
            lines.remove(line)
        for line in lines:
            if line["event"] == "end" and line["session"] == 0:
                line["stats"]["messages"] = [
                    row for row in line["stats"]["messages"] if (row["type"], row["direction"]) != ("Confirm", "down")
                ]

    alter(file, cut)
    with pytest.raises(InputError, match="leave the client in state 'confirming'"):
        check_run(read_run(file))


def test_a_failed_session_is_held_to_its_totals_alone(file):
    def fail(lines):
        for line in lines:
            if line["event"] == "end":
                line.update(error="LIMIT_EXCEEDED", state="aborted", transcript=None)

    alter(file, fail)
    assert "ended as LIMIT_EXCEEDED, totals agree" in check_run(read_run(file))[0]


def test_a_session_that_began_elsewhere_is_held_to_its_totals_alone(file):
    def begin_later(lines):
        (hello,) = messages(lines, "TrainingHello")
        lines.remove(hello)
        for line in lines:
            if line["event"] == "end":
                line["stats"]["messages"] = [row for row in line["stats"]["messages"] if row["type"] != "TrainingHello"]

    alter(file, begin_later)
    assert "begun before this recording" in check_run(read_run(file))[0]


def test_one_side_of_a_session_is_held_to_its_own_table(file):
    def one_sided(lines):
        lines[0]["side"] = "client"
        for line in lines:
            if line["event"] == "message":
                line["received" if line["direction"] == "up" else "sent"] = None

    alter(file, one_sided)
    assert len(check_run(read_run(file))) == 2


def test_the_command_says_what_was_checked(file):
    done = CliRunner().invoke(app, ["replay", str(file)])
    assert done.exit_code == ExitCode.OK
    assert done.stdout.count("confirmed by both") == 2
    described = json.loads(CliRunner().invoke(app, ["replay", str(file), "--json"]).stdout)
    assert described["runs"][0]["file"] == str(file)
    assert len(described["runs"][0]["sessions"]) == 2


def test_the_command_fails_for_an_altered_recording(file):
    alter(file, lambda lines: other_digest(messages(lines, "Query")[0]))
    done = CliRunner().invoke(app, ["replay", str(file), "--json"])
    assert done.exit_code == ExitCode.INPUT
    assert json.loads(done.stdout)["error"] == "FILE_INVALID"
