"""Security of an LWE instance: the primal (uSVP) attack under the geometric series assumption.

The attack embeds the short vector (s, e, 1) in a q-ary lattice of dimension d = n + m + 1, scales the secret part to
the width of the error (Bai-Galbraith), and runs BKZ with the smallest block size beta for which the projected vector is
found (Alkim et al. 2016, verified by Albrecht et al. 2017). One call of the SVP oracle costs 2^(0.292 beta + 16.4)
(Becker et al. 2016), BKZ calls it about 8 d times. The model reproduces the 128-bit rows of the
HomomorphicEncryption.org standard; hybrid and dual attacks are not modelled, so parameter sets are also held below the
table of Bossuat et al. (ePrint 2024/463), which was made with all of them.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

#: Largest log2 q for 128-bit classical security with a ternary secret, ePrint 2024/463, Table 5.2.
STANDARD_LOG_Q = {1024: 26, 2048: 53, 4096: 106, 8192: 214, 16384: 430, 32768: 868}

#: The variance of a uniform secret in {-1, 0, 1}.
TERNARY_VARIANCE = 2 / 3


#: Standard deviation of such a secret.
TERNARY_DEVIATION = math.sqrt(TERNARY_VARIANCE)


@dataclass(frozen=True)
class SecurityEstimate:
    """Cost of the primal attack: BKZ block size, log2 of classical operations, log2 of quantum core-SVP operations."""

    block_size: int
    classical_bits: float
    quantum_bits: float

    @property
    def core_svp_bits(self) -> float:
        """log2 of classical core-SVP operations: one call of the oracle, without lower-order terms."""
        return 0.292 * self.block_size


def _log_root_hermite(beta: int) -> float:
    """Return log2 of the root Hermite factor that BKZ with block size `beta` reaches (Chen 2013)."""
    return (math.log2(beta / (2 * math.pi * math.e)) + math.log2(math.pi * beta) / beta) / (2 * (beta - 1))


def _attack_succeeds(beta: int, dimension: int, log_q: float, sigma: float, deviation: float) -> int:
    """Return the lattice dimension in which block size `beta` finds the secret, or 0."""
    log_delta = _log_root_hermite(beta)
    secret_scale = math.log2(sigma / deviation)
    target = math.log2(sigma) + math.log2(beta) / 2

    def margin(samples: int) -> float:
        d = dimension + samples + 1
        log_volume = samples * log_q + dimension * secret_scale
        return (2 * beta - d - 1) * log_delta + log_volume / d - target

    # The margin is unimodal in the number of samples; its maximum solves d^2 log_delta = n (log_q - scale).
    best = math.sqrt(dimension * (log_q - secret_scale) / log_delta) - dimension - 1
    samples = max(1, min(2 * dimension, round(best)))
    return dimension + samples + 1 if margin(samples) >= 0 else 0


@lru_cache(maxsize=64)
def estimate(dimension: int, log_q: float, sigma: float, deviation: float = TERNARY_DEVIATION) -> SecurityEstimate:
    """Return the cost of the primal attack on a secret of `dimension` entries of a standard deviation.

    The modulus is 2^log_q, the error has width `sigma`; without `deviation` the secret is ternary.
    """
    low, high = 50, 4 * dimension
    while low < high:
        middle = (low + high) // 2
        if _attack_succeeds(middle, dimension, log_q, sigma, deviation):
            high = middle
        else:
            low = middle + 1
    lattice = _attack_succeeds(low, dimension, log_q, sigma, deviation) or 3 * dimension
    return SecurityEstimate(
        block_size=low,
        classical_bits=0.292 * low + 16.4 + math.log2(8 * lattice),
        quantum_bits=0.265 * low,
    )


def standard_log_q_limit(dimension: int) -> float:
    """Return the largest log2 q of ePrint 2024/463 for 128 bits, interpolated linearly between its rows."""
    rows = sorted(STANDARD_LOG_Q.items())
    if dimension < rows[0][0]:
        return 0.0
    for (n_low, q_low), (n_high, q_high) in pairwise(rows):
        if dimension <= n_high:
            return q_low + (q_high - q_low) * (dimension - n_low) / (n_high - n_low)
    return float(rows[-1][1])
