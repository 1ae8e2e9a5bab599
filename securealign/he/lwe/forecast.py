"""What a session under `lwe` will send and compute, from its shape alone.

Kinds of work: "expanded" elements of public randomness, "multiplied" pairs of numbers in exact products, "moved"
elements that are drawn, packed, reduced or copied. Memory is what was measured for the largest arrays: limbs of a tile,
sums, and the key; see `memory` for bounds that hold.
"""

from securealign.he.blobs import HEADER_BYTES
from securealign.he.forecast import CALL, CovarianceForecast, HeadForecast
from securealign.he.lwe.parameters import ANSWER_BYTES, RESIDUE_BYTES
from securealign.he.lwe.planner import BitBudget
from securealign.he.lwe.products import BLOCK_ROWS, TILE_ROWS

_WORD = 8
#: Arrays of floating-point words that exist at the worst moment: limbs of a block or tile, sums, and
#: matrices of the key's size.
_BLOCK_LIMBS, _CLIENT_KEYS = 2.5, 4
_PROVIDER_LIMBS, _PROVIDER_SUMS, _PROVIDER_KEYS = 2, 12, 4


def forecast_covariance(plan: BitBudget) -> CovarianceForecast:
    """Return the messages and the work of a covariance."""
    n, left, width = plan.parameters.dimension, plan.left, plan.width
    limbs, key, sums = n * _WORD, n * width * _WORD, left * (n + width) * _WORD
    return CovarianceForecast(
        tile=TILE_ROWS,
        header_bytes=HEADER_BYTES,
        row_bytes=plan.row_bytes,
        client_memory=int(_BLOCK_LIMBS * BLOCK_ROWS * limbs + _CLIENT_KEYS * key),
        provider_memory=int(_PROVIDER_LIMBS * TILE_ROWS * limbs + _PROVIDER_SUMS * sums + _PROVIDER_KEYS * key),
        relative_error=plan.expected_error,
        forged_key=lambda: plan.forged_key_security,
        work={
            "key": {"expanded": n * n, "multiplied": n * n * width},
            "encrypt": {"expanded": n, "multiplied": n * width, "whitened": width * width},
            "decrypt": {"multiplied": left * n * width, "moved": left * (n + width)},
            "make": {CALL: 1, "read": plan.terms * left},
            "accept_key": {CALL: 1, "moved": n * width},
            "absorb": {"expanded": n, "multiplied": left * (n + width), "moved": n + width},
            "finish": {"expanded": n * n, "multiplied": left * n * (n + width)},
        },
    )


def forecast_head(plan: BitBudget) -> HeadForecast:
    """Return the messages and the work of a head."""
    n, classes, terms, slots = plan.parameters.dimension, plan.left, plan.terms, plan.width
    limbs, key, sums = BLOCK_ROWS * n * _WORD, n * slots * _WORD, classes * (n + slots) * _WORD
    return HeadForecast(
        query_header_bytes=HEADER_BYTES,
        query_bytes=terms * RESIDUE_BYTES,
        answer_header_bytes=HEADER_BYTES,
        answer_bytes=classes * ANSWER_BYTES,
        client_memory=int(_BLOCK_LIMBS * limbs + _CLIENT_KEYS * key),
        provider_memory=int(_BLOCK_LIMBS * limbs + _PROVIDER_SUMS * sums + _PROVIDER_KEYS * key),
        relative_error=plan.expected_error,
        forged_key=lambda: plan.forged_key_security,
        work={
            "key": {"expanded": n * n, "multiplied": n * n * slots},
            "load_pool": {
                "expanded": terms * n,
                "multiplied": (terms + classes) * n * slots,
                "moved": terms * slots + classes * n,
            },
            "encrypt": {CALL: 1, "moved": terms},
            "decrypt": {CALL: 1, "moved": classes},
            "make": {CALL: 1, "moved": terms * classes},
            "accept_key": {CALL: 1, "moved": n * slots},
            "prepare": {
                "expanded": (terms + n) * n,
                "multiplied": classes * (terms * n + n * (n + slots)),
                "moved": classes * (n + slots),
            },
            "evaluate": {CALL: 1, "multiplied": classes * terms, "moved": terms + classes},
        },
    )
