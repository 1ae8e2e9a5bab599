"""Both machines of a session, with frames that a test carries by hand: in any order, altered, twice or not at all."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from securealign.alignment.head import LinearHead
from securealign.errors import ErrorCode, LocalProtocolError, PeerAborted
from securealign.he.entropy import Entropy
from securealign.he.interface import Suite
from securealign.he.lwe.suite import LweSuite
from securealign.he.plaintext import PlaintextSuite
from securealign.limits import Limits
from securealign.matrices import FloatMatrix
from securealign.protocol.inference.client import InferenceClient
from securealign.protocol.inference.provider import InferenceProvider
from securealign.protocol.machine import SessionMachine
from securealign.protocol.messages import Message, OutputMode
from securealign.protocol.policy.rules import Policy
from securealign.protocol.states import State
from securealign.protocol.training.client import TrainingClient
from securealign.protocol.training.provider import TrainingProvider
from securealign.wire import InferenceCodec, TrainingCodec

from .entropy import SeededEntropy
from .machines import inference_client, inference_provider, training_client, training_provider
from .toy import TOY

PLAINTEXT = PlaintextSuite()
TOY_LWE = LweSuite(TOY)
SUITES = {"plaintext": PLAINTEXT, "toy": TOY_LWE}
#: Lets suites run that protect nothing.
OPEN_POLICY = Policy(allow_unencrypted=True)
#: Answers are labels.
LABELS = Policy(allow_unencrypted=True, output="label")
DATASET = bytes(range(32))

C = TypeVar("C", bound=TrainingClient | InferenceClient)
P = TypeVar("P", bound=TrainingProvider | InferenceProvider)


class Carried(NamedTuple):
    """A frame on its way, counted from 0 over both directions."""

    number: int
    to_provider: bool
    frame: bytes


#: Returns the frames to deliver in place of one.
Alter = Callable[[Carried], list[bytes]]


@dataclass
class Pair(Generic[C, P]):
    """A client and a provider, and the frames between them."""

    client: C
    provider: P
    codec: TrainingCodec | InferenceCodec
    #: Frames on their way to the provider.
    up: deque[bytes] = field(default_factory=deque)
    #: Frames on their way to the client.
    down: deque[bytes] = field(default_factory=deque)
    #: Frames as they were sent, before any alteration.
    carried: list[Carried] = field(default_factory=list)

    def start(self) -> None:
        """Let the client open the session."""
        self.up.extend(self.client.start())

    def deliver_up(self) -> Message:
        """Carry one frame to the provider and return its message."""
        frame = self.up.popleft()
        self.down.extend(self.provider.receive(frame))
        return self.codec.decode(frame)

    def deliver_down(self) -> Message:
        """Carry one frame to the client and return its message."""
        frame = self.down.popleft()
        self.up.extend(self.client.receive(frame))
        return self.codec.decode(frame)

    def carry(self, alter: Alter = lambda carried: [carried.frame]) -> None:
        """Carry frames, one in each direction in turn, until none is on its way."""
        while self.up or self.down:
            for queue, receiver, back in ((self.up, self.provider, self.down), (self.down, self.client, self.up)):
                if queue:
                    carried = Carried(len(self.carried), receiver is self.provider, queue.popleft())
                    self.carried.append(carried)
                    for frame in alter(carried):
                        back.extend(receiver.receive(frame))

    def to_provider(self, *messages: Message) -> list[Message]:
        """Hand messages to the provider that the client never sent; returns the replies."""
        return self._inject(self.provider, messages)

    def to_client(self, *messages: Message) -> list[Message]:
        """Hand messages to the client that the provider never sent; returns the replies."""
        return self._inject(self.client, messages)

    def _inject(self, receiver: SessionMachine, messages: tuple[Message, ...]) -> list[Message]:
        replies = [reply for message in messages for reply in receiver.receive(self.codec.encode(message))]
        return [self.codec.decode(reply) for reply in replies]

    @property
    def states(self) -> tuple[State, State]:
        """States of client and provider."""
        return self.client.state, self.provider.state

    def assert_done(self) -> None:
        self.client.require_success()
        self.provider.require_success()

    def assert_aborted(self, code: ErrorCode, *, by: str, at_peer: ErrorCode | None = None) -> None:
        """Check that the party `by` found a fault of this code and that its peer was told."""
        finder, peer = (self.client, self.provider) if by == "client" else (self.provider, self.client)
        assert self.states == (State.ABORTED, State.ABORTED)
        assert finder.error is not None
        assert not isinstance(finder.error, PeerAborted)
        assert finder.error.code is code
        assert isinstance(peer.error, PeerAborted)
        assert peer.error.code is (at_peer or code)


def dyadic(name: str, rows: int, columns: int) -> FloatMatrix:
    """Return reproducible values that are multiples of 1/64 in [-2, 2), so that their sums are exact in any order."""
    octets = SeededEntropy(name.encode()).octets(rows * columns)
    return octets.view(np.int8).reshape(rows, columns) / 64


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a test may replace in a session of either kind."""

    suites: tuple[Suite, ...] = (PLAINTEXT,)
    provider_suites: tuple[Suite, ...] | None = None
    data: str = "data"
    scale: float = 1.0
    policy: Policy = OPEN_POLICY
    limits: Limits = field(default_factory=Limits)
    client_limits: Limits = field(default_factory=Limits)
    allow_unencrypted: bool = True


def begun(pair: Pair[C, P], alter: Alter | None) -> Pair[C, P]:
    """Carry a session as far as it goes without anyone asking for more; returns it."""
    pair.start()
    pair.carry(*([alter] if alter else []))
    return pair


@dataclass(frozen=True, kw_only=True)
class TrainingCase(Case):
    """A training session that succeeds, unless a test replaces something."""

    rows: int = 12
    provider_rows: int | None = None
    client_dim: int = 4
    provider_dim: int = 3
    dataset: bytes = DATASET
    provider_dataset: bytes = DATASET

    @property
    def z_a(self) -> FloatMatrix:
        return dyadic(f"{self.data} A", self.provider_rows or self.rows, self.provider_dim)

    @property
    def z_b(self) -> FloatMatrix:
        return dyadic(f"{self.data} B", self.rows, self.client_dim) * self.scale

    @property
    def client_rows(self) -> FloatMatrix:
        """What the client encrypts: embeddings and a column of ones."""
        return np.hstack([self.z_b, np.ones((self.rows, 1))])

    @property
    def product(self) -> FloatMatrix:
        """What the client shall decrypt."""
        return self.z_a.T @ self.client_rows

    def pair(self, client_entropy: Entropy | None = None, **client: Any) -> Pair[TrainingClient, TrainingProvider]:
        return Pair(
            training_client(
                self.suites,
                self.client_rows,
                self.dataset,
                entropy=client_entropy or SeededEntropy(b"client"),
                limits=self.client_limits,
                allow_unencrypted=self.allow_unencrypted,
                **client,
            ),
            training_provider(
                self.provider_suites or self.suites,
                self.z_a,
                self.provider_dataset,
                policy=self.policy,
                limits=self.limits,
            ),
            TrainingCodec(),
        )

    def finished(self, alter: Alter | None = None) -> Pair[TrainingClient, TrainingProvider]:
        """Run the whole session, as far as it gets."""
        return begun(self.pair(), alter)

    #: As far as a session goes without anyone asking for more.
    run_alone = finished


@dataclass(frozen=True, kw_only=True)
class InferenceCase(Case):
    """An inference session that succeeds, unless a test replaces something."""

    features: int = 3
    client_features: int | None = None
    class_names: tuple[str, ...] = ("red", "green")
    slots: int = 4
    outputs: tuple[OutputMode, ...] = tuple(OutputMode)

    @property
    def head(self) -> LinearHead:
        classes = len(self.class_names)
        weight = dyadic(f"{self.data} weight", self.features, classes)
        return LinearHead(weight, dyadic(f"{self.data} bias", 1, classes)[0], self.class_names)

    def labelled(self, queries: FloatMatrix) -> FloatMatrix:
        """Return label and bucket of queries, shape (count, 2), as policy wants them."""
        logits, levels = self.head.logits(queries), self.policy.levels
        largest = logits.max(axis=1)
        abstains = self.policy.abstain_below is not None
        labels = np.where(largest >= levels[0], logits.argmax(axis=1), logits.shape[1]) if abstains else None
        buckets = (largest[:, None] > self.policy.confidence_thresholds).sum(axis=1)
        return np.stack([logits.argmax(axis=1) if labels is None else labels, buckets], axis=1).astype(np.float64)

    def queries(self, count: int) -> FloatMatrix:
        return dyadic(f"{self.data} queries", count, self.features) * self.scale

    def pair(self) -> Pair[InferenceClient, InferenceProvider]:
        return Pair(
            inference_client(
                self.suites,
                self.client_features or self.features,
                slots=self.slots,
                outputs=self.outputs,
                limits=self.client_limits,
                allow_unencrypted=self.allow_unencrypted,
            ),
            inference_provider(self.provider_suites or self.suites, self.head, policy=self.policy, limits=self.limits),
            InferenceCodec(),
        )

    def opened(self, alter: Alter | None = None) -> Pair[InferenceClient, InferenceProvider]:
        """Run the handshake, the keys and the first pool."""
        return begun(self.pair(), alter)

    #: As far as a session goes without anyone asking for more.
    run_alone = opened

    def finished(self, alter: Alter | None = None) -> Pair[InferenceClient, InferenceProvider]:
        """Run a whole session of three queries in two messages, as far as it gets."""
        pair = self.opened(alter)
        steps = (
            lambda: pair.client.submit(self.queries(2)),
            lambda: pair.client.submit(self.queries(1)),
            pair.client.finish,
        )
        for step in steps:
            try:
                pair.up.extend(step())
            except LocalProtocolError:  # aborted, or waiting for what was lost
                break
            pair.carry(*([alter] if alter else []))
        return pair
