"""The messages of both phases: frozen, keyword-only, checked on construction.

A message that exists is well-formed: digests have their length, counts are positive, texts are short. Whether it is
allowed now is the business of the state tables; whether its payload is a ciphertext is the business of the suite.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from securealign.errors import ErrorCode, RemoteProtocolError
from securealign.limits import MAX_CHUNK_BYTES, Limits
from securealign.naming import fault_of_name

DIGEST_BYTES = 32
SPACE_BYTES = 16
#: The space of sessions whose parties share a process and name none.
UNNAMED_SPACE = bytes(SPACE_BYTES)
_LIMITS = Limits()


class OutputMode(Enum):
    """What the client learns of an answer."""

    LOGITS = 1


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise RemoteProtocolError(f"A message is malformed: {what}.", code=ErrorCode.FRAME_MALFORMED)


def _require_digest(value: bytes, what: str) -> None:
    _require(len(value) == DIGEST_BYTES, f"{what} is {DIGEST_BYTES} bytes long")


def _require_text(value: str, what: str) -> None:
    _require(0 < len(value) <= _LIMITS.max_text and value.isprintable(), f"{what} is a short printable text")


@dataclass(frozen=True, kw_only=True)
class SuiteOffer:
    """A suite under one parameter set, named by the digest of all its parameters."""

    name: str
    parameter_set: str
    parameter_digest: bytes

    def __post_init__(self) -> None:
        _require_text(self.name, "a suite name")
        _require_text(self.parameter_set, "a parameter set name")
        _require_digest(self.parameter_digest, "a parameter digest")


@dataclass(frozen=True, kw_only=True)
class Hello:
    """What both phases open with: versions and suites by preference, and the client's share of the session id."""

    versions: tuple[int, ...]
    suites: tuple[SuiteOffer, ...]
    nonce: bytes

    def __post_init__(self) -> None:
        _require(0 < len(self.versions) <= 16, "a handshake offers 1 to 16 versions")
        _require(
            0 < len(self.suites) <= _LIMITS.max_offered_suites,
            f"a handshake offers 1 to {_LIMITS.max_offered_suites} suites",
        )
        _require_digest(self.nonce, "a nonce")


@dataclass(frozen=True, kw_only=True)
class Accept:
    """What the provider settles on, and its share of the session id."""

    version: int
    suite: SuiteOffer
    nonce: bytes

    def __post_init__(self) -> None:
        _require_digest(self.nonce, "a nonce")


@dataclass(frozen=True, kw_only=True)
class TrainingHello:
    """The client opens training: its dimension d_B, N public rows, and the digest of the public texts."""

    phase: ClassVar[str] = "handshake"
    hello: Hello
    dimension: int
    rows: int
    dataset_digest: bytes

    def __post_init__(self) -> None:
        _require(self.dimension > 0 and self.rows > 0, "dimensions are positive")
        _require_digest(self.dataset_digest, "a data set digest")


@dataclass(frozen=True, kw_only=True)
class PrivacyTerms:
    """What the provider's noise guarantees for one of its rows, and its deviation over what one row can change."""

    epsilon: float
    delta: float
    noise_multiplier: float

    def __post_init__(self) -> None:
        _require(0 < self.epsilon < math.inf and 0 < self.delta < 1, "epsilon and delta are positive, delta below 1")
        _require(0 < self.noise_multiplier < math.inf, "noise has a width")


@dataclass(frozen=True, kw_only=True)
class TrainingAccept:
    """The provider accepts training: its dimension d_A, its digest of the public texts, and the upload window.

    `space` names the provider's coordinates and `total_squares` is the squared norm of its rows in them. With `privacy`
    both parties append rows of noise, and nothing is said of that norm.
    """

    phase: ClassVar[str] = "handshake"
    accept: Accept
    dimension: int
    dataset_digest: bytes
    window: int
    space: bytes
    total_squares: float
    privacy: PrivacyTerms | None = None

    def __post_init__(self) -> None:
        _require(self.dimension > 0, "dimensions are positive")
        _require(len(self.space) == SPACE_BYTES, f"a space has a name of {SPACE_BYTES} bytes")
        _require(0 <= self.total_squares < math.inf, "a squared norm is neither negative nor infinite")
        _require(self.privacy is None or self.total_squares == 0, "a squared norm is not told under privacy")
        _require(0 < self.window <= 1024, "an upload window is 1 to 1024 messages")
        _require_digest(self.dataset_digest, "a data set digest")


@dataclass(frozen=True, kw_only=True)
class InferenceHello:
    """The client opens inference: the dimension and space of its mapped queries and the slots it wants in a pool.

    Clients of protocol version 1 name no space; they are refused for their version.
    """

    phase: ClassVar[str] = "handshake"
    hello: Hello
    features: int
    slots: int
    space: bytes

    def __post_init__(self) -> None:
        _require(self.features > 0 and self.slots > 0, "dimensions are positive")
        _require(len(self.space) in {0, SPACE_BYTES}, f"a space has a name of {SPACE_BYTES} bytes")


@dataclass(frozen=True, kw_only=True)
class InferenceAccept:
    """The provider accepts inference: K classes, their names if it publishes them, output mode, queries left."""

    phase: ClassVar[str] = "handshake"
    accept: Accept
    classes: int
    class_names: tuple[str, ...]
    output: OutputMode
    queries_left: int
    window: int
    live_pools: int
    #: Bits that a logit holds at most; 0 for what the suite gives.
    logit_bits: int = 0

    def __post_init__(self) -> None:
        _require(self.classes > 0, "dimensions are positive")
        _require(len(self.class_names) in {0, self.classes}, "class names are published for all classes or none")
        _require(self.queries_left >= 0, "a budget is not negative")
        _require(0 < self.window <= 1024, "an upload window is 1 to 1024 messages")
        _require(0 <= self.logit_bits <= 64, "a logit holds up to 64 bits")
        _require(self.live_pools > 0, "a provider keeps at least one pool")
        for name in self.class_names:
            _require(fault_of_name(name) is None, "a class name is a short text that can be shown on one line")


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A piece of a byte string of `total` bytes, starting at `offset`."""

    total: int
    offset: int
    data: bytes

    def __post_init__(self) -> None:
        _require(len(self.data) <= MAX_CHUNK_BYTES, "a chunk exceeds its limit")
        _require(0 <= self.offset <= self.offset + len(self.data) <= self.total, "a chunk lies outside its total")


@dataclass(frozen=True, kw_only=True)
class KeyChunk(Chunk):
    """A piece of the client's public key material."""

    phase: ClassVar[str] = "keys"


@dataclass(frozen=True, kw_only=True)
class RowBatch:
    """Encrypted public rows `first` to `first + count`."""

    phase: ClassVar[str] = "upload"
    first: int
    count: int
    data: bytes

    def __post_init__(self) -> None:
        _require(self.first >= 0 and self.count > 0, "a row range is not empty")
        _require(len(self.data) <= MAX_CHUNK_BYTES, "a chunk exceeds its limit")


@dataclass(frozen=True, kw_only=True)
class UploadAck:
    """The provider has processed this many upload messages (key chunks and rows) since the handshake."""

    phase: ClassVar[str] = "upload"
    received: int


@dataclass(frozen=True, kw_only=True)
class Finish:
    """The client has sent all its rows."""

    phase: ClassVar[str] = "upload"


@dataclass(frozen=True, kw_only=True)
class ResultChunk(Chunk):
    """A piece of the encrypted cross-covariance."""

    phase: ClassVar[str] = "result"


@dataclass(frozen=True, kw_only=True)
class Prepare:
    """The client asks for the next pool of slots."""

    phase: ClassVar[str] = "offline"
    pool: int

    def __post_init__(self) -> None:
        _require(self.pool >= 0, "a pool number is not negative")


@dataclass(frozen=True, kw_only=True)
class PoolChunk(Chunk):
    """A piece of the offline material of a pool."""

    phase: ClassVar[str] = "offline"
    pool: int


@dataclass(frozen=True, kw_only=True)
class Query:
    """Encrypted queries in consecutive slots of a pool; a slot is used once."""

    phase: ClassVar[str] = "online"
    pool: int
    first_slot: int
    count: int
    data: bytes

    def __post_init__(self) -> None:
        _require(self.pool >= 0 and self.first_slot >= 0 and self.count > 0, "a slot range is not empty")
        _require(len(self.data) <= MAX_CHUNK_BYTES, "a chunk exceeds its limit")


@dataclass(frozen=True, kw_only=True)
class Answer(Chunk):
    """A piece of the encrypted logits of the queries in the same slots."""

    phase: ClassVar[str] = "online"
    pool: int
    first_slot: int
    count: int

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.pool >= 0 and self.first_slot >= 0 and self.count > 0, "a slot range is not empty")


@dataclass(frozen=True, kw_only=True)
class Resume:
    """The client goes on with the session of this nonce, and has processed `received` of the provider's messages."""

    phase: ClassVar[str] = "handshake"
    nonce: bytes
    received: int

    def __post_init__(self) -> None:
        _require_digest(self.nonce, "a nonce")


@dataclass(frozen=True, kw_only=True)
class Resumed:
    """The provider goes on with a session, and has processed `received` of the client's messages."""

    phase: ClassVar[str] = "handshake"
    received: int


@dataclass(frozen=True, kw_only=True)
class Received:
    """The sender has durably processed `count` messages and never asks for them again."""

    phase: ClassVar[str] = "upload"
    count: int


@dataclass(frozen=True, kw_only=True)
class Confirm:
    """The sender's digest of the transcript up to here, without this message and its reply."""

    phase: ClassVar[str] = "confirm"
    transcript_digest: bytes

    def __post_init__(self) -> None:
        _require_digest(self.transcript_digest, "a transcript digest")


@dataclass(frozen=True, kw_only=True)
class Abort:
    """The sender ends the session for this reason."""

    phase: ClassVar[str] = "confirm"
    code: ErrorCode


Message = (
    TrainingHello
    | TrainingAccept
    | InferenceHello
    | InferenceAccept
    | KeyChunk
    | RowBatch
    | UploadAck
    | Finish
    | ResultChunk
    | Prepare
    | PoolChunk
    | Query
    | Answer
    | Confirm
    | Abort
    | Resume
    | Resumed
    | Received
)
