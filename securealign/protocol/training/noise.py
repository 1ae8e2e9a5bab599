"""Gaussian noise that the provider adds to an encrypted product, whose scale it does not know.

The client appends w = d_B + 1 rows of the identity and w rows of 2^-8 times the identity to its rows of norm at most 1,
encrypted like all others. The provider appends 2 w rows of noise to Z_A. The product is then Z_A^T M + G^T with G = hi
+ 2^-8 lo, Gaussian of standard deviation sigma c_A, under any suite.

Two rows for each column, because a suite rounds the provider's numbers: noise in whole steps of the product's scale
would reveal the product modulo the step, which one row of Z_A changes. With a fine part a step is 2^-8 Q, for numbers
held to a quantum Q, and the rest is covered by the flood of `lwe`, which is a whole number of steps wide: modulo a step
an answer is uniform, and what remains is an integer product, rounded by a dither that everyone may know. Rounding adds
at most one step in each of d_A w entries to what one row can change, sqrt(d_A w) in 2-norm; the noise is larger by
that. Z_A is brought to multiples of Q before, and the norms that a suite derives its scales from are bounds that do not
depend on Z_A.
"""

import hashlib
import math
from dataclasses import dataclass

import numpy as np

from securealign.errors import ErrorCode, SuiteError
from securealign.he.entropy import gaussian, keystream
from securealign.matrices import FloatMatrix, MappedRows, Rows, StackedRows

#: log2 of the ratio between the two rows of a column.
FINE_BITS = 8
#: log2 of the precision, relative to the norm of a column, that a suite which is exact gives the provider's numbers.
OPERAND_BITS = 16
#: Standard deviations by which the norm of a column of noise may exceed its mean; beyond lies less than 1e-22.
_TAIL = 10.0
SEED_BYTES = 32


@dataclass(frozen=True)
class NoisePlan:
    """Scales of the noise for Z_A of shape (rows, provider_dim), d_B + 1 columns of the client, c_A and sigma."""

    rows: int
    provider_dim: int
    columns: int
    row_norm: float
    multiplier: float

    def __post_init__(self) -> None:
        if self._steps > self.row_norm or self.rounding > self.row_norm / 2:
            raise SuiteError(
                f"Noise {self.multiplier:.3g} times as wide as a row over {self.rows} rows and {self.provider_dim} x "
                f"{self.columns} entries leaves no precision for the rows.",
                hint="Raise epsilon, or use encoders of fewer dimensions.",
                code=ErrorCode.PLAN_INFEASIBLE,
            )

    @property
    def column_norm(self) -> float:
        """Bound on the norm of every column of the provider, whatever Z_A holds."""
        # Twice the standard deviation covers what the steps add to it, which is known only with the quantum.
        noise = 2 * self.multiplier * self.row_norm * (math.sqrt(self.columns) + _TAIL)
        without_fine = math.hypot(math.sqrt(self.rows) * self.row_norm, noise)
        # The fine part and rounding reach 2^7 + 1 quanta, each below 2^-15 of the norm itself.
        share = (2 ** (FINE_BITS - 1) + 1) * math.sqrt(self.columns) * 2.0 ** (1 - OPERAND_BITS)
        return without_fine / math.sqrt(1 - share**2)

    @property
    def quantum(self) -> float:
        """Q, a power of two and no finer than what the suite holds."""
        return float(2.0 ** math.ceil(math.log2(self.column_norm) - OPERAND_BITS))

    @property
    def deviation(self) -> float:
        """Standard deviation of the noise in an entry of the product, in units of Z_A."""
        return self.multiplier * (self.row_norm + self._steps)

    @property
    def _steps(self) -> float:
        """What rounding every entry of the product to a step adds to the change that one row can make."""
        return math.sqrt(self.provider_dim * self.columns) * self.quantum * 2.0**-FINE_BITS

    @property
    def rounding(self) -> float:
        """Root mean square of what rounding adds to a row of Z_A."""
        return math.sqrt(self.provider_dim / 12) * self.quantum


def extra_rows(columns: int) -> int:
    """Return how many rows both parties append for `columns` columns of the client."""
    return 2 * columns


def noise_bytes(provider_dim: int, columns: int) -> int:
    """Return the bytes that the provider's rows of noise take in memory."""
    return 8 * provider_dim * columns


def private_rows(rows: Rows, plan: NoisePlan, seed: bytes, session: bytes) -> Rows:
    """Return Z_A, clipped and rounded, and the rows of noise that follow from a secret seed and the session."""
    norms = np.full(plan.provider_dim, plan.column_norm)
    return StackedRows([MappedRows(rows, lambda block: _limited(block, plan)), *_noise(plan, seed, session)], norms)


def _limited(block: FloatMatrix, plan: NoisePlan) -> FloatMatrix:
    """Return rows as multiples of the quantum whose norm is at most c_A."""
    quantum, limit = plan.quantum, plan.row_norm
    # Rounding adds a little to the norm of a row; aiming below the limit leaves few rows to be cut.
    target = math.sqrt(limit**2 - plan.rounding**2) * 0.999
    norms = np.linalg.norm(block, axis=1, keepdims=True)
    shrunk = block * np.minimum(1.0, np.divide(target, norms, out=np.ones_like(norms), where=norms > 0))
    rounded: FloatMatrix = np.rint(shrunk / quantum) * quantum
    beyond = np.linalg.norm(rounded, axis=1) > limit
    rounded[beyond] = np.trunc(shrunk[beyond] / quantum) * quantum
    return rounded


def _noise(plan: NoisePlan, seed: bytes, session: bytes) -> list[Rows]:
    """Return the coarse and the fine rows, shape (d_B + 1, d_A) each."""
    key = hashlib.sha256(b"securealign/noise/" + session + seed).digest()
    steps = np.empty((plan.columns, plan.provider_dim))
    scale = plan.deviation / (plan.quantum * 2.0**-FINE_BITS)
    # A multiple of the cipher's block for every row.
    stride = -(-8 * plan.provider_dim // 16) * 16
    for row in range(plan.columns):
        octets = keystream(key, stride, offset=row * stride)[: 8 * plan.provider_dim]
        steps[row] = np.rint(gaussian(octets) * scale)
    half = 1 << (FINE_BITS - 1)

    def coarse(block: FloatMatrix) -> FloatMatrix:
        return np.floor((block + half) / (2 * half)) * plan.quantum

    def fine(block: FloatMatrix) -> FloatMatrix:
        return ((block + half) % (2 * half) - half) * plan.quantum

    return [MappedRows(Rows(steps), part) for part in (coarse, fine)]
