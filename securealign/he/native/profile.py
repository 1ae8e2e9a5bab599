"""What a native library's suite promises, and the sizes of what it sends."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

from securealign.errors import ErrorCode, SuiteError
from securealign.he.blobs import Binding
from securealign.he.estimator import STANDARD_LOG_Q, SecurityEstimate, estimate
from securealign.he.interface import HeadShape

#: Width of the error that all libraries here use.
_SIGMA = 3.19
#: A worker without keys and sums: the interpreter and the library.
_WORKER_BYTES = 160 << 20
#: What every ring claims at least against classical attacks, and some against quantum ones.
CLAIMED_BITS = 128


@dataclass(frozen=True, kw_only=True)
class Ring:
    """A ring Z_q[X] / (X^n + 1) with a ternary secret; raises `SuiteError` when it is below 128 bits of security."""

    #: n, a power of two with a row in the table.
    dimension: int
    #: log2 of the largest modulus under which the secret is used, special primes included.
    log_q: int

    def __post_init__(self) -> None:
        if self.log_q > STANDARD_LOG_Q.get(self.dimension, 0) or self.security.classical_bits < CLAIMED_BITS:
            raise SuiteError(
                f"A ring of dimension {self.dimension} with a modulus of {self.log_q} bits is below 128 bits of "
                "security.",
                code=ErrorCode.PARAMETERS_MISMATCH,
            )

    @property
    def slots(self) -> int:
        """Numbers that one CKKS ciphertext holds."""
        return self.dimension // 2

    @property
    def security(self) -> SecurityEstimate:
        """The estimated cost of the best modelled attack; the ring structure is not known to help."""
        return estimate(self.dimension, self.log_q, _SIGMA)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job's ring and scales, and the room that its serialised objects need, in bytes."""

    ring: Ring
    #: Largest norm of a column of the client's numbers, and of the provider's; their product fits the modulus.
    message_norm: float
    operand_norm: float
    #: Room for a fresh ciphertext and for one that was evaluated.
    fresh_bytes: int
    evaluated_bytes: int

    def ciphertexts(self, numbers: int) -> int:
        """Return how many ciphertexts hold this many numbers."""
        return -(-numbers // self.ring.slots)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A suite on a native library: what it is called, its jobs, and how to find its engine."""

    name: str
    parameter_set: str
    #: The package to import, and what to do where it cannot be.
    package: str
    advice: str
    #: The module that imports it, in workers only; it has a class for every role, and `Probe`.
    engine: str
    #: Everything that both parties must agree on beyond the jobs below, such as the chain of moduli.
    parameters: tuple[str, ...]
    covariance: Job
    head: Job
    #: Room for the key material of a covariance, and of a head by its shape.
    covariance_key_bytes: int
    head_key_bytes: Callable[[HeadShape], int]
    #: Ciphertexts of an answer to one query.
    answer_ciphertexts: Callable[[HeadShape], int]
    largest_classes: int
    #: Errors of an entry of a covariance and of a logit, measured, relative to the two norms that made it.
    covariance_error: float
    head_error: float

    @property
    def digest(self) -> bytes:
        """SHA-256 over all parameters, 32 bytes."""
        fields = [self.name, self.parameter_set, self.parameters, asdict(self.covariance), asdict(self.head)]
        return hashlib.sha256(b"securealign/native/parameters" + json.dumps(fields).encode()).digest()

    def memory(self, *objects: int) -> int:
        """Return the bytes that a worker and its party hold at most for serialised objects of these sizes together.

        Each is copied on its way through the frames, and larger in the library than serialised.
        """
        return _WORKER_BYTES + 8 * sum(objects)

    def binding(self, session: bytes, key: bytes = b"") -> Binding:
        """Return what binds blobs to a session, and to a key once there is one."""
        return Binding(b"SNTV", self.digest, session, hashlib.sha256(key).digest() if key else b"")
