"""The messages of training and inference: what each holds, who sends it at which stage, and under whose key.

Messages are frozen, keyword-only and checked on construction: digests have their length, counts are positive, texts are
short. The state tables decide whether a message is allowed now; the suite decides whether its payload is a ciphertext.
The first sentence of a docstring is the row of that message in docs/protocol.md. In formulas the provider is A and the
client is B: d_A and d_B are the dimensions of their encoders, N is the number of public rows, K the number of classes.
"""

import math
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Literal

from securealign.errors import ErrorCode, RemoteProtocolError
from securealign.limits import DIGEST_BYTES, MAX_CHUNK_BYTES, SPACE_BYTES, Limits
from securealign.naming import fault_of_name, is_offer_name

#: The space of sessions whose parties share a process and name none.
UNNAMED_SPACE = bytes(SPACE_BYTES)
#: The digest of a head that its provider does not name.
UNNAMED_HEAD = bytes(DIGEST_BYTES)
_LIMITS = Limits()

#: The parts of a session, to which messages, time and bytes are attributed.
Stage = Literal["handshake", "keys", "upload", "result", "offline", "online", "confirm"]


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


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise RemoteProtocolError(f"A message is malformed: {what}.", code=ErrorCode.FRAME_MALFORMED)


def _require_digest(value: bytes, what: str) -> None:
    _require(len(value) == DIGEST_BYTES, f"{what} is {DIGEST_BYTES} bytes long")


def _require_text(value: str, what: str) -> None:
    _require(0 < len(value) <= _LIMITS.max_text and value.isprintable(), f"{what} is a short printable text")


def _require_space(value: bytes) -> None:
    _require(len(value) == SPACE_BYTES, f"a space has a name of {SPACE_BYTES} bytes")


def _require_offer_name(value: str) -> None:
    _require(not value or is_offer_name(value), "a head or a space has a short name of a to z, digits, _ . and -")


def _require_positive(*values: int) -> None:
    _require(all(value > 0 for value in values), "dimensions are positive")


def _require_window(value: int) -> None:
    _require(0 < value <= 1024, "an upload window is 1 to 1024 messages")


def _require_payload(data: bytes) -> None:
    _require(len(data) <= MAX_CHUNK_BYTES, "a chunk exceeds its limit")


def _require_slots(pool: int, first_slot: int, count: int) -> None:
    _require(pool >= 0 and first_slot >= 0 and count > 0, "a slot range is not empty")


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
    """What every client's hello holds: versions and suites by preference, and its share of the session id."""

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
    """What every provider's reply to a hello holds: the version and suite it chose, and its share of the session id."""

    version: int
    suite: SuiteOffer
    nonce: bytes

    def __post_init__(self) -> None:
        _require_digest(self.nonce, "a nonce")


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
class LabelTerms:
    """How label-only answers are computed, and the provider's offer of a transfer, which the client's key answers."""

    bits: int
    segments: int
    buckets: int
    #: Whether a last class, without a name, stands for no answer.
    abstains: bool
    offer: bytes

    def __post_init__(self) -> None:
        _require(8 <= self.bits <= 24, "a label rests on 8 to 24 bits")
        _require(self.segments in {1, 2, 4}, "a comparison has 1, 2 or 4 segments")
        _require(0 <= self.buckets <= 3, "there are at most 3 thresholds of confidence")
        _require_payload(self.offer)


@dataclass(frozen=True, kw_only=True)
class _Sent:
    """Base of all messages; each names its sender, its stage and the key of its payload."""

    sender: ClassVar[Sender]
    stage: ClassVar[Stage]
    key: ClassVar[Key]

    def __init_subclass__(cls, *, sender: Sender, stage: Stage, key: Key = Key.NONE) -> None:
        cls.sender, cls.stage, cls.key = sender, stage, key


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A piece of a byte string of `total` bytes, starting at `offset`."""

    total: int
    offset: int
    data: bytes

    def __post_init__(self) -> None:
        _require_payload(self.data)
        _require(0 <= self.offset <= self.offset + len(self.data) <= self.total, "a chunk lies outside its total")


@dataclass(frozen=True, kw_only=True)
class TrainingHello(_Sent, sender=Sender.CLIENT, stage="handshake"):
    """Versions and suites by preference, nonce; d_B, N, digest of the public texts, name of the provider's space.

    The client opens training.
    """

    hello: Hello
    client_dim: int
    rows: int
    dataset_digest: bytes
    #: Which of the provider's spaces the client aligns with; "" for the one of these public texts.
    space_name: str = ""

    def __post_init__(self) -> None:
        _require_offer_name(self.space_name)
        _require_positive(self.client_dim, self.rows)
        _require_digest(self.dataset_digest, "a data set digest")


@dataclass(frozen=True, kw_only=True)
class TrainingAccept(_Sent, sender=Sender.PROVIDER, stage="handshake"):
    """Version, suite, nonce; d_A, the provider's own digest, upload window, space, and squared norm or privacy terms.

    `space` names the provider's coordinates and `total_squares` is the squared norm of its rows in them. With `privacy`
    both parties append rows of noise, and `total_squares` is 0: it would tell of the provider's rows.
    """

    accept: Accept
    provider_dim: int
    dataset_digest: bytes
    window: int
    space: bytes
    total_squares: float
    privacy: PrivacyTerms | None = None

    def __post_init__(self) -> None:
        _require_positive(self.provider_dim)
        _require_space(self.space)
        _require(0 <= self.total_squares < math.inf, "a squared norm is neither negative nor infinite")
        _require(self.privacy is None or self.total_squares == 0, "a squared norm is not told under privacy")
        _require_window(self.window)
        _require_digest(self.dataset_digest, "a data set digest")


@dataclass(frozen=True, kw_only=True)
class InferenceHello(_Sent, sender=Sender.CLIENT, stage="handshake"):
    """Versions and suites by preference, nonce; dimension and space of the queries, slots, output modes, head's name.

    The client opens inference. Clients of protocol version 1 name no space; they are refused for their version.
    """

    hello: Hello
    provider_dim: int
    slots: int
    space: bytes
    #: What the client accepts as an answer.
    outputs: tuple[OutputMode, ...] = (OutputMode.LOGITS,)
    #: Which of the provider's heads the client asks; "" for the only one.
    head: str = ""

    def __post_init__(self) -> None:
        _require_offer_name(self.head)
        _require_positive(self.provider_dim, self.slots)
        _require(0 < len(self.outputs) <= len(OutputMode), "a client accepts 1 to 3 output modes")
        if self.space:
            _require_space(self.space)


@dataclass(frozen=True, kw_only=True)
class InferenceAccept(_Sent, sender=Sender.PROVIDER, stage="handshake"):
    """Version, suite, nonce; K, class names if published, output mode and terms, queries left, windows, head digest."""

    accept: Accept
    classes: int
    class_names: tuple[str, ...]
    output: OutputMode
    queries_left: int
    window: int
    live_pools: int
    #: Bits that a logit holds at most; 0 for what the suite gives.
    logit_bits: int = 0
    #: Salted SHA-256 of the head: results of one head have one digest.
    head_digest: bytes = UNNAMED_HEAD
    #: Set where the output is not all logits.
    labels: LabelTerms | None = None
    #: What turns logits into probabilities.
    link: Link = Link.MARGIN

    def __post_init__(self) -> None:
        _require_positive(self.classes)
        _require_digest(self.head_digest, "a head digest")
        _require(self.labels is None or self.link is Link.MARGIN, "labels have no probabilities")
        _require(self.link is not Link.SIGMOID or self.classes == 2, "the logistic function is for two classes")
        _require((self.labels is None) is (self.output is OutputMode.LOGITS), "label terms come with labels alone")
        buckets = self.labels is not None and self.labels.buckets > 0
        _require(buckets is (self.output is OutputMode.LABEL_CONFIDENCE), "thresholds come with confidence alone")
        _require(len(self.class_names) in {0, self.classes}, "class names are published for all classes or none")
        _require(self.queries_left >= 0, "a budget is not negative")
        _require_window(self.window)
        _require(0 <= self.logit_bits <= 64, "a logit holds up to 64 bits")
        _require(self.live_pools > 0, "a provider keeps at least one pool")
        for name in self.class_names:
            _require(fault_of_name(name) is None, "a class name is a short text that can be shown on one line")


@dataclass(frozen=True, kw_only=True)
class KeyChunk(Chunk, _Sent, sender=Sender.CLIENT, stage="keys"):
    """A piece of the public part of the client's session key."""


@dataclass(frozen=True, kw_only=True)
class RowBatch(_Sent, sender=Sender.CLIENT, stage="upload", key=Key.CLIENT):
    """Public embeddings of the client, transformed as it likes: rows `first` to `first + count` of d_B + 1 columns.

    N rows in all; with privacy 2 (d_B + 1) rows more.
    """

    first: int
    count: int
    data: bytes

    def __post_init__(self) -> None:
        _require(self.first >= 0 and self.count > 0, "a row range is not empty")
        _require_payload(self.data)


@dataclass(frozen=True, kw_only=True)
class UploadAck(_Sent, sender=Sender.PROVIDER, stage="upload"):
    """Number of uploads, key chunks and row batches together, that the provider has processed since the handshake."""

    uploads: int


@dataclass(frozen=True, kw_only=True)
class Finish(_Sent, sender=Sender.CLIENT, stage="upload"):
    """Nothing: the client has sent all its rows."""


@dataclass(frozen=True, kw_only=True)
class ResultChunk(Chunk, _Sent, sender=Sender.PROVIDER, stage="result", key=Key.CLIENT):
    """A piece of the product of the provider's rows and the client's, d_A x (d_B + 1), sanitised."""


@dataclass(frozen=True, kw_only=True)
class Prepare(_Sent, sender=Sender.CLIENT, stage="offline"):
    """Number of the next pool of slots, which the client asks for, and a fresh nonce for its public matrix."""

    pool: int
    nonce: bytes

    def __post_init__(self) -> None:
        _require(self.pool >= 0, "a pool number is not negative")
        _require_digest(self.nonce, "a nonce")


@dataclass(frozen=True, kw_only=True)
class PoolChunk(Chunk, _Sent, sender=Sender.PROVIDER, stage="offline", key=Key.CLIENT):
    """A piece of the offline material of a pool, independent of any query."""

    pool: int


@dataclass(frozen=True, kw_only=True)
class ChoicesChunk(Chunk, _Sent, sender=Sender.CLIENT, stage="offline", key=Key.CLIENT):
    """A piece of the client's choices for a pool, for label-only answers."""

    pool: int


@dataclass(frozen=True, kw_only=True)
class TablesChunk(Chunk, _Sent, sender=Sender.PROVIDER, stage="offline", key=Key.CLIENT):
    """A piece of the tables of a pool, made for the client's choices."""

    pool: int


@dataclass(frozen=True, kw_only=True)
class Query(_Sent, sender=Sender.CLIENT, stage="online", key=Key.CLIENT):
    """Mapped queries in consecutive slots of a pool; a slot is used once."""

    pool: int
    first_slot: int
    count: int
    data: bytes

    def __post_init__(self) -> None:
        _require_slots(self.pool, self.first_slot, self.count)
        _require_payload(self.data)


@dataclass(frozen=True, kw_only=True)
class Answer(Chunk, _Sent, sender=Sender.PROVIDER, stage="online", key=Key.CLIENT):
    """A piece of the logits of the queries in the same slots, sanitised as far as the suite can."""

    pool: int
    first_slot: int
    count: int

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_slots(self.pool, self.first_slot, self.count)


@dataclass(frozen=True, kw_only=True)
class Resume(_Sent, sender=Sender.CLIENT, stage="handshake"):
    """Nonce of the hello of a session to go on with, and how many messages of the provider the client has processed."""

    nonce: bytes
    received: int

    def __post_init__(self) -> None:
        _require_digest(self.nonce, "a nonce")


@dataclass(frozen=True, kw_only=True)
class Resumed(_Sent, sender=Sender.PROVIDER, stage="handshake"):
    """How many messages of the client the provider has processed in a session to go on with."""

    received: int


@dataclass(frozen=True, kw_only=True)
class DurableAck(_Sent, sender=Sender.BOTH, stage="upload"):
    """Number of messages that the sender has processed and recorded on disk; it never asks for them again."""

    messages: int


@dataclass(frozen=True, kw_only=True)
class Confirm(_Sent, sender=Sender.BOTH, stage="confirm"):
    """The sender's digest of the transcript, without this message and its reply; the client sends it first."""

    transcript_digest: bytes

    def __post_init__(self) -> None:
        _require_digest(self.transcript_digest, "a transcript digest")


@dataclass(frozen=True, kw_only=True)
class Abort(_Sent, sender=Sender.BOTH, stage="confirm"):
    """The error code for which the sender ends the session."""

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
    | ChoicesChunk
    | TablesChunk
    | Query
    | Answer
    | Confirm
    | Abort
    | Resume
    | Resumed
    | DurableAck
)
