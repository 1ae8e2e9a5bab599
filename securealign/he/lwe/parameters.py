"""Parameter sets of the `lwe` suite; a set below the security it claims cannot be constructed."""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from types import MappingProxyType

from securealign.errors import ErrorCode, SuiteError
from securealign.he.estimator import SecurityEstimate, estimate, standard_log_q_limit

#: Bytes of one residue on the wire: a 64-bit and a 16-bit word.
RESIDUE_BYTES = 10
#: Modulus of an answer and the bytes of its residues.
LOG_ANSWER_MODULUS = 40
ANSWER_BYTES = 5
#: Width of the rounded Gaussian error.
SIGMA = 3.19
#: log2 of the ratio between the flood and the noise it hides, per coefficient.
STATISTICAL_BITS = 40


@dataclass(frozen=True, kw_only=True)
class LweParameters:
    """LWE with a uniform ternary secret, modulus 2^log_q and rounded Gaussian error of width `SIGMA`.

    Raises `SuiteError` when the estimate falls below the claimed bits, or when sums would leave exact float64.
    """

    name: str
    #: Dimension n of the secret.
    dimension: int
    #: log2 of the modulus q.
    log_q: int
    #: Claimed security in bits, classical and post-quantum; 0 claims nothing.
    classical_bits: int
    quantum_bits: int = 0

    def __post_init__(self) -> None:
        if self.dimension % 8 or not 8 <= self.dimension <= 8192:
            # A row of public randomness must start at a cipher block; n * 2^40 must stay below 2^53.
            raise self._unusable("the dimension is a multiple of 8 from 8 to 8192")
        if not 72 <= self.log_q <= 80:
            raise self._unusable("log q lies between 72 and 80")
        security = self.security
        if security.classical_bits < self.classical_bits or security.quantum_bits < self.quantum_bits:
            raise self._unusable(
                f"it claims {self.classical_bits}/{self.quantum_bits} bits but the estimate is "
                f"{security.classical_bits:.0f}/{security.quantum_bits:.0f}"
            )
        if self.classical_bits >= 128 and self.log_q > standard_log_q_limit(self.dimension):
            raise self._unusable("log q exceeds the table of ePrint 2024/463 for 128 bits")

    def _unusable(self, reason: str) -> SuiteError:
        return SuiteError(
            f"The parameter set {self.name!r} is not usable: {reason}.",
            hint="Use one of the shipped sets.",
            code=ErrorCode.PARAMETERS_MISMATCH,
        )

    @property
    def security(self) -> SecurityEstimate:
        """The estimated cost of the best modelled attack."""
        return estimate(self.dimension, self.log_q, SIGMA)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over all parameters, 32 bytes; the parties compare it in the handshake."""
        fields = asdict(self) | {
            "sigma": SIGMA,
            "statistical_bits": STATISTICAL_BITS,
            "log_answer_modulus": LOG_ANSWER_MODULUS,
            "format": 2,
        }
        return hashlib.sha256(b"securealign/lwe/parameters" + json.dumps(fields, sort_keys=True).encode()).digest()


LWE_128 = LweParameters(name="lwe-128", dimension=3200, log_q=80, classical_bits=128)
LWE_128Q = LweParameters(name="lwe-128q", dimension=4096, log_q=80, classical_bits=128, quantum_bits=128)

PARAMETER_SETS = MappingProxyType({parameters.name: parameters for parameters in (LWE_128, LWE_128Q)})
