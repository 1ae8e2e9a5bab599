"""Upper bounds of what the provider's side of a session holds at a time, from its shape alone.

The largest arrays are a limb of one tile of [A | C], float64 of `TILE_ROWS` by n + width (of a head, of `BLOCK_ROWS`),
and sums of the size of the result, left by n + width words. How many of each exist at the worst moment is counted
generously below: re-randomising a result while its sums are still there, and copying them for a checkpoint. A test
holds them against what is allocated.
"""

from securealign.he.lwe.parameters import ANSWER_BYTES, RESIDUE_BYTES
from securealign.he.lwe.planner import BitBudget
from securealign.he.lwe.products import BLOCK_ROWS, TILE_ROWS
from securealign.limits import MEBIBYTE

_WORD = 8
#: Limbs of a tile, and what surrounds them.
_LIMBS = 3
#: Arrays of sums, with those of a checkpoint under way.
_COVARIANCE_SUMS = 13
_HEAD_SUMS = 12
#: The key as it arrives, whole, unpacked, and cut into tiles.
_KEYS = 4
#: Live pools, each with its masks and with the answers that wait for a retry.
_POOLS = 4
#: Bookkeeping of one message that may be repeated.
_RECORD_BYTES = 512
_REST = 8 * MEBIBYTE


def covariance_memory(plan: BitBudget) -> int:
    """Return the bytes that the provider's side of a covariance takes at most."""
    tile = min(TILE_ROWS, plan.terms) * (4 * plan.left + 2 * RESIDUE_BYTES * plan.width // _WORD)
    return _WORD * tile + _shared(plan, TILE_ROWS, _COVARIANCE_SUMS)


def head_memory(plan: BitBudget) -> int:
    """Return the bytes that the provider's side of a head takes at most."""
    public = 3 * plan.terms * (plan.parameters.dimension + plan.left)
    pools = _POOLS * plan.width * (plan.left * (2 * _WORD + 2 * ANSWER_BYTES) + _RECORD_BYTES)
    return _WORD * public + pools + _shared(plan, BLOCK_ROWS, _HEAD_SUMS)


def _shared(plan: BitBudget, tile: int, sums: int) -> int:
    """Return the bytes of limbs of a tile, of `sums` arrays of sums, of the key and of the rest."""
    columns = plan.parameters.dimension + plan.width
    return _WORD * columns * (_LIMBS * tile + sums * plan.left) + _KEYS * plan.key_bytes + _REST
