"""What the provider does to an answer so that it shows the product and nothing else.

An answer (H, Y) starts as (U A, U C). Re-randomising adds R [A' | P] for a fresh R and an error E1 to H; flooding adds
F, uniform and 2^40 times as wide as the noise, to Y. Simulator: given U M alone, draw H uniform and
output Y = H S + F + U M. H is pseudorandom because (A', R A' + E1) is LWE with secret R, in as many independent samples
as H has columns; Y differs from the simulation by the noise U E + R E' - E1 S, which F hides up to 2^-40 in each
coefficient. A' is expanded by the provider from a seed and the session, never taken from the wire.

P comes from the client and may be anything. Entries of R are uniform over 2,048 values, 11 bits each, because every
coefficient of Y may show `log_q - flood_bits - 1` = 18 bits about the row of R that is used for it: a client that sends
powers of two for P then still misses most of the 11 n bits of a row, as long as one R serves few columns.
"""

import numpy as np

from securealign.he.entropy import Entropy
from securealign.he.lwe import sampling
from securealign.he.lwe.keys import PublicKey
from securealign.he.lwe.planner import BitBudget
from securealign.he.lwe.products import BLOCK_ROWS, IntegerProduct, tiles
from securealign.he.lwe.residues import LIMB_BITS, Residues, reduce

#: The widest flood that a 64-bit word holds.
_LARGEST_FLOOD_BITS = 62


def rerandomisation(plan: BitBudget, key: PublicKey, columns: slice, entropy: Entropy) -> Residues:
    """Return [R A' + E1 | R P] modulo q for fresh R and E1, shape (left, n + columns), with these columns of P."""
    n, width = plan.parameters.dimension, columns.stop - columns.start
    left = sampling.wide(entropy, (plan.left, n)).astype(np.float64)
    product = IntegerProduct(plan.left, n + width, plan.parameters.log_q, BLOCK_ROWS)
    for first, count in tiles(n, BLOCK_ROWS):
        product.add(left[:, first : first + count].T, key.mask_tile(first, count, columns))
    low, high = product.result()
    low[:, :n] += sampling.gaussian(entropy, (plan.left, n))
    return reduce(low, high, plan.parameters.log_q)


def flooded(plan: BitBudget, answer: Residues, entropy: Entropy) -> Residues:
    """Return an answer plus a fresh flood, drawn limb by limb where it is wider than a word."""
    shape = (answer.low.shape[0], answer.low.shape[1])
    if plan.flood_bits <= _LARGEST_FLOOD_BITS:
        return reduce(answer.low + sampling.flood(entropy, shape, plan.flood_bits), answer.high, plan.parameters.log_q)
    low = sampling.flood(entropy, shape, LIMB_BITS - 1) + (1 << (LIMB_BITS - 1))
    high = sampling.flood(entropy, shape, plan.flood_bits - LIMB_BITS)
    return reduce(answer.low + low, answer.high + high, plan.parameters.log_q)
