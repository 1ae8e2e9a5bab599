"""Writing run files: what is read back is what happened, without contents, and a failure leaves nothing."""

from __future__ import annotations

import base64
import json
import stat
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone

import numpy as np
import pytest
from support.entropy import SeededEntropy
from support.pair import PLAINTEXT, TOY_LWE, dyadic

from securealign import align_in_process, classify_in_process
from securealign.alignment.coordinates import Space
from securealign.errors import ErrorCode, InputError, PeerAborted, TransportError
from securealign.harness.runs.checking import check_run
from securealign.harness.runs.reading import read_run
from securealign.harness.runs.simulated import record_sessions
from securealign.harness.simulation import Conditions, Network, built_in_networks
from securealign.harness.simulation.replay import timeline_of
from securealign.protocol import messages as m
from securealign.protocol.context import Event
from securealign.protocol.machine import SessionMachine
from securealign.protocol.states import Direction, State
from securealign.recording import writing
from securealign.recording.measured import SessionRecorder
from securealign.recording.writing import RunFile, end_line, session_line
from securealign.transport.meter import Began, Connected, Meter, Passed, Spent
from securealign.transport.stats import FIGURES, RunStats

#: Made-up embeddings that share no texts, or too little to tell.
pytestmark = pytest.mark.filterwarnings("ignore:The public embeddings may not belong together")

SEND, RECEIVE = Direction.SEND, Direction.RECEIVE
STARTED = datetime(2026, 3, 4, 5, 6, 7, tzinfo=timezone.utc)
WAN = Conditions(network=built_in_networks()["wan"], seed=7, client_factor=2.0, provider_factor=0.5)
EITHER = pytest.mark.parametrize("conditions", [None, WAN], ids=["here", "over a network"])
RESULTS = {"label_agreement": 1.0, "queries": 7, "map": "exact"}


@pytest.fixture(scope="module")
def sessions():
    """A training and an inference session that ran in this process."""
    entropy = SeededEntropy(b"recording")
    training = align_in_process(dyadic("A", 60, 4), dyadic("B", 60, 5), suite=TOY_LWE, entropy=entropy)
    inference = classify_in_process(
        dyadic("weight", 4, 3),
        dyadic("bias", 1, 3)[0],
        dyadic("queries", 7, 4),
        suite=TOY_LWE,
        batch=3,
        entropy=entropy,
    )
    return training.session, inference.session


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs" / "run.jsonl"


def record(path, sessions, conditions=None, **options):
    record_sessions(path, sessions, conditions, command="test", **options)
    return read_run(path)


def left(path):
    """Return the names of all files in the folder of a run file."""
    return sorted(file.name for file in path.parent.iterdir()) if path.parent.exists() else []


class TestSessionsOfOneProcess:
    def test_the_run_is_described(self, path, sessions):
        run = record(path, sessions, WAN, started=STARTED, results=RESULTS)
        assert (run.about.command, run.about.side, run.about.clock) == ("test", "both", "simulated")
        assert run.about.started == "2026-03-04T05:06:07Z"
        assert run.about.network.model_dump() == WAN.network.model_dump()
        assert (run.about.seed, run.about.client_factor, run.about.provider_factor) == (7, 2.0, 0.5)
        assert run.results == RESULTS

    def test_without_a_network_times_are_measured(self, path, sessions):
        run = record(path, sessions)
        assert (run.about.clock, run.about.network, run.about.seed, run.about.started) == ("measured", None, None, None)
        assert (run.about.client_factor, run.about.provider_factor) == (1.0, 1.0)
        assert run.results == {}

    def test_sessions_are_described(self, path, sessions):
        run = record(path, sessions)
        assert [session.about.session for session in run.sessions] == [0, 1]
        for written, session in zip(run.sessions, sessions, strict=True):
            assert written.about.kind == session.kind
            assert written.about.suite == session.suite.name
            assert written.about.parameter_set == session.suite.parameter_set
            assert written.about.function_private == session.suite.function_private
            assert written.about.facts == session.facts
            assert written.end.transcript == session.transcript.hex()
            assert written.done

    @EITHER
    def test_figures_are_those_of_the_session(self, path, sessions, conditions):
        run = record(path, sessions, conditions)
        for written, session in zip(run.sessions, sessions, strict=True):
            stats = session.stats(conditions)
            assert written.stats.model_dump() == stats.as_dict()
            assert {name: getattr(written.stats, name) for name in FIGURES} == {
                name: getattr(stats, name) for name in FIGURES
            }
            assert [row.model_dump() for row in written.stats.messages] == [asdict(row) for row in stats.messages]

    @EITHER
    def test_events_are_those_of_the_timeline(self, path, sessions, conditions):
        (written,) = record(path, sessions[:1], conditions).sessions
        timeline = timeline_of(sessions[0], conditions)
        assert sorted((c.party, c.phase, c.t, c.seconds) for c in written.computes) == sorted(timeline.works)
        assert sorted((x.sent, x.received, x.direction, x.type, x.bytes, x.sha256) for x in written.messages) == sorted(
            (t.sent, t.received, "up" if t.up else "down", t.event.message.__name__, t.event.size, t.event.digest.hex())
            for t in timeline.travels
        )
        assert [(c.t, c.seconds) for c in written.connects] == ([timeline.connecting] if conditions else [])
        assert written.end.t == timeline.end

    @EITHER
    def test_events_are_in_the_order_of_their_times(self, path, sessions, conditions):
        record(path, sessions, conditions)
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        events = [line for line in lines if line["event"] in {"connect", "compute", "message"}]
        times = [event["sent"] if event["event"] == "message" else event["t"] for event in events]
        assert times == sorted(times)
        assert [line["event"] for line in (lines[0], lines[1], lines[-2], lines[-1])] == [
            *("run", "session", "end", "result")
        ]

    @EITHER
    def test_sessions_follow_one_another_in_time(self, path, sessions, conditions):
        first, second = record(path, sessions, conditions).sessions
        begun = [c.t for c in second.computes] + [x.sent for x in second.messages] + [c.t for c in second.connects]
        assert min(begun) >= first.end.t
        alone = record(path, sessions[1:], conditions).sessions[0]
        assert second.end.t == pytest.approx(first.end.t + alone.end.t)

    @EITHER
    def test_it_holds_up_against_the_protocol(self, path, sessions, conditions):
        assert len(check_run(record(path, sessions, conditions))) == 2

    def test_the_same_conditions_give_the_same_file(self, path, sessions):
        record(path, sessions, WAN)
        before = path.read_bytes()
        record(path, sessions, WAN)
        assert path.read_bytes() == before

    def test_texts_of_a_network_that_cannot_be_printed_are_written_on_one_line(self, path, sessions):
        network = Network(name="a\tb", round_trip_ms=1, up_mbit=1, down_mbit=1, source="first\nsecond\u202e")
        about = record(path, sessions, Conditions(network=network)).about.network
        assert (about.name, about.source) == ("a b", "first second ")


class TestTheFile:
    @pytest.fixture
    def opened(self, path):
        return RunFile(path, command="test", side="both", started=None)

    def fill(self, file, session):
        """Write a session in which nothing happened."""
        number = file.begin()
        file.write(
            session_line(number, kind=session.kind, suite=session.suite, facts=session.facts),
            end_line(number, 1.0, state="done", error=None, transcript=session.transcript, stats=session.counted),
        )

    def fail(self, file, session, error):
        """Raise an error while a session is written."""
        with file:
            self.fill(file, session)
            raise error

    def test_its_owner_alone_can_read_it(self, path, sessions):
        record(path, sessions)
        assert stat.S_IMODE(path.stat().st_mode) & ~0o600 == 0

    def test_also_when_it_replaces_one_that_others_could_read(self, path, sessions):
        path.parent.mkdir()
        path.touch(mode=0o644)
        record(path, sessions)
        assert stat.S_IMODE(path.stat().st_mode) & ~0o600 == 0

    def test_a_run_under_way_is_not_seen_under_its_name_and_by_its_owner_alone(self, opened, path, sessions):
        with opened as file:
            self.fill(file, sessions[0])
            (hidden,) = left(path)
            assert hidden != path.name
            assert hidden.startswith(".")
            assert stat.S_IMODE((path.parent / hidden).stat().st_mode) & ~0o600 == 0
        assert left(path) == [path.name]

    def test_an_older_file_stays_until_the_new_one_is_whole(self, opened, path, sessions):
        path.write_text("older", encoding="utf-8")
        with opened as file:
            self.fill(file, sessions[0])
            assert path.read_text(encoding="utf-8") == "older"
        assert len(read_run(path).sessions) == 1
        assert left(path) == [path.name]

    def test_an_exception_leaves_nothing(self, opened, path, sessions):
        with pytest.raises(ValueError, match="broken"):
            self.fail(opened, sessions[0], ValueError("broken"))
        assert left(path) == []

    def test_an_exception_leaves_an_older_file_as_it_was(self, opened, path, sessions):
        path.write_text("older", encoding="utf-8")
        with pytest.raises(KeyboardInterrupt):
            self.fail(opened, sessions[0], KeyboardInterrupt())
        assert left(path) == [path.name]
        assert path.read_text(encoding="utf-8") == "older"

    def test_without_a_session_nothing_is_left(self, opened, path):
        with opened as file:
            file.result({"accuracy": 1.0})
        assert left(path) == []

    def test_a_session_that_was_forgotten_is_none(self, opened, path):
        with opened as file:
            file.forget(file.begin())
        assert left(path) == []

    def test_numbers_that_json_does_not_know_are_refused_and_nothing_is_left(self, path, sessions):
        with pytest.raises(ValueError, match="JSON"):
            record(path, sessions, results={"accuracy": float("nan")})
        with pytest.raises(ValueError, match="JSON"):
            RunFile(path, command="test", side="both", started=None, client_factor=float("inf"))
        assert left(path) == []

    def test_a_file_that_cannot_take_its_name_leaves_nothing_else(self, path, sessions):
        path.mkdir(parents=True)
        with pytest.raises(IsADirectoryError):
            record(path, sessions)
        assert left(path) == [path.name]

    def test_a_disk_that_is_full_leaves_nothing(self, path, sessions, monkeypatch):
        monkeypatch.setattr(writing.os, "fdopen", full_disk(writing.os))
        with pytest.raises(OSError, match="No space left"):
            record(path, sessions)
        assert left(path) == []

    def test_an_exception_on_a_full_disk_is_not_replaced_by_another(self, path, sessions, monkeypatch):
        monkeypatch.setattr(writing.os, "fdopen", full_disk(writing.os))
        file = RunFile(path, command="test", side="both", started=None)
        with pytest.raises(KeyError):
            self.fail(file, sessions[0], KeyError())
        assert left(path) == []


def full_disk(os):
    """Return what opens a file descriptor as one of a disk without space."""

    def fdopen(descriptor, mode, encoding):
        os.dup2(os.open("/dev/full", os.O_WRONLY), descriptor)
        return open(descriptor, mode, encoding=encoding)  # noqa: PTH123 - a descriptor

    return fdopen


#: A pattern that is in no other file by chance: 8 bytes of one float, and its digits.
CANARY = 0.7236194058213


class TestContents:
    """Run files hold no contents: neither in bytes, nor in digits, nor in an encoding of either."""

    @pytest.fixture
    def frames(self, monkeypatch):
        """All bytes that a session in this process carried."""
        carried, plain = [], SessionMachine.receive

        def receive(self, data):
            carried.append(data)
            return plain(self, data)

        monkeypatch.setattr(SessionMachine, "receive", receive)
        return carried

    def marks(self):
        """Return what would betray the canary: its bytes and its digits, as they are and in hexadecimal or base64."""
        octets = np.float64(CANARY).tobytes(), np.float32(CANARY).tobytes()
        return [
            *octets,
            *(octet.hex().encode() for octet in octets),
            *(base64.b64encode(octet * 3)[4:20] for octet in octets),
            str(CANARY).encode()[:10],
        ]

    def test_the_canary_travels_and_is_not_recorded(self, path, frames, monkeypatch):
        """In raw coordinates the suite without protection carries queries as they are: absence says something."""
        raw = classmethod(lambda cls, rows, entropy: cls.fixed(rows.shape[1], entropy))
        monkeypatch.setattr(Space, "of_queries", raw)
        z_a, z_b = dyadic("A", 60, 4), dyadic("B", 60, 5)
        z_b[3] = CANARY
        training = align_in_process(z_a, z_b, suite=PLAINTEXT, ridge=1e-3)
        bias = np.full(3, 100 * CANARY)
        queries = np.full((2, 4), CANARY)
        inference = classify_in_process(dyadic("weight", 4, 3), bias, queries, suite=PLAINTEXT)
        record(path, (training.session, inference.session), WAN, results={"agreement": 1.0})
        written, travelled = path.read_bytes(), b"".join(frames)
        # The control: without a recording that leaves contents out, they would be found.
        assert any(mark in travelled for mark in self.marks())
        assert not any(mark in written for mark in self.marks())

    def test_no_piece_of_a_payload_is_in_the_file_but_the_transcript(self, path, frames):
        z_a, z_b = dyadic("A", 60, 4), dyadic("B", 60, 5)
        training = align_in_process(z_a, z_b, suite=PLAINTEXT)
        record(path, (training.session,))
        transcript = training.session.transcript
        pieces = [frame[first : first + 12] for frame in frames for first in range(0, len(frame) - 12, 12)]
        found = [piece for piece in pieces if piece in path.read_bytes() or piece.hex().encode() in path.read_bytes()]
        # Both confirm the transcript, so its pieces travel; that they are found is the control.
        assert len(pieces) > 100 * len(found)
        assert found
        assert all(piece[4:] in transcript or piece[:-4] in transcript for piece in found)

    def test_all_that_a_line_says_is_known_in_advance(self, path, sessions):
        """A name or a number that is new in the format has to be looked at for what it may betray."""
        record(path, sessions, WAN, results=RESULTS)
        keys = {}
        for line in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            keys.setdefault(line["event"], set()).update(line)
        assert keys["message"] == {
            *("event", "session", "direction", "type", "phase", "sent", "received", "bytes", "wire_bytes", "sha256")
        }
        assert keys["compute"] == {"event", "session", "party", "phase", "t", "seconds"}
        assert keys["connect"] == {"event", "session", "t", "seconds"}
        assert keys["end"] == {"event", "session", "t", "state", "error", "transcript", "stats"}


@dataclass
class FakeParty:
    """What a recorder asks of a machine at the end of its session."""

    kind: str = "training"
    suite: object = TOY_LWE.info
    facts: dict = field(default_factory=lambda: {"rows": 60, "dim_b": 5})
    state: State = State.DONE
    error: Exception | None = None
    transcript_digest: bytes = bytes(range(32))


class Recorded:
    """One end of a session over a network, on a clock that a test moves."""

    def __init__(self, path, side):
        self.side = side
        self.now = 5000.0
        self.file = RunFile(path, command="test", side=side, started=STARTED)
        self.begin()

    def begin(self):
        self.recorder = SessionRecorder(self.file, self.side)
        self.meter = Meter(self.side, lambda: self.now, listener=self.recorder.hear)
        self._observe = self.meter.observer(self.side)

    def compute(self, seconds, *events):
        with self.meter.timed(self.side):
            for event in events:
                self.now += seconds / (len(events) + 1)
                self._observe(event)
            self.now += seconds / (len(events) + 1)

    def wait(self, seconds):
        with self.meter.timed("network"):
            self.now += seconds

    def end(self, party=None, error=None):
        self.recorder.end(party or FakeParty(), self.meter.stats(), error)


def event(direction, kind, size):
    return Event(direction, kind, size, bytes([size]) * 32)


HELLO = event(SEND, m.TrainingHello, 10)


@pytest.fixture
def recorded(path, side):
    """One end, whose file is complete when a test leaves `recorded.file`."""
    return Recorded(path, side)


@pytest.mark.parametrize("side", ["client", "provider"])
class TestOneEnd:
    @pytest.fixture
    def question(self, path, recorded, side):
        """A question and an answer as one side sees them, read back, and the figures of its meter."""
        up, down = (SEND, RECEIVE) if side == "client" else (RECEIVE, SEND)
        with recorded.file:
            recorded.compute(2.0, event(up, m.TrainingHello, 10))
            recorded.wait(1.0)
            recorded.compute(3.0, event(down, m.TrainingAccept, 20))
            recorded.end()
            stats = recorded.meter.stats()
        return read_run(path), stats

    def test_the_side_is_named_and_the_clock_is_real(self, question, side):
        run, _ = question
        assert (run.about.side, run.about.clock, run.about.network) == (side, "measured", None)
        assert run.about.started == "2026-03-04T05:06:07Z"

    def test_what_the_other_side_alone_knows_is_left_out(self, question, side):
        run, _ = question
        (session,) = run.sessions
        hello, accept = session.messages
        assert (hello.direction, hello.type, hello.bytes) == ("up", "TrainingHello", 10)
        assert (accept.direction, accept.type, accept.bytes) == ("down", "TrainingAccept", 20)
        times = {"client": ((1.0, None), (None, 4.5)), "provider": ((None, 1.0), (4.5, None))}
        assert ((hello.sent, hello.received), (accept.sent, accept.received)) == times[side]
        assert {compute.party for compute in session.computes} == {side}

    def test_figures_are_those_of_the_meter(self, question):
        run, stats = question
        (session,) = run.sessions
        assert session.stats.model_dump() == stats.as_dict()
        assert sum(compute.seconds for compute in session.computes) == 5.0
        assert session.end.t == 6.0
        assert session.end.transcript == bytes(range(32)).hex()
        assert session.about.facts == {"rows": 60, "dim_b": 5}

    def test_times_begin_with_what_was_heard_first(self, question):
        run, _ = question
        assert min(compute.t for compute in run.sessions[0].computes) == 0.0

    def test_a_session_that_ended_before_an_agreement_leaves_nothing(self, path, recorded):
        with recorded.file:
            recorded.compute(1.0, HELLO)
            recorded.end(FakeParty(suite=None, state=State.ABORTED))
        assert left(path) == []

    def test_a_session_after_one_without_agreement_is_the_first(self, path, recorded):
        with recorded.file:
            recorded.end(FakeParty(suite=None))
            recorded.begin()
            recorded.compute(1.0, HELLO)
            recorded.end()
        (session,) = read_run(path).sessions
        assert session.about.session == 0

    def test_a_session_that_is_discarded_leaves_nothing(self, path, recorded):
        with recorded.file:
            recorded.compute(1.0, HELLO)
            recorded.recorder.discard()
        assert left(path) == []

    def test_several_sessions_are_numbered(self, path, recorded):
        with recorded.file:
            recorded.compute(1.0, HELLO)
            recorded.end()
            recorded.begin()
            recorded.compute(1.0, event(SEND, m.TrainingHello, 20))
            recorded.end()
        sessions = read_run(path).sessions
        assert [session.about.session for session in sessions] == [0, 1]
        assert [session.messages[0].bytes for session in sessions] == [10, 20]

    @pytest.mark.parametrize(
        ("party", "error", "code"),
        [
            (FakeParty(state=State.ABORTED, error=PeerAborted(ErrorCode.TOO_FEW_ROWS)), None, "TOO_FEW_ROWS"),
            (FakeParty(state=State.ROWS), TransportError("", code=ErrorCode.CONNECTION_LOST), "CONNECTION_LOST"),
            (
                FakeParty(state=State.ABORTED, error=PeerAborted(ErrorCode.TOO_FEW_ROWS)),
                TransportError("", code=ErrorCode.CONNECTION_LOST),
                "TOO_FEW_ROWS",
            ),
        ],
        ids=["a refusal", "a lost connection", "a refusal before the connection was lost"],
    )
    def test_a_session_that_failed_says_why_and_has_no_transcript(self, path, recorded, party, error, code):
        with recorded.file:
            recorded.compute(1.0, HELLO)
            recorded.end(party, error)
        (session,) = read_run(path).sessions
        assert (session.end.error, session.end.state, session.end.transcript) == (code, party.state.value, None)
        assert not session.done

    def test_a_long_session_does_not_stay_in_memory(self, path, side, monkeypatch):
        """Beyond its share of memory it goes to a file that has no name, and comes back whole."""
        monkeypatch.setattr("securealign.recording.measured._MEMORY_BYTES", 1000)
        recorded = Recorded(path, side)
        with recorded.file:
            for _ in range(50):
                recorded.compute(1.0, event(SEND, m.RowBatch, 10))
            assert len(left(path)) == 1
            recorded.end()
        assert len(read_run(path).sessions[0].messages) == 50


class TestConnecting:
    def test_the_client_tells_of_its_connection(self, path):
        recorded = Recorded(path, "client")
        with recorded.file:
            recorded.compute(1.0)
            with recorded.meter.connecting():
                recorded.now += 2.0
            recorded.compute(1.0, HELLO)
            recorded.end()
        (session,) = read_run(path).sessions
        assert [(connect.t, connect.seconds) for connect in session.connects] == [(1.0, 2.0)]
        assert session.messages[0].sent == 3.5

    def test_activities_that_began_before_the_first_are_not_before_it(self, path):
        file = RunFile(path, command="test", side="client", started=None)
        recorder = SessionRecorder(file, "client")
        with file:
            recorder.hear(Began("client", 100.0))
            recorder.hear(Spent("client", "keys", 99.0, 2.0))
            recorder.hear(Passed("client", event(SEND, m.KeyChunk, 10), 99.5))
            recorder.hear(Connected("network", 98.0, 1.0))
            recorder.end(FakeParty(), RunStats({}))
        (session,) = read_run(path).sessions
        assert session.computes[0].t == session.connects[0].t == session.messages[0].sent == 0.0


def test_a_file_that_was_cut_is_told_from_one_that_was_written(path, sessions):
    """The control: reading what is written checks that it is whole."""
    record(path, sessions)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError):
        read_run(path)
