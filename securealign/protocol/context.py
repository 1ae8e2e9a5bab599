"""What a machine works with, besides the rows, queries or head of its session."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from securealign.he.entropy import Entropy
from securealign.he.interface import Suite
from securealign.limits import Limits
from securealign.protocol.messages import Message
from securealign.protocol.policy.rules import Policy
from securealign.protocol.randomness import Root
from securealign.protocol.states import Direction


class Codec(Protocol):
    """Turns messages of one kind of session into bytes and back."""

    def encode(self, message: Message) -> bytes:
        """Return the bytes of a message."""

    def decode(self, data: bytes) -> Message:
        """Return the message in `data`; raises `RemoteProtocolError` for anything else."""


class Event(NamedTuple):
    """A message that passed through a machine, without its content; for meters and recordings."""

    direction: Direction
    message: type[Message]
    size: int
    #: SHA-256 of the bytes that travelled.
    digest: bytes = b""

    @property
    def stage(self) -> str:
        """The stage of the session to which bytes and work of the message belong, such as "upload"."""
        return self.message.stage


Observer = Callable[[Event], None]
#: Called with an amount before it is spent; raises the reason to refuse.
Quota = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class SessionContext:
    """What the machines of both parties work with; suites come in order of preference."""

    codec: Codec
    suites: Sequence[Suite]
    entropy: Entropy
    limits: Limits = field(default_factory=Limits)
    #: Called for every message that is sent or received.
    observer: Observer | None = None


@dataclass(frozen=True, kw_only=True)
class ClientContext(SessionContext):
    """What a client's machine works with."""

    #: Whether a suite without encryption is allowed; true only for loopback and simulation.
    allow_unencrypted: bool = False
    #: Secret that the session's randomness derives from; without it the session cannot be resumed by another process.
    root: Root | None = None


@dataclass(frozen=True, kw_only=True)
class ProviderContext(SessionContext):
    """What a provider's machine works with."""

    policy: Policy = field(default_factory=Policy)
    #: Called with the bytes that the session takes at most, before they are allocated.
    reserve: Quota | None = None
    #: Held during long computations, so that a server of many sessions can limit how many run at once.
    compute_slot: AbstractContextManager[object] = field(default_factory=nullcontext)
