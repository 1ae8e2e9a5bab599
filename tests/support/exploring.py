"""Every state that two endpoints reach, with every accident: a depth-first search over a session and its journals.

Machines hold generators and cannot be copied. So one move goes on from a state as it stands, and for each other one the
state is made again, by the moves that lead to it. What was sent so far is part of a state, so that joining two paths
loses no claim about what left a party.
"""

from __future__ import annotations

import hashlib
import marshal
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from types import FunctionType, GeneratorType, MethodType, NoneType
from typing import Any

import numpy as np

from securealign.errors import SecurealignError
from securealign.protocol.messages import Abort, ChoicesChunk, DurableAck, Query, Resume, Resumed, RowBatch
from securealign.protocol.resume.session import ResumableSession
from securealign.protocol.states import State

from .durable import Durable

#: Messages that the parties do not count.
_UNCOUNTED = (Abort, DurableAck, Resume, Resumed)
#: What does not change with a session, or follows from what is fingerprinted besides it.
_FIXED = frozenset({"codec", "_suites", "_context", "_limits", "limits", "_policy", "_head", "_rows", "case", "_root"})

#: What tells itself from another.
_ATOMS = frozenset({NoneType, bool, int, float, str, bytes})


class Violation(AssertionError):
    """A party said what it must never say, or the session ended as it must not."""


def fingerprint(thing: Any) -> Any:
    """Return what tells a thing from another, as nested tuples; generators are told by what surrounds them."""
    return _fingerprint(thing, set())


def _fingerprint(thing: Any, around: set[int]) -> Any:
    if type(thing) in _ATOMS:
        return thing
    if isinstance(thing, bytearray | np.ndarray):
        return bytes(thing)
    if isinstance(thing, Enum):
        return type(thing).__name__, thing.name
    if id(thing) in around or isinstance(thing, GeneratorType | FunctionType | MethodType | type):
        return type(thing).__name__
    around.add(id(thing))
    found = _nested(thing, around)
    around.remove(id(thing))
    return found


def _nested(thing: Any, around: set[int]) -> Any:
    if isinstance(thing, dict):
        return tuple(sorted((repr(key), _fingerprint(value, around)) for key, value in thing.items()))
    if isinstance(thing, set | frozenset):
        return tuple(sorted(map(repr, thing)))
    if isinstance(thing, list | tuple | deque):
        return tuple([_fingerprint(item, around) for item in thing])
    own = getattr(thing, "__dict__", {})
    names = sorted(own.keys() - _FIXED)
    return type(thing).__name__, *names, *[_fingerprint(own[name], around) for name in names]


@dataclass
class World:
    """One session, what has left each party, and the accidents that are still allowed."""

    session: Durable
    result: Callable[[Durable], Any]
    accidents: int
    tampering: int = 0
    connected: bool = True
    #: Why the session ended early, if it did.
    ended: str = ""
    #: By direction and number: the digest of the counted frame.
    numbered: dict[tuple[bool, int], bytes] = field(default_factory=dict)
    #: By row, slot or pool: the digest of what was sent under its randomness.
    spent: dict[tuple[str, int, int], bytes] = field(default_factory=dict)
    _next: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})
    _seen: int = 0

    def __post_init__(self) -> None:
        self._guard(self.session.start_client)

    def moves(self) -> list[str]:
        """Return the moves that can be made, the fair one first: accidents come last."""
        if self.ended:
            return []
        session = self.session
        fair = self._fair_moves()
        accidents = []
        if self.accidents:
            accidents = ["lose"] if self.connected else []
            accidents += ["crash provider"] if session.provider is not None else []
            accidents += ["crash client", "crash both"] if session.client is not None else []
        return fair + accidents + (self._tampering() if self.tampering else [])

    def _fair_moves(self) -> list[str]:
        session = self.session
        if session.client is None:
            return ["restart"]
        if not self.connected:
            return [] if session.client.machine.state is State.DONE else ["connect"]
        moves = ["up"] if session.up else []
        moves += ["down"] if session.down else []
        return moves + (["work"] if self._has_work() else [])

    def _has_work(self) -> bool:
        session = self.session
        party: Any = session.client.machine if session.client is not None else None
        if party is None or session.resuming or party.state is not State.READY:
            return False
        return not (party.outstanding or party.preparing)

    def _tampering(self) -> list[str]:
        queues = {"up": self.session.up, "down": self.session.down}
        held = [name for name, queue in queues.items() if queue]
        pairs = [name for name, queue in queues.items() if len(queue) > 1]
        return [f"{what} {name}" for what in ("drop", "repeat") for name in held] + [f"swap {name}" for name in pairs]

    def make(self, move: str) -> None:
        """Make a move; raises `Violation`."""
        kind, _, where = move.partition(" ")
        if kind in {"drop", "repeat", "swap"}:
            self.tampering -= 1
            self._tamper(kind, self.session.up if where == "up" else self.session.down)
            return
        if kind in {"lose", "crash"}:
            self.accidents -= 1
            self.connected = False
        self._guard(lambda: self._make(move))

    def _tamper(self, kind: str, queue: deque[bytes]) -> None:
        if kind == "drop":
            queue.popleft()
        elif kind == "repeat":
            queue.appendleft(queue[0])
        else:
            queue[0], queue[1] = queue[1], queue[0]

    def _make(self, move: str) -> None:
        session = self.session
        match move:
            case "up":
                session._deliver_up(session.up.popleft())
            case "down":
                session._deliver_down(session.down.popleft())
            case "work":
                session.work()
            case "lose":
                session.disconnect()
            case "crash provider":
                session.crash_provider()
            case "crash client":
                session.crash_client()
            case "crash both":
                session.crash_provider()
                session.crash_client()
            case "connect":
                self.connected = True
                session.connect()
            case "restart":
                self.connected = True
                session.start_client()
                self.connected = bool(session.up)

    def _guard(self, action: Callable[[], None]) -> None:
        try:
            action()
        except SecurealignError as error:
            self.ended = error.code.name
        self._watch()

    def _watch(self) -> None:
        """Take note of what has left a party, and compare it with what left before."""
        left, self._seen = self.session.left[self._seen :], len(self.session.left)
        for to_provider, frame in left:
            message = self.session.codec.decode(frame)
            match message:
                case Resume(received=received):
                    self._next[False] = received
                case Resumed(received=received):
                    self._next[True] = received
            if isinstance(message, _UNCOUNTED):
                self.ended = message.code.name if isinstance(message, Abort) else self.ended
                continue
            digest = hashlib.sha256(frame).digest()
            number = self._next[to_provider]
            self._next[to_provider] = number + 1
            self._once(self.numbered, (to_provider, number), digest, f"message {number}")
            self._watch_randomness(message, digest)

    def _watch_randomness(self, message: Any, digest: bytes) -> None:
        match message:
            case RowBatch(first=first, count=count):
                kind, pool = "row", 0
            case Query(pool=pool, first_slot=first, count=count):
                kind = "slot"
            case ChoicesChunk(pool=pool, offset=first):
                kind, count = "choices", 1
            case _:
                return
        for place in range(first, first + count):
            self._once(self.spent, (kind, pool, place), digest, f"{kind} {place} of {pool}")

    def _once(self, known: dict[Any, bytes], key: Any, digest: bytes, what: str) -> None:
        if known.setdefault(key, digest) != digest:
            raise Violation(f"Two messages left as {what}.")

    def key(self) -> bytes:
        """Return what this state is known by."""
        session = self.session
        parts = (
            self._endpoint(session.client),
            self._endpoint(session.provider),
            fingerprint(session.client_journal),
            fingerprint(session.provider_journals),
            (tuple(session.up), tuple(session.down), session.resuming, self.connected, self.ended),
            (self.accidents, self.tampering, sorted(self.numbered.items()), sorted(self.spent.items())),
            (fingerprint(self._next), fingerprint(session.charged)),
        )
        # Later versions of the format also depend on which objects are the same.
        return hashlib.sha256(marshal.dumps(parts, 2)).digest()

    def _endpoint(self, endpoint: ResumableSession[Any] | None) -> Any:
        return None if endpoint is None else fingerprint(endpoint)

    def check_end(self, *, may_abort: bool) -> None:
        """Raise `Violation` unless a session without moves left ended well, or aborted where that is allowed."""
        session = self.session
        done = session.client is not None and session.client.machine.state is State.DONE
        if not done:
            if may_abort:
                return
            raise Violation(f"The session is stuck, or ended as {self.ended!r}.")
        provider = session.provider
        # A frame that comes a second time may end a session that was done; its result stands.
        if provider is not None and provider.machine.state is not State.DONE and not may_abort:
            raise Violation("The client is done, and the provider is not.")
        wrong = self.result(session)
        if wrong:
            raise Violation(wrong)


@dataclass
class Explored:
    """What a search has seen."""

    states: int = 0
    ends: int = 0
    #: Reasons for which sessions ended early.
    reasons: set[str] = field(default_factory=set)


def explore(begin: Callable[[], World], *, may_abort: bool = False, most: int = 100_000) -> Explored:
    """Visit every state once; raises `Violation` with the moves that lead to one that must not be.

    Every move but an accident uses up a frame or work, and every state is visited: a state from which fair moves do not
    lead to an end would have shown as one without moves.
    """
    explored = Explored()
    world = begin()
    seen = {world.key()}
    # A stack and no queue: it stays short, so that each path can be kept with the world that it leads to.
    stack: list[tuple[tuple[str, ...], World]] = [((), world)]
    while stack:
        path, world = stack.pop()
        explored.states += 1
        assert explored.states <= most, "the space of states is larger than it should be"
        moves = world.moves()
        explored.reasons |= {world.ended} - {""}
        if not [move for move in moves if move in {"up", "down", "work", "connect", "restart"}]:
            explored.ends += 1
            _explained(path, lambda world=world: world.check_end(may_abort=may_abort))  # type: ignore[misc]
            world = _replayed(begin, path)
        for successor, reached in _successors(begin, path, world, moves):
            key = reached.key()
            if key not in seen:
                seen.add(key)
                stack.append((successor, reached))
    return explored


def _successors(
    begin: Callable[[], World], path: tuple[str, ...], world: World, moves: list[str]
) -> Iterator[tuple[tuple[str, ...], World]]:
    for index, move in enumerate(moves):
        world = world if not index else _replayed(begin, path)
        longer = (*path, move)
        _explained(longer, lambda world=world, move=move: world.make(move))  # type: ignore[misc]
        yield longer, world


def _replayed(begin: Callable[[], World], path: tuple[str, ...]) -> World:
    world = begin()
    for move in path:
        world.make(move)
    return world


def _explained(path: tuple[str, ...], action: Callable[[], None]) -> None:
    try:
        action()
    except Violation as violation:
        raise Violation(f"{violation} Moves: {', '.join(path)}.") from violation
