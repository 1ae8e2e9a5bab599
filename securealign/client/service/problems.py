"""Errors as responses: {"error": {"code", "message", "hint"}}, and the HTTP status of each error code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi.responses import JSONResponse

from securealign.errors import ErrorCode, SecurealignError

#: Seconds after which a client may try again what a provider refuses now.
_SOON, _LATER = 5, 30

#: Status, and the seconds of `Retry-After` where the same request may succeed later. Other codes are faults of what
#: runs here, which its operator mends: 500.
STATUSES: Mapping[ErrorCode, tuple[int, int | None]] = {
    ErrorCode.INPUT_INVALID: (422, None),
    ErrorCode.NON_FINITE_INPUT: (422, None),
    ErrorCode.SHAPE_MISMATCH: (422, None),
    ErrorCode.LIMIT_EXCEEDED: (413, None),
    ErrorCode.TOKEN_REFUSED: (401, None),
    ErrorCode.NOT_OFFERED: (404, None),
    ErrorCode.HEAD_CHANGED: (409, None),
    # The budget of this client at the provider: no request succeeds before the provider grants more.
    ErrorCode.QUERY_BUDGET_EXHAUSTED: (429, None),
    ErrorCode.RATE_LIMITED: (429, _LATER),
    # The provider cannot be reached, or what answers is not a provider that can be trusted.
    ErrorCode.PEER_UNREACHABLE: (502, _SOON),
    ErrorCode.CONNECTION_LOST: (502, _SOON),
    ErrorCode.SESSION_UNKNOWN: (502, _SOON),
    ErrorCode.SESSION_ROLLED_BACK: (502, _SOON),
    ErrorCode.PEER_UNTRUSTED: (502, None),
    ErrorCode.WRONG_ROLE: (502, None),
    ErrorCode.CERTIFICATE_REVOKED: (502, None),
    ErrorCode.VERSION_UNSUPPORTED: (502, None),
    ErrorCode.ANSWERS_INCONSISTENT: (502, None),
    ErrorCode.TRANSCRIPT_MISMATCH: (502, None),
    ErrorCode.FRAME_MALFORMED: (502, None),
    ErrorCode.FRAME_TOO_LARGE: (502, None),
    ErrorCode.CIPHERTEXT_MALFORMED: (502, None),
    ErrorCode.COEFFICIENT_OUT_OF_RANGE: (502, None),
    ErrorCode.UNEXPECTED_MESSAGE: (502, None),
    ErrorCode.SEQUENCE_BROKEN: (502, None),
    ErrorCode.ENDPOINT_UNAVAILABLE: (502, _SOON),
    ErrorCode.ENDPOINT_REFUSED: (502, None),
    ErrorCode.ENDPOINT_ANSWER_INVALID: (502, None),
    ErrorCode.SERVER_BUSY: (503, _SOON),
    ErrorCode.STARTING: (503, _SOON),
    ErrorCode.MEMORY_EXHAUSTED: (503, _LATER),
    ErrorCode.CANCELLED: (503, _SOON),
    ErrorCode.NOT_SERVED: (503, _LATER),
    ErrorCode.STORE_LOCKED: (503, _SOON),
    ErrorCode.CLIENT_CLOSED: (503, _SOON),
    ErrorCode.DEADLINE_EXCEEDED: (504, _SOON),
}


class RequestError(SecurealignError):
    """A request that is refused before it is answered, under a status of its own."""

    def __init__(
        self,
        status: int,
        message: str,
        hint: str,
        code: ErrorCode = ErrorCode.INPUT_INVALID,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.status, self.headers = status, dict(headers or {})


def status_of(error: SecurealignError) -> tuple[int, dict[str, str]]:
    """Return the status of the response to an error, and its headers."""
    if isinstance(error, RequestError):
        return error.status, error.headers
    status, again = STATUSES.get(error.code, (500, None))
    return status, {} if again is None else {"Retry-After": str(again)}


def problem(error: SecurealignError, **extra: Any) -> JSONResponse:  # noqa: ANN401 - what JSON can hold
    """Return the response to an error, with further fields beside it."""
    status, headers = status_of(error)
    body = {"code": error.code.name, "message": error.message, "hint": error.hint}
    return JSONResponse({"error": body, **extra}, status, headers)


def fault() -> SecurealignError:
    """Return what a caller learns of an error that nobody expected: nothing of it, since it may quote a text."""
    return SecurealignError(ErrorCode.INTERNAL.sentence, hint="The log of the service names the type and the place.")
