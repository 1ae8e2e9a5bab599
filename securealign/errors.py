"""One exception tree and one catalogue of error codes.

Every failure carries an `ErrorCode`. Its sentence is all that a peer ever sees; the message and the hint of the
exception are for the local user, and neither may contain key material, embeddings or texts.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, IntEnum


class ExitCode(IntEnum):
    """Process exit codes of every command."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    INPUT = 3
    REFUSED = 4
    NETWORK = 5
    UNAVAILABLE = 6
    #: A resource is held by another process: the same command may succeed later (EX_TEMPFAIL of sysexits.h).
    TEMPORARY = 75


class ErrorCode(Enum):
    """What went wrong: (number on the wire, sentence a peer may see, exit code unless it is that of a refusal)."""

    INTERNAL = (
        1,
        "An internal fault ended the session; its operator finds the cause in the local log.",
        ExitCode.INTERNAL,
    )
    VERSION_UNSUPPORTED = (2, "The parties share no protocol version; upgrade the older one.")
    SUITE_UNKNOWN = (3, "The parties share no encryption suite; compare the suites both sides allow.")
    SUITE_REFUSED = (4, "Policy refuses this suite here; 'plaintext' is for loopback and simulation only.")
    PARAMETERS_MISMATCH = (5, "The parties hold different parameters for the agreed suite; run the same release.")
    DATASET_MISMATCH = (
        6,
        "The parties hold different public texts, or another order of them; exchange the file again.",
    )
    SHAPE_MISMATCH = (7, "A matrix has another shape than the handshake agreed on.")
    TOO_FEW_ROWS = (8, "There are too few public rows for the provider's policy; use more public texts.")
    LIMIT_EXCEEDED = (9, "A declared size exceeds the limits of the peer; reduce it or agree on other limits.")
    FRAME_MALFORMED = (10, "A frame was truncated or is not a message of this protocol.")
    FRAME_TOO_LARGE = (11, "A frame is larger than the protocol allows.")
    CIPHERTEXT_MALFORMED = (12, "A ciphertext has a wrong length, header, key or session.")
    COEFFICIENT_OUT_OF_RANGE = (13, "A ciphertext holds a coefficient outside its modulus.")
    UNEXPECTED_MESSAGE = (14, "A message arrived that this state of the session does not allow.")
    SEQUENCE_BROKEN = (15, "A message arrived out of sequence.")
    SLOT_REUSED = (16, "A query slot was used a second time for another query; the second query is refused.")
    QUERY_BUDGET_EXHAUSTED = (17, "The query budget of this party is used up.")
    TRANSCRIPT_MISMATCH = (18, "The transcripts of the parties differ; do not use the result.")
    WRONG_ROLE = (
        19,
        "The peer's certificate is for another role; each party needs the bundle of its own role.",
        ExitCode.NETWORK,
    )
    PEER_UNTRUSTED = (
        20,
        "A party's certificate was not issued by the authority that the other one trusts.",
        ExitCode.NETWORK,
    )
    PEER_UNREACHABLE = (21, "The peer could not be reached.", ExitCode.NETWORK)
    CONNECTION_LOST = (22, "The connection to the peer was lost during the session.", ExitCode.NETWORK)
    DEADLINE_EXCEEDED = (23, "The session did not finish within its deadline.", ExitCode.NETWORK)
    SERVER_BUSY = (24, "The provider serves its maximum number of sessions; try again later.", ExitCode.NETWORK)
    CANCELLED = (25, "The session was cancelled.", ExitCode.NETWORK)
    CONFIGURATION_INVALID = (26, "The configuration is not valid.", ExitCode.USAGE)
    INPUT_INVALID = (27, "The input is not valid.", ExitCode.INPUT)
    NON_FINITE_INPUT = (28, "A matrix holds NaN or infinite values.", ExitCode.INPUT)
    FILE_INVALID = (29, "A file is missing, unreadable or not what it should be.", ExitCode.INPUT)
    PLAN_INFEASIBLE = (30, "The suite's modulus cannot hold this computation.", ExitCode.USAGE)
    SUITE_UNAVAILABLE = (31, "The suite cannot run in this environment.", ExitCode.UNAVAILABLE)
    DEPENDENCY_MISSING = (32, "An optional dependency is not installed.", ExitCode.UNAVAILABLE)
    ASSET_UNAVAILABLE = (33, "A model or data set could not be fetched.", ExitCode.UNAVAILABLE)

    NOT_SERVED = (34, "The provider does not serve this phase.", ExitCode.NETWORK)
    RANK_BUDGET_EXHAUSTED = (
        35,
        "Policy lets a peer see only part of what these public texts show; agree on more or on new texts.",
    )

    SESSION_UNKNOWN = (36, "The provider does not keep that session; start a new one.", ExitCode.NETWORK)
    SESSION_ROLLED_BACK = (
        37,
        "A party's record of the session is older than what it has already said; the session cannot go on.",
    )
    RATE_LIMITED = (38, "This party asks too often for the provider's policy; try again later.")
    MEMORY_EXHAUSTED = (39, "The provider has no memory left for this session; try again later.", ExitCode.NETWORK)
    CERTIFICATE_REVOKED = (40, "A party's certificate was revoked; its operator needs a new one.", ExitCode.NETWORK)
    KEY_UNUSABLE = (41, "A key is missing, expired, used up or destroyed.", ExitCode.INPUT)
    PASSPHRASE_WRONG = (42, "The passphrase does not open the key store.", ExitCode.INPUT)
    STORE_DAMAGED = (43, "A store of keys or sessions was truncated or altered.", ExitCode.INPUT)
    STORE_LOCKED = (44, "Another process uses this store.", ExitCode.TEMPORARY)
    AUDIT_BROKEN = (45, "The audit log was altered, cut or reordered.", ExitCode.INPUT)
    PRIVACY_BUDGET_EXHAUSTED = (
        46,
        "The privacy budget of these public texts is used up for this party; agree on new texts.",
    )
    PRIVACY_REFUSED = (47, "The parties do not agree on differential privacy for this training.")
    OUTPUT_REFUSED = (48, "The provider's policy does not offer that output.")
    SPACE_MISMATCH = (
        49,
        "The map was made with another provider, another encoder of it or other public texts; align again.",
    )
    PAIRS_UNRELATED = (50, "The public embeddings of the two parties do not belong together.", ExitCode.INPUT)
    ANSWERS_INCONSISTENT = (51, "Answers of a provider contradict each other; do not use them.")
    HEAD_CHANGED = (52, "The provider changed this head after the session began; start again, to be answered by one.")
    NOT_OFFERED = (53, "The provider offers this party no head or space of that name; ask it for its list.")
    STARTING = (54, "The provider is not ready yet; try again later.", ExitCode.NETWORK)
    ADDRESS_TAKEN = (55, "Another process listens on this address.", ExitCode.TEMPORARY)
    ENDPOINT_UNAVAILABLE = (56, "An embedding endpoint cannot be reached or cannot answer now.", ExitCode.NETWORK)
    ENDPOINT_REFUSED = (57, "An embedding endpoint refuses the key, the model or the request.", ExitCode.USAGE)
    ENDPOINT_ANSWER_INVALID = (58, "An embedding endpoint gave an answer that cannot be used.", ExitCode.NETWORK)
    ENDPOINT_CHANGED = (59, "The model behind an embedding endpoint has changed.", ExitCode.INPUT)
    CLIENT_CLOSED = (60, "This client is closed.", ExitCode.USAGE)
    TOKEN_REFUSED = (61, "A request carries no token, or another one than the service expects.")

    def __init__(self, number: int, sentence: str, exit_code: ExitCode = ExitCode.REFUSED) -> None:
        self.number, self.sentence, self.exit_code = number, sentence, exit_code

    @classmethod
    def from_number(cls, number: int) -> ErrorCode:
        """Return the code with this wire number, `INTERNAL` for one that this release does not know."""
        return next((code for code in cls if code.number == number), cls.INTERNAL)


class SecurealignError(Exception):
    """Base of all errors: a code, a message for the local user, and a hint that says what to do next."""

    default_code = ErrorCode.INTERNAL

    def __init__(self, message: str, *, hint: str = "", code: ErrorCode | None = None) -> None:
        super().__init__(f"{message} {hint}".rstrip())
        self.code = code or self.default_code
        self.message, self.hint = message, hint


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the question whether the nearest known name was meant, with a space behind it; "" when none is near."""
    from difflib import get_close_matches

    near = get_close_matches(name.lower(), known, n=1)
    return f"Did you mean {near[0]!r}? " if near else ""


class SecurealignWarning(UserWarning):
    """A result that is returned but may be wrong; the message says why."""


class ConfigurationError(SecurealignError):
    """A setting, flag or parameter that the local user can correct."""

    default_code = ErrorCode.CONFIGURATION_INVALID


class InputError(SecurealignError):
    """Data given by the local user that cannot be used: wrong shape, NaN, unreadable file."""

    default_code = ErrorCode.INPUT_INVALID


class FileError(InputError):
    """A file that is missing, unreadable or not what it should be."""

    default_code = ErrorCode.FILE_INVALID


class ShapeError(InputError):
    """Data that does not fit other data: another number of rows, columns or dimensions."""

    default_code = ErrorCode.SHAPE_MISMATCH


class SuiteError(SecurealignError):
    """An encryption suite that is unknown, refused, unavailable or asked for more than it can do."""

    default_code = ErrorCode.SUITE_UNKNOWN


class CiphertextError(SecurealignError):
    """Bytes of a peer that are not a well-formed ciphertext or key of the agreed suite."""

    default_code = ErrorCode.CIPHERTEXT_MALFORMED


class OutputModeError(SecurealignError):
    """Probabilities or logits that are asked of a head of margins, or of answers that are labels alone."""

    default_code = ErrorCode.OUTPUT_REFUSED


class LocalProtocolError(SecurealignError):
    """This program asked its own protocol machine for something the protocol forbids."""

    default_code = ErrorCode.UNEXPECTED_MESSAGE


class RemoteProtocolError(SecurealignError):
    """The peer sent something the protocol forbids."""

    default_code = ErrorCode.UNEXPECTED_MESSAGE


class PeerAborted(SecurealignError):
    """The peer ended the session and said why."""

    def __init__(self, code: ErrorCode) -> None:
        super().__init__(f"The peer ended the session: {code.sentence}", code=code)


class TransportError(SecurealignError):
    """The connection failed: unreachable, untrusted, lost, late or busy."""

    default_code = ErrorCode.CONNECTION_LOST


class KeyStoreError(SecurealignError):
    """A key or a store of keys or sessions that cannot be used: wrong passphrase, damaged, expired, locked."""

    default_code = ErrorCode.STORE_DAMAGED


class DependencyError(SecurealignError):
    """An optional package is missing; the hint names the extra to install."""

    default_code = ErrorCode.DEPENDENCY_MISSING


class AssetError(SecurealignError):
    """A model or data set that could not be fetched or failed its checksum."""

    default_code = ErrorCode.ASSET_UNAVAILABLE


class EndpointError(SecurealignError):
    """An embedding endpoint that cannot be used: unreachable, refusing, changed, or answering with something else."""

    default_code = ErrorCode.ENDPOINT_UNAVAILABLE
