"""A session between two parties that may lose their connection, crash and come back, with frames carried by a test."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from securealign.errors import ErrorCode
from securealign.limits import Limits
from securealign.matrices import FloatMatrix
from securealign.protocol.inference.client import InferenceClient
from securealign.protocol.inference.provider import InferenceProvider
from securealign.protocol.machine import SessionMachine
from securealign.protocol.messages import UNNAMED_SPACE, Abort, Resumed
from securealign.protocol.policy.budget import QueryAccount
from securealign.protocol.policy.rank import RankAccount
from securealign.protocol.resume.session import Journal, Opening, ResumableClient, ResumableProvider
from securealign.protocol.resume.snapshot import Snapshot, restore
from securealign.protocol.states import State
from securealign.protocol.training.client import TrainingClient
from securealign.protocol.training.provider import TrainingProvider
from securealign.wire import InferenceCodec, TrainingCodec

from .entropy import SeededEntropy
from .journal import MemoryJournal
from .machines import inference_client, inference_provider, training_client, training_provider
from .pair import InferenceCase, TrainingCase


class FixedRoot:
    """A root whose content a test knows."""

    name = "root"

    def derive(self, context: bytes) -> bytes:
        return SeededEntropy(b"root" + context).octets(32).tobytes()


class ChargingJournal(MemoryJournal):
    """A journal that records what its session was charged along with everything else, as a state folder does."""

    def __init__(self, live: dict[str, float], durable: dict[str, float]) -> None:
        super().__init__()
        self._live = live
        self._durable = durable

    def record(self, first: int, frames: Sequence[bytes], snapshot: Snapshot | None) -> None:
        super().record(first, frames, snapshot)
        self._durable.update(self._live)

    def end(self, outcome: str) -> None:
        super().end(outcome)
        self._durable.update(self._live)


@dataclass
class Durable:
    """Both parties of one session; subclasses say which phase it is and what to do after the handshake."""

    make_journal: Callable[[], Journal] = MemoryJournal
    limits: Limits = field(default_factory=lambda: Limits(rows_between_records=4, messages_between_receipts=2))
    up: deque[bytes] = field(default_factory=deque)
    down: deque[bytes] = field(default_factory=deque)
    client: ResumableClient | None = None
    provider: ResumableProvider | None = None
    #: Frames delivered, over all connections.
    steps: int = 0
    #: Every frame that left a party, in order: True is to the provider.
    left: list[tuple[bool, bytes]] = field(default_factory=list)
    resuming: bool = False

    codec: Any = None
    #: Name of the provider's coordinates.
    space: bytes = UNNAMED_SPACE
    #: Whether the provider charges one peer for all it does, in a ledger that is recorded with the session.
    charging: bool = False
    #: What the peer was charged, as the provider's process knows it, and as it is recorded.
    charged: dict[str, float] = field(default_factory=dict)
    recorded_charges: dict[str, float] = field(default_factory=dict)
    #: Goes on over all lives of the provider, as that of an operating system does.
    provider_entropy: SeededEntropy = field(default_factory=lambda: SeededEntropy(b"provider"))

    def __post_init__(self) -> None:
        self.client_journal = self.make_journal()
        self.provider_journals: dict[bytes, Journal] = {}

    def _provider_journal(self) -> Journal:
        return ChargingJournal(self.charged, self.recorded_charges) if self.charging else self.make_journal()

    def make_client(self) -> SessionMachine:
        raise NotImplementedError

    def make_provider(self) -> SessionMachine:
        raise NotImplementedError

    def work(self) -> bool:
        """Let the client's application say what it wants; returns whether it said something."""
        return False

    # What happens to processes and connections.

    def start_client(self) -> None:
        """Start the client's process: a new session, or the one that its journal knows."""
        snapshot = self.client_journal.recover()
        party: Any = self.make_client()
        if snapshot is None:
            self.client = ResumableClient(party, self.client_journal, limits=self.limits)
            self.resuming = False
            self._leave(self.client.send(party.start()))
            return
        restore(party, snapshot)
        self.client = ResumableClient(party, self.client_journal, limits=self.limits)
        if party.state is not State.DONE:
            self.connect()

    def connect(self) -> None:
        """Open a new connection for a session that exists."""
        assert self.client is not None
        self.resuming = True
        self._leave([self.client.resume()])

    def disconnect(self) -> None:
        """Lose the connection and all that is on its way; the provider notices."""
        self.up.clear()
        self.down.clear()
        if self.provider is not None:
            self.provider.detach()
            self.provider = None

    def crash_provider(self) -> None:
        """Kill the provider: what it did not record is gone, and so is the connection."""
        self.provider = None
        self.charged.clear()
        self.charged.update(self.recorded_charges)
        self.up.clear()
        self.down.clear()

    def crash_client(self) -> None:
        """Kill the client; the provider notices."""
        self.client = None
        self.disconnect()

    # Carrying frames.

    def carry(self, until: int | None = None) -> None:
        """Deliver frames in turn, asking the application when nothing is on its way, until nothing is left to do."""
        while until is None or self.steps < until:
            if not (self.up or self.down) and not self.work():
                return
            for deliver, queue in ((self._deliver_up, self.up), (self._deliver_down, self.down)):
                if queue and (until is None or self.steps < until):
                    self.steps += 1
                    deliver(queue.popleft())

    def _leave(self, frames: Any, *, to_provider: bool = True) -> None:
        for frame in frames:
            self.left.append((to_provider, frame))
            (self.up if to_provider else self.down).append(frame)

    def _deliver_up(self, frame: bytes) -> None:
        if self.provider is None:
            self._leave(self._open(frame), to_provider=False)
        else:
            self._leave(self.provider.receive(frame), to_provider=False)

    def _open(self, frame: bytes) -> list[bytes]:
        opening = Opening.of(self.codec, frame)
        assert opening is not None
        journal = self.provider_journals.get(opening.nonce)
        snapshot = journal.recover() if journal is not None else None
        if opening.received is None:
            journal = self.provider_journals[opening.nonce] = self._provider_journal()
            self.provider = ResumableProvider(self.make_provider(), journal, limits=self.limits)
            return list(self.provider.receive(frame))
        if journal is None or snapshot is None:
            if opening.received:
                return [self.codec.encode(Abort(code=ErrorCode.SESSION_UNKNOWN))]
            return [self.codec.encode(Resumed(received=0))]
        party = self.make_provider()
        restore(party, snapshot)
        self.provider = ResumableProvider(party, journal, limits=self.limits)
        return list(self.provider.resume(opening.received))

    def _deliver_down(self, frame: bytes) -> None:
        assert self.client is not None
        if self.resuming:
            self.resuming = False
            self._leave(self.client.resumed(frame))
        else:
            self._leave(self.client.receive(frame))
            if self.client.machine.error is not None:
                raise self.client.machine.error


@dataclass
class DurableTraining(Durable):
    """A training session that has to end with one product, whatever happens to it."""

    case: TrainingCase = field(default_factory=TrainingCase)
    codec: Any = field(default_factory=TrainingCodec)
    account: Any = None

    def make_client(self) -> TrainingClient:
        return training_client(
            self.case.suites, self.case.client_rows, self.case.dataset, root=FixedRoot(), limits=self.limits
        )

    def make_provider(self) -> TrainingProvider:
        return training_provider(
            self.case.provider_suites or self.case.suites,
            self.case.z_a,
            self.case.provider_dataset,
            entropy=self.provider_entropy,
            policy=self.case.policy,
            limits=self.limits,
            space=self.space,
            account=RankAccount.of("peer", self.case.dataset, store=self.charged) if self.charging else self.account,
        )

    def product(self) -> FloatMatrix:
        """Return what the client decrypts at the end."""
        assert self.client is not None
        party: Any = self.client.machine
        return party.product()


@dataclass
class DurableInference(Durable):
    """An inference session whose client asks its queries two at a time."""

    case: InferenceCase = field(default_factory=InferenceCase)
    codec: Any = field(default_factory=InferenceCodec)
    queries: int = 6

    def make_client(self) -> InferenceClient:
        return inference_client(
            self.case.suites, self.case.features, slots=self.case.slots, root=FixedRoot(), limits=self.limits
        )

    def make_provider(self) -> InferenceProvider:
        return inference_provider(
            self.case.provider_suites or self.case.suites,
            self.case.head,
            entropy=self.provider_entropy,
            policy=self.case.policy,
            limits=self.limits,
            space=self.space,
            account=QueryAccount.of("peer", store=self.charged) if self.charging else None,
        )

    def work(self) -> bool:
        if self.client is None or self.resuming:
            return False
        party: Any = self.client.machine
        if party.state is not State.READY or party.outstanding or party.preparing:
            return False
        if party.submitted < self.queries:
            if not party.free_slots:
                self._leave(self.client.send(party.prepare()))
                return True
            block = self.case.queries(self.queries)[party.submitted :][: min(2, party.free_slots)]
            self._leave(self.client.send(party.submit(block)))
            return True
        self._leave(self.client.send(party.finish()))
        return True

    def answers(self) -> FloatMatrix:
        """Return all answers in the order of their queries; each must have arrived once."""
        assert self.client is not None
        party: Any = self.client.machine
        answers = sorted(party.take_answers(), key=lambda answer: answer[0])
        assert sorted(n for number, found in answers for n in range(number, number + len(found))) == list(
            range(self.queries)
        )
        return np.vstack([found for _, found in answers])
