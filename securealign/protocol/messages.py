"""The messages of training and inference: what each holds, who sends it at which stage, and under whose key.

Messages are frozen, keyword-only and checked on construction: digests have their length, counts are positive, texts are
short. The state tables decide whether a message is allowed now; the suite decides whether its payload is a ciphertext.
The first sentence of a docstring is the row of that message in docs/protocol.md. In formulas the provider is A and the
client is B: d_A and d_B are the dimensions of their encoders, N is the number of public rows, K the number of classes.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from securealign.errors import ErrorCode
from securealign.limits import DIGEST_BYTES, SPACE_BYTES
from securealign.naming import fault_of_name
from securealign.protocol.parts import Accept as Accept
from securealign.protocol.parts import Hello as Hello
from securealign.protocol.parts import Key as Key
from securealign.protocol.parts import LabelTerms as LabelTerms
from securealign.protocol.parts import Link as Link
from securealign.protocol.parts import OutputMode as OutputMode
from securealign.protocol.parts import PrivacyTerms as PrivacyTerms
from securealign.protocol.parts import Sender as Sender
from securealign.protocol.parts import SuiteOffer as SuiteOffer
from securealign.protocol.parts import (
    require,
    require_digest,
    require_offer_name,
    require_payload,
    require_positive,
    require_slots,
    require_space,
    require_window,
)

#: The space of sessions whose parties share a process and name none.
UNNAMED_SPACE = bytes(SPACE_BYTES)
#: The digest of a head that its provider does not name.
UNNAMED_HEAD = bytes(DIGEST_BYTES)

#: The parts of a session, to which messages, time and bytes are attributed.
Stage = Literal["handshake", "keys", "upload", "result", "offline", "online", "confirm"]


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
        require_payload(self.data)
        require(0 <= self.offset <= self.offset + len(self.data) <= self.total, "a chunk lies outside its total")


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
        require_offer_name(self.space_name)
        require_positive(self.client_dim, self.rows)
        require_digest(self.dataset_digest, "a data set digest")


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
        require_positive(self.provider_dim)
        require_space(self.space)
        require(0 <= self.total_squares < math.inf, "a squared norm is neither negative nor infinite")
        require(self.privacy is None or self.total_squares == 0, "a squared norm is not told under privacy")
        require_window(self.window)
        require_digest(self.dataset_digest, "a data set digest")


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
        require_offer_name(self.head)
        require_positive(self.provider_dim, self.slots)
        require(0 < len(self.outputs) <= len(OutputMode), "a client accepts 1 to 3 output modes")
        if self.space:
            require_space(self.space)


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
        require_positive(self.classes)
        require_digest(self.head_digest, "a head digest")
        require(self.labels is None or self.link is Link.MARGIN, "labels have no probabilities")
        require(self.link is not Link.SIGMOID or self.classes == 2, "the logistic function is for two classes")
        require((self.labels is None) is (self.output is OutputMode.LOGITS), "label terms come with labels alone")
        buckets = self.labels is not None and self.labels.buckets > 0
        require(buckets is (self.output is OutputMode.LABEL_CONFIDENCE), "thresholds come with confidence alone")
        require(len(self.class_names) in {0, self.classes}, "class names are published for all classes or none")
        require(self.queries_left >= 0, "a budget is not negative")
        require_window(self.window)
        require(0 <= self.logit_bits <= 64, "a logit holds up to 64 bits")
        require(self.live_pools > 0, "a provider keeps at least one pool")
        for name in self.class_names:
            require(fault_of_name(name) is None, "a class name is a short text that can be shown on one line")


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
        require(self.first >= 0 and self.count > 0, "a row range is not empty")
        require_payload(self.data)


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
        require(self.pool >= 0, "a pool number is not negative")
        require_digest(self.nonce, "a nonce")


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
        require_slots(self.pool, self.first_slot, self.count)
        require_payload(self.data)


@dataclass(frozen=True, kw_only=True)
class Answer(Chunk, _Sent, sender=Sender.PROVIDER, stage="online", key=Key.CLIENT):
    """A piece of the logits of the queries in the same slots, sanitised as far as the suite can."""

    pool: int
    first_slot: int
    count: int

    def __post_init__(self) -> None:
        super().__post_init__()
        require_slots(self.pool, self.first_slot, self.count)


@dataclass(frozen=True, kw_only=True)
class Resume(_Sent, sender=Sender.CLIENT, stage="handshake"):
    """Nonce of the hello of a session to go on with, and how many messages of the provider the client has processed."""

    nonce: bytes
    received: int

    def __post_init__(self) -> None:
        require_digest(self.nonce, "a nonce")


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
        require_digest(self.transcript_digest, "a transcript digest")


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
