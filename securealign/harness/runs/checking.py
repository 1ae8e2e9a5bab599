"""Checks a run file against the protocol: whether its messages lead to the states that it records.

A run file holds the digest of every message and no content. That is enough to follow both tables of states, to compute
the transcript that both parties hash, and to check the confirmations. So the check finds a recording that was cut,
reordered or altered, and one of a session in which the parties saw different messages.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import get_args

from securealign.errors import FileError
from securealign.harness.runs.records import Message, Run, Session
from securealign.protocol import messages as m
from securealign.protocol import states as protocol
from securealign.protocol.messages import Confirm
from securealign.protocol.states import FINAL, Direction, State, Table
from securealign.protocol.transcript import Transcript
from securealign.wire import InferenceCodec, TrainingCodec

_TABLES: Mapping[tuple[str, str], Table] = {
    ("training", "client"): protocol.TRAINING_CLIENT,
    ("training", "provider"): protocol.TRAINING_PROVIDER,
    ("inference", "client"): protocol.INFERENCE_CLIENT,
    ("inference", "provider"): protocol.INFERENCE_PROVIDER,
}
_CODECS = {"training": TrainingCodec, "inference": InferenceCodec}
#: What a side does with a message, and the type of it.
_Step = tuple[Direction, str]
_TYPES: Mapping[str, type[m.Message]] = {kind.__name__: kind for kind in get_args(m.Message)}


def check_run(run: Run) -> list[str]:
    """Return one sentence for each session of a run; raises `InputError` for the first contradiction."""
    return [_check_session(run, session) for session in run.sessions]


def _check_session(run: Run, session: Session) -> str:
    kind, number = session.about.kind, session.about.session
    try:
        _check_totals(session)
        if not session.done:
            return f"session {number}, {kind}: ended as {session.end.error or session.end.state}, totals agree"
        first = _TYPES.get(session.messages[0].type) if session.messages else None
        if first not in (m.TrainingHello, m.InferenceHello):
            return f"session {number}, {kind}: begun before this recording, totals agree"
        # A recording of one side lacks the times at which its peer sent and received, so only that side is checked.
        for side in ("client", "provider") if run.about.side == "both" else (run.about.side,):
            _check_states(session, side)
        digest = _check_transcript(session)
    except _Contradiction as contradiction:
        raise FileError(
            f"{run.file}, session {number}: {contradiction}.",
            hint="The recording was altered, or made by another release; record the run again.",
        ) from None
    count = len(session.messages)
    return f"session {number}, {kind}: {count} messages in order, transcript {digest.hex()[:16]} confirmed by both"


class _Contradiction(Exception):
    """Two statements of a recording exclude each other."""


def _check_totals(session: Session) -> None:
    """Compare the figures of the session with its messages."""
    sizes: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for message in session.messages:
        sizes[message.type, message.direction].append(message.bytes)
    stated = {(row.type, row.direction): (row.count, row.bytes) for row in session.stats.messages}
    for name, direction in sorted(stated.keys() | sizes.keys()):
        found = len(sizes[name, direction]), sum(sizes[name, direction])
        said = stated.get((name, direction), (0, 0))
        if found != said:
            raise _Contradiction(
                f"it holds {found[0]} {name} {direction} of {found[1]} bytes, its figures say {said[0]} of {said[1]}"
            )


def _check_states(session: Session, side: str) -> None:
    """Check that the table of states of one side allows the messages, in the order in which it saw them."""
    table, states = _TABLES[session.about.kind, side], {State.START}
    for together in _as_seen(session.messages, side):
        reached = _after(table, states, Counter(_step(message, side) for message in together))
        if not reached:
            direction, name = _step(together[0], side)
            raise _Contradiction(f"a {side} in state {_named(states)} cannot {direction.value} {name}")
        states = reached
    if not states & FINAL:
        raise _Contradiction(f"its messages leave the {side} in state {_named(states)}")


def _after(table: Table, states: set[State], steps: Counter[_Step]) -> set[State]:
    """Return the states after messages of one moment, whose order is unknown."""
    #: The states that are possible after each subset of the messages.
    reached = {frozenset[tuple[_Step, int]](): states}
    for _ in range(sum(steps.values())):
        further: dict[frozenset[tuple[_Step, int]], set[State]] = {}
        for seen, before in reached.items():
            for step in steps - Counter(dict(seen)):
                direction, name = step
                found = {table.get(state, {}).get((direction, _TYPES.get(name, object))) for state in before}
                targets = {state for state in found if state is not None}
                if targets:
                    key = frozenset((Counter(dict(seen)) + Counter([step])).items())
                    further.setdefault(key, set()).update(targets)
        reached = further
    return set().union(*reached.values())


def _step(message: Message, side: str) -> _Step:
    return (Direction.SEND if _is_sender(message, side) else Direction.RECEIVE), message.type


def _named(states: set[State]) -> str:
    return " or ".join(sorted(repr(state.value) for state in states))


def _is_sender(message: Message, side: str) -> bool:
    return (message.direction == "up") == (side == "client")


def _as_seen(messages: Sequence[Message], side: str) -> Iterator[list[Message]]:
    """Yield messages by the moment at which a side sent or took them."""

    def when(message: Message) -> float:
        moment = message.sent if _is_sender(message, side) else message.received
        if moment is None:
            raise _Contradiction(f"a message lacks the time at which the {side} saw it")
        return moment

    for _, together in groupby(sorted(messages, key=when), key=when):
        yield list(together)


def _check_transcript(session: Session) -> bytes:
    """Compute the transcript from the digests, and compare it with the recorded one and with the confirmations."""
    transcript = Transcript(session.about.kind)
    confirmations = []
    for message in session.messages:
        digest = bytes.fromhex(message.sha256)
        if message.type == Confirm.__name__:
            confirmations.append(digest)
        elif message.direction == "up":
            transcript.to_provider(digest)
        else:
            transcript.to_client(digest)
    result = transcript.digest()
    if session.end.transcript != result.hex():
        raise _Contradiction("the digests of its messages do not add up to its transcript")
    expected = _CODECS[session.about.kind]().encode(Confirm(transcript_digest=result))
    if any(digest != hashlib.sha256(expected).digest() for digest in confirmations) or len(confirmations) != 2:
        raise _Contradiction("what the parties confirmed is not this transcript")
    return result
