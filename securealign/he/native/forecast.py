"""What a session on a native library will send and compute, from its shape alone.

Every call works on ciphertexts one by one: "made", "multiplied", "sent" are how many of them are encrypted or
decrypted, multiplied by numbers and added, and serialised or read.
"""

from securealign.he.blobs import HEADER_BYTES
from securealign.he.forecast import CALL, CovarianceForecast, HeadForecast
from securealign.he.native.covariance import CovariancePlan
from securealign.he.native.head import HeadPlan
from securealign.limits import MAX_CHUNK_BYTES
from securealign.matrices import BLOCK_ROWS

_EXPONENT_BYTES = 2
#: Copies of what travels, on its way through the frames of a worker.
_COPIES = 4


def forecast_covariance(plan: CovariancePlan) -> CovarianceForecast:
    """Return the messages and the work of a covariance."""
    parts, features = plan.parts, plan.shape.provider_dim
    memory = _COPIES * (plan.key_bytes + plan.result_bytes + MAX_CHUNK_BYTES)
    return CovarianceForecast(
        tile=min(BLOCK_ROWS, (MAX_CHUNK_BYTES - HEADER_BYTES) // plan.row_bytes),
        header_bytes=HEADER_BYTES,
        row_bytes=plan.row_bytes,
        client_memory=memory,
        provider_memory=memory,
        relative_error=plan.profile.covariance_error,
        work={
            "key": {CALL: 1},
            "encrypt": {"made": parts, "whitened": plan.shape.columns**2},
            "decrypt": {CALL: 1, "made": features * parts},
            "make": {CALL: 1, "read": plan.shape.rows * features},
            "accept_key": {CALL: 1},
            "absorb": {"multiplied": features * parts, "sent": parts},
            "finish": {CALL: 1, "sent": features * parts},
        },
    )


def forecast_head(plan: HeadPlan) -> HeadForecast:
    """Return the messages and the work of a head."""
    shape = plan.shape
    memory = _COPIES * (plan.key_bytes + MAX_CHUNK_BYTES) + shape.slots * plan.answer_bytes
    return HeadForecast(
        query_header_bytes=HEADER_BYTES,
        query_bytes=plan.query_bytes,
        answer_header_bytes=HEADER_BYTES + _EXPONENT_BYTES,
        answer_bytes=plan.answer_bytes,
        client_memory=memory,
        provider_memory=memory,
        relative_error=plan.profile.head_error,
        work={
            "key": {CALL: 1, "moved": plan.key_room},
            "load_pool": {CALL: 1},
            "encrypt": {CALL: 1, "made": plan.parts},
            "decrypt": {CALL: 1, "made": plan.results},
            "make": {CALL: 1, "moved": plan.terms * shape.classes},
            "accept_key": {CALL: 1, "moved": plan.key_room},
            "prepare": {CALL: 1},
            "evaluate": {CALL: 1, "multiplied": plan.parts * shape.classes},
        },
    )
