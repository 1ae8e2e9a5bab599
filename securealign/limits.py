"""Every bound on what a peer can ask for, with its reason.

A `Limits` value is handed to the protocol machines; operators override single bounds in their configuration. All are
checked before memory is allocated or work is done for the peer.
"""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt

MEBIBYTE = 1 << 20

#: Largest encoded message. A quarter of gRPC's default receive limit, so that the limit never has to be raised.
MAX_FRAME_BYTES = MEBIBYTE
#: Room that a frame keeps for the fields around its payload.
FRAME_OVERHEAD_BYTES = 1024
#: Largest payload of one chunk.
MAX_CHUNK_BYTES = MAX_FRAME_BYTES - FRAME_OVERHEAD_BYTES
#: Length of a SHA-256 digest, and of a nonce.
DIGEST_BYTES = 32
#: Length of the name of a provider's space of coordinates.
SPACE_BYTES = 16


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds on what one session may ask for."""

    #: Embedding dimension of either party; the largest open models have 8,192. Provider memory grows with it.
    max_dimension: int = 8192
    #: Public rows of one training session: 2^20 keeps the exact int64 accumulators of `lwe` below 2^62.
    max_rows: int = 1 << 20
    #: Classes of a head.
    max_classes: int = 4096
    #: Query slots of one pool, which share the randomness that hides the head; key material and pool grow with it.
    max_pool_slots: int = 1024
    #: Pools that wait for queries at a time; an older pool is retired.
    max_live_pools: int = 2
    #: Unacknowledged upload messages a client may have in flight; bounds both parties' buffers to 8 MiB.
    upload_window: int = 8
    #: Rows after which a provider records its sums: what a crash costs at most, against what a record costs, 90 MB for
    #: 768 dimensions and a few per cent of the work on these rows.
    rows_between_records: int = 8192
    #: Messages after which a party tells its peer that it need not keep them any more.
    messages_between_receipts: int = 32
    #: Key material: 8,192 columns of 4,096 ten-byte coefficients.
    max_key_bytes: int = 352 * MEBIBYTE
    #: An encrypted cross-covariance between two 8,192-dimensional spaces, in eight groups of columns.
    max_result_bytes: int = 1664 * MEBIBYTE
    #: Offline material of one pool: 4,096 classes, 4,096 five-byte coefficients, and slack for other suites.
    max_pool_bytes: int = 128 * MEBIBYTE
    #: A client's choices for one pool of label-only answers, which both parties hold whole.
    max_choices_bytes: int = 16 * MEBIBYTE
    #: The tables of one such pool, which the client keeps until its slots are used: 1,024 slots of 31 classes, or 205
    #: of 150.
    max_tables_bytes: int = 64 * MEBIBYTE
    #: The answer to the queries of one message: a ciphertext for each of 1,024 classes in suites that need one.
    max_answer_bytes: int = 144 * MEBIBYTE
    #: Suites offered in one handshake.
    max_offered_suites: int = 16
    #: Length of a class name, suite name or sentence, in characters.
    max_text: int = 256


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Bounds of the provider's server, which its operator sets in the section [server]; a configuration checks them."""

    #: Sessions at a time.
    max_sessions: Annotated[int, Gt(0)] = 16
    #: Seconds that a session may last.
    session_seconds: Annotated[float, Gt(0)] = 3600.0
    #: Seconds that a client may stay silent while the provider waits for it.
    idle_seconds: Annotated[float, Gt(0)] = 120.0
