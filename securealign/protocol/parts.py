"""What messages are made of: who sends them, what protects them, the parts that several share, and their checks."""

import math
from dataclasses import dataclass
from enum import Enum

from securealign.errors import ErrorCode, RemoteProtocolError
from securealign.limits import DIGEST_BYTES, MAX_CHUNK_BYTES, SPACE_BYTES, Limits
from securealign.naming import is_offer_name

_LIMITS = Limits()


class Sender(Enum):
    """Which party may send a message."""

    CLIENT = "client"
    PROVIDER = "provider"
    BOTH = "client and provider"


class Key(Enum):
    """What protects a payload beside TLS."""

    NONE = "TLS only"
    CLIENT = "client's session key"


class OutputMode(Enum):
    """What the client learns of an answer."""

    LOGITS = 1
    LABEL = 2
    LABEL_CONFIDENCE = 3


class Link(Enum):
    """What turns logits into probabilities, by the names of `securealign.alignment.links`."""

    MARGIN = 0
    SOFTMAX = 1
    SIGMOID = 2
    OVR = 3
    HUBER = 4


def require(condition: bool, what: str) -> None:
    """Raise `RemoteProtocolError`, which says what a message has to be, unless it is."""
    if not condition:
        raise RemoteProtocolError(f"A message is malformed: {what}.", code=ErrorCode.FRAME_MALFORMED)


def require_digest(value: bytes, what: str) -> None:
    """Check the length of a digest or a nonce."""
    require(len(value) == DIGEST_BYTES, f"{what} is {DIGEST_BYTES} bytes long")


def require_text(value: str, what: str) -> None:
    """Check a short text that can be printed."""
    require(0 < len(value) <= _LIMITS.max_text and value.isprintable(), f"{what} is a short printable text")


def require_space(value: bytes) -> None:
    """Check the identifier of a space."""
    require(len(value) == SPACE_BYTES, f"a space has a name of {SPACE_BYTES} bytes")


def require_offer_name(value: str) -> None:
    """Check the name of a head or a space, which may be empty."""
    require(not value or is_offer_name(value), "a head or a space has a short name of a to z, digits, _ . and -")


def require_positive(*values: int) -> None:
    """Check dimensions and counts."""
    require(all(value > 0 for value in values), "dimensions are positive")


def require_window(value: int) -> None:
    """Check the messages that may be unacknowledged."""
    require(0 < value <= 1024, "an upload window is 1 to 1024 messages")


def require_payload(data: bytes) -> None:
    """Check the length of a payload."""
    require(len(data) <= MAX_CHUNK_BYTES, "a chunk exceeds its limit")


def require_slots(pool: int, first_slot: int, count: int) -> None:
    """Check a range of slots."""
    require(pool >= 0 and first_slot >= 0 and count > 0, "a slot range is not empty")


@dataclass(frozen=True, kw_only=True)
class SuiteOffer:
    """A suite under one parameter set, named by the digest of all its parameters."""

    name: str
    parameter_set: str
    parameter_digest: bytes

    def __post_init__(self) -> None:
        require_text(self.name, "a suite name")
        require_text(self.parameter_set, "a parameter set name")
        require_digest(self.parameter_digest, "a parameter digest")


@dataclass(frozen=True, kw_only=True)
class Hello:
    """What every client's hello holds: versions and suites by preference, and its share of the session id."""

    versions: tuple[int, ...]
    suites: tuple[SuiteOffer, ...]
    nonce: bytes

    def __post_init__(self) -> None:
        require(0 < len(self.versions) <= 16, "a handshake offers 1 to 16 versions")
        require(
            0 < len(self.suites) <= _LIMITS.max_offered_suites,
            f"a handshake offers 1 to {_LIMITS.max_offered_suites} suites",
        )
        require_digest(self.nonce, "a nonce")


@dataclass(frozen=True, kw_only=True)
class Accept:
    """What every provider's reply to a hello holds: the version and suite it chose, and its share of the session id."""

    version: int
    suite: SuiteOffer
    nonce: bytes

    def __post_init__(self) -> None:
        require_digest(self.nonce, "a nonce")


@dataclass(frozen=True, kw_only=True)
class PrivacyTerms:
    """What the provider's noise guarantees for one of its rows, and its deviation over what one row can change."""

    epsilon: float
    delta: float
    noise_multiplier: float

    def __post_init__(self) -> None:
        require(0 < self.epsilon < math.inf and 0 < self.delta < 1, "epsilon and delta are positive, delta below 1")
        require(0 < self.noise_multiplier < math.inf, "noise has a width")


@dataclass(frozen=True, kw_only=True)
class LabelTerms:
    """How label-only answers are computed, and the provider's offer of a transfer, which the client's key answers."""

    bits: int
    segments: int
    buckets: int
    #: Whether a last class, without a name, stands for no answer.
    abstains: bool
    offer: bytes

    def __post_init__(self) -> None:
        require(8 <= self.bits <= 24, "a label rests on 8 to 24 bits")
        require(self.segments in {1, 2, 4}, "a comparison has 1, 2 or 4 segments")
        require(0 <= self.buckets <= 3, "there are at most 3 thresholds of confidence")
        require_payload(self.offer)
