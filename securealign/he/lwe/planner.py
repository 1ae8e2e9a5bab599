"""Bit budget of one product U M: scales, flood, bytes and the error to expect.

The provider's operand U has rows of norm at most `OPERAND_NORM`; the client's message M has columns of norm at most
`message_norm`. By Cauchy-Schwarz no entry of U M leaves the modulus, whatever the data are. The noise U E + R E' - E1 S
is bounded by six standard deviations of its 2-norm and hidden under a uniform flood 2^40 times as wide, so an answer
and its simulation (uniform H; Y = H S + F + U M) are 2^-40 apart in each coefficient.
"""

import math
from dataclasses import dataclass

import numpy as np

from securealign.errors import ErrorCode, SuiteError
from securealign.he.blobs import HEADER_BYTES
from securealign.he.estimator import SecurityEstimate, estimate
from securealign.he.lwe.parameters import (
    ANSWER_BYTES,
    LOG_ANSWER_MODULUS,
    RESIDUE_BYTES,
    SIGMA,
    STATISTICAL_BITS,
    LweParameters,
)
from securealign.matrices import FloatMatrix

#: Norm to which the rows of U are scaled; balances the rounding of U against the flood, which grows with it.
OPERAND_NORM = 100_000.0
#: Error of an entry of U M, relative to the product of the two norms, above which a plan is refused.
MAX_RELATIVE_ERROR = 2.0**-12
#: Rows of M above which int64 accumulators could overflow.
MAX_TERMS = 1 << 20
#: Tail of the noise bound in standard deviations.
_TAIL = 6.0
#: Bits of an entry of R.
MASK_BITS = 11
#: Mean square of an entry of R, uniform from -1,024 to 1,023.
_MASK_SQUARE = 349_525.5
#: Columns that one R may serve. What a forged P reads of R then leaves an LWE problem of 149 bits (docs/lwe-spec.md).
COLUMNS_OF_A_GROUP = 1025
#: Slots of a pool, which share one R.
MAX_SLOTS = 1024


@dataclass(frozen=True)
class BitBudget:
    """The product of a provider's (left, terms) matrix and a client's (terms, width) matrix under one parameter set.

    Raises `SuiteError` with the missing bits when the modulus cannot hold it.
    """

    parameters: LweParameters
    left: int
    terms: int
    width: int

    def __post_init__(self) -> None:
        if self.terms > MAX_TERMS:
            raise self._refusal(f"{self.terms} rows exceed the {MAX_TERMS} that exact accumulation allows")
        if self.flood_bits > 62 or self.message_norm < 1 or self.relative_error > MAX_RELATIVE_ERROR:
            missing = math.ceil(math.log2(self.relative_error / MAX_RELATIVE_ERROR)) if self.message_norm >= 1 else 1
            raise self._refusal(f"the modulus of {self.parameters.log_q} bits is about {max(missing, 1)} bits short")

    def _refusal(self, reason: str) -> SuiteError:
        return SuiteError(
            f"The plan does not fit: {reason}.",
            hint="Use a larger parameter set or fewer rows.",
            code=ErrorCode.PLAN_INFEASIBLE,
        )

    @property
    def operand_bound(self) -> float:
        """Norm of a row of U after rounding, which can add half a unit in every term."""
        return OPERAND_NORM + math.sqrt(self.terms) / 2

    @property
    def noise_bound(self) -> float:
        """Six standard deviations of a coefficient of U E + R E' - E1 S."""
        variance = SIGMA**2 + 1 / 12
        return _TAIL * math.sqrt(variance * (self.operand_bound**2 + self.parameters.dimension * (_MASK_SQUARE + 1)))

    @property
    def flood_bits(self) -> int:
        """log2 of the flood's half-width."""
        return math.ceil(math.log2(self.noise_bound)) + STATISTICAL_BITS

    @property
    def message_norm(self) -> float:
        """Largest norm of a column of M for which U M, noise and flood stay within half the modulus."""
        return (2.0 ** (self.parameters.log_q - 1) - 2.0 ** (self.flood_bits + 1)) / self.operand_bound

    def largest_value(self, norms: FloatMatrix) -> FloatMatrix:
        """Return the largest size of a decrypted coefficient for columns of M with these norms, in units of 2^(L - 40).

        By Cauchy-Schwarz, and with the flood, six standard deviations of the noise, and what rounding adds.
        """
        extreme = self.operand_bound * (norms + math.sqrt(self.terms)) + 2.0 ** (self.flood_bits + 1)
        largest: FloatMatrix = np.ldexp(extreme, LOG_ANSWER_MODULUS - self.parameters.log_q)
        return largest + self.parameters.dimension

    @property
    def relative_error(self) -> float:
        """Standard deviation of an entry of the decrypted product, relative to the two norms that made it.

        Scales are powers of two, so either norm may use as little as half of its range: the worst case is reported.
        """
        flood = 2.0**self.flood_bits / math.sqrt(3) * 4 / (OPERAND_NORM * self.message_norm)
        rounding = math.sqrt(1 / 12) * 2 / OPERAND_NORM
        return math.hypot(flood, rounding)

    @property
    def expected_error(self) -> float:
        """Root mean square of that error where both norms lie anywhere between half of their range and all of it."""
        # The mean of 4^x for x between 0 and 1, for each of the two scales.
        spread = 3 / (2 * math.log(2))
        flood = 2.0**self.flood_bits / math.sqrt(3) * spread / (OPERAND_NORM * self.message_norm)
        rounding = math.sqrt(1 / 12 * spread) / OPERAND_NORM
        return math.hypot(flood, rounding)

    @property
    def distance_bits(self) -> float:
        """-log2 of the total statistical distance between an answer and its simulation: coefficients times 2^-40."""
        return STATISTICAL_BITS - math.log2(self.left * self.width)

    @property
    def key_bytes(self) -> int:
        """Bytes of the public key: two seeds and an n x width matrix."""
        return HEADER_BYTES + 64 + self.parameters.dimension * self.width * RESIDUE_BYTES

    @property
    def row_bytes(self) -> int:
        """Bytes of one encrypted row of M."""
        return self.width * RESIDUE_BYTES

    @property
    def coefficient_bits(self) -> int:
        """Bits that a coefficient of an answer can show, whatever P and M are: log2 of q over the flood's width.

        Modulo q, the uniform flood leaves that much of any value (the capacity of a modulo-additive channel).
        """
        return min(LOG_ANSWER_MODULUS, self.parameters.log_q - self.flood_bits - 1)

    @property
    def groups(self) -> list[slice]:
        """The columns that share one H each."""
        return [
            slice(first, min(first + COLUMNS_OF_A_GROUP, self.width))
            for first in range(0, self.width, COLUMNS_OF_A_GROUP)
        ]

    @property
    def forged_key_security(self) -> SecurityEstimate:
        """What is left of a row of R when P is forged and each column of a group shows all that it can.

        R has 11 bits for each of n entries; what is shown is taken off as whole entries. H is known to 40 bits, so its
        error is that of rounding. A heuristic: the leakage is linear and chosen by the client, which no entropic-LWE
        theorem covers at these parameters.
        """
        shown = min(self.width, COLUMNS_OF_A_GROUP) * self.coefficient_bits
        left = self.parameters.dimension - math.ceil(shown / MASK_BITS)
        if left < 1:
            return SecurityEstimate(0, 0.0, 0.0)
        return estimate(left, LOG_ANSWER_MODULUS, math.sqrt(1 / 12), math.sqrt(_MASK_SQUARE))

    @property
    def hint_bytes(self) -> int:
        """Bytes of H of one group, the part of an answer that does not depend on M."""
        return self.left * self.parameters.dimension * ANSWER_BYTES

    @property
    def answer_bytes(self) -> int:
        """Bytes of Y for all columns."""
        return self.left * self.width * ANSWER_BYTES
