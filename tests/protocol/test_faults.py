"""Who finds a fault knows all of it; the peer learns a code, and a fault of our own is only ever 'internal'."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import pytest
from support.entropy import SeededEntropy
from support.pair import PLAINTEXT, TOY_LWE, InferenceCase, Pair, TrainingCase

from securealign.errors import (
    AssetError,
    CiphertextError,
    ConfigurationError,
    DependencyError,
    ErrorCode,
    InputError,
    LocalProtocolError,
    PeerAborted,
    RemoteProtocolError,
    SecurealignError,
    SuiteError,
    TransportError,
)
from securealign.he import plaintext
from securealign.limits import MAX_FRAME_BYTES
from securealign.protocol import messages as m
from securealign.protocol.context import Event
from securealign.protocol.states import Direction, State

SECRET = "the weight of class 3 is 0.25"


class Job(NamedTuple):
    """A piece of work of the suite, and the party that does it."""

    case: TrainingCase | InferenceCase
    owner: type
    method: str

    @property
    def side(self) -> str:
        return "client" if self.owner.__name__.endswith("Client") else "provider"


ABSORB = Job(TrainingCase(), plaintext._CovarianceProvider, "absorb")
JOBS = [
    ABSORB,
    *(Job(TrainingCase(), plaintext._CovarianceProvider, method) for method in ("accept_key", "finish")),
    *(Job(TrainingCase(), plaintext._CovarianceClient, method) for method in ("key_material", "encrypt")),
    *(Job(InferenceCase(), plaintext._HeadProvider, method) for method in ("accept_key", "prepare", "evaluate")),
    *(Job(InferenceCase(), plaintext._HeadClient, method) for method in ("key_material", "load_pool", "decrypt")),
]


def run_with_fault(monkeypatch, job: Job, error: BaseException) -> Pair:
    """Run a session in which one job fails, and return what became of it."""

    def fail(*_args, **_kwargs):
        raise error

    monkeypatch.setattr(job.owner, job.method, fail)
    return job.case.finished()


@pytest.mark.parametrize("job", JOBS, ids=[f"{job.owner.__name__}.{job.method}" for job in JOBS])
@pytest.mark.parametrize("error", [MemoryError(SECRET), ValueError(SECRET), RecursionError(SECRET)], ids=repr)
def test_a_fault_inside_the_suite_is_told_as_internal_and_kept_as_cause(job, error, monkeypatch):
    pair = run_with_fault(monkeypatch, job, error)
    pair.assert_aborted(ErrorCode.INTERNAL, by=job.side)
    finder = getattr(pair, job.side)
    assert finder.error.__cause__ is error
    assert not any(SECRET.encode() in carried.frame for carried in pair.carried)
    assert SECRET not in str(finder.error)


def test_an_interrupt_of_the_user_is_not_swallowed(monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        run_with_fault(monkeypatch, ABSORB, KeyboardInterrupt())


#: What the finder raised -> (its own code, the code its peer gets).
PUBLIC = {
    RemoteProtocolError("x", code=ErrorCode.LIMIT_EXCEEDED): ErrorCode.LIMIT_EXCEEDED,
    CiphertextError("x"): ErrorCode.CIPHERTEXT_MALFORMED,
    CiphertextError("x", code=ErrorCode.COEFFICIENT_OUT_OF_RANGE): ErrorCode.COEFFICIENT_OUT_OF_RANGE,
    SuiteError("x", code=ErrorCode.PLAN_INFEASIBLE): ErrorCode.PLAN_INFEASIBLE,
    LocalProtocolError("x"): ErrorCode.INTERNAL,
    InputError("x", code=ErrorCode.NON_FINITE_INPUT): ErrorCode.INTERNAL,
    ConfigurationError("x"): ErrorCode.INTERNAL,
    DependencyError("x"): ErrorCode.INTERNAL,
    AssetError("x"): ErrorCode.INTERNAL,
    TransportError("x"): ErrorCode.INTERNAL,
    SecurealignError("x"): ErrorCode.INTERNAL,
}


@pytest.mark.parametrize(("error", "told"), PUBLIC.items(), ids=[f"{type(e).__name__}-{e.code.name}" for e in PUBLIC])
def test_only_faults_of_the_session_are_told_by_their_code(error, told, monkeypatch):
    pair = run_with_fault(monkeypatch, ABSORB, error)
    assert pair.provider.error is error
    pair.assert_aborted(error.code, by="provider", at_peer=told)


@pytest.mark.parametrize("side", ["client", "provider"])
def test_a_session_whose_stream_is_gone_is_abandoned(side):
    pair = InferenceCase().opened()
    party = getattr(pair, side)
    error = TransportError("Too late.", code=ErrorCode.DEADLINE_EXCEEDED)
    party.abandon(error)
    assert party.state is State.ABORTED
    assert party.error is error
    assert party.receive(b"anything") == []


def test_a_session_that_is_done_is_not_abandoned():
    pair = TrainingCase().finished()
    pair.client.abandon(TransportError("Too late."))
    pair.assert_done()


def test_a_provider_that_is_done_still_learns_that_the_client_is_not():
    last = TrainingCase().finished().carried[-1].number
    pair = TrainingCase().finished(
        lambda carried: [carried.frame[:-1] + b"?" if carried.number == last else carried.frame]
    )
    pair.assert_aborted(ErrorCode.TRANSCRIPT_MISMATCH, by="client")


BAD_FRAMES = {
    "empty": (b"", ErrorCode.FRAME_MALFORMED),
    "no message": (b"\xfa\x7f\x01x", ErrorCode.FRAME_MALFORMED),
    "garbage": (b"\xff" * 20, ErrorCode.FRAME_MALFORMED),
    "truncated": (b"\x1a\x0d\x08\x09\x1a\x09plain", ErrorCode.FRAME_MALFORMED),
    "one byte too large": (bytes(MAX_FRAME_BYTES + 1), ErrorCode.FRAME_TOO_LARGE),
    "as large as allowed": (bytes(MAX_FRAME_BYTES), ErrorCode.FRAME_MALFORMED),
}


@pytest.mark.parametrize(("frame", "code"), BAD_FRAMES.values(), ids=BAD_FRAMES)
@pytest.mark.parametrize("case", [TrainingCase(), InferenceCase()], ids=["training", "inference"])
@pytest.mark.parametrize("side", ["client", "provider"])
def test_frames_that_are_no_message_are_refused(frame, code, case, side):
    pair = case.pair()
    pair.start()
    pair.deliver_up()
    pair.deliver_down()
    (farewell,) = getattr(pair, side).receive(frame)
    assert pair.codec.decode(farewell) == m.Abort(code=code)
    if side == "provider":
        pair.up, pair.down = deque(), deque([farewell])
    else:
        pair.up, pair.down = deque([farewell]), deque()
    pair.carry()
    pair.assert_aborted(code, by=side)


@pytest.mark.parametrize("case", [TrainingCase(suites=(TOY_LWE,)), InferenceCase(suites=(TOY_LWE,))])
def test_every_truncation_of_every_frame_is_malformed(case):
    for carried in case.finished().carried:
        for end in {0, 1, 2, len(carried.frame) // 2, len(carried.frame) - 1}:
            if end < len(carried.frame):
                with pytest.raises(RemoteProtocolError) as caught:
                    case.pair().codec.decode(carried.frame[:end])
                assert caught.value.code is ErrorCode.FRAME_MALFORMED


def test_a_code_from_the_future_is_an_internal_fault_of_the_peer():
    pair = TrainingCase().pair()
    pair.start()
    assert pair.client.receive(b"\x4a\x03\x08\xe7\x07") == []
    assert isinstance(pair.client.error, PeerAborted)
    assert pair.client.error.code is ErrorCode.INTERNAL


def test_an_observer_sees_every_message_once_and_the_farewell():
    events: list[Event] = []
    pair = TrainingCase().pair(observer=events.append)
    pair.start()
    pair.carry()
    pair.assert_done()
    sent = [event.size for event in events if event.direction is Direction.SEND]
    received = [event.size for event in events if event.direction is Direction.RECEIVE]
    assert sent == [len(carried.frame) for carried in pair.carried if carried.to_provider]
    assert received == [len(carried.frame) for carried in pair.carried if not carried.to_provider]
    assert [event.stage for event in events if event.direction is Direction.SEND] == [
        "handshake", "keys", "upload", "upload", "confirm",
    ]  # fmt: skip
    events.clear()
    pair.client.receive(b"")
    assert [(event.message, event.stage) for event in events] == [(m.Abort, "confirm")]
    assert pair.client.stage == "confirm"


def test_two_sessions_share_nothing():
    """A fault in one session of a provider leaves another one alone."""
    healthy, faulty = InferenceCase().opened(), InferenceCase().opened()
    faulty.provider.receive(b"")
    assert healthy.provider.state is State.READY
    healthy.up.extend(healthy.client.finish())
    healthy.carry()
    healthy.assert_done()


def test_randomness_is_the_callers():
    first, second = (TrainingCase(suites=(PLAINTEXT,)).pair(SeededEntropy(seed)) for seed in (b"1", b"2"))
    assert first.client.start() != second.client.start()
