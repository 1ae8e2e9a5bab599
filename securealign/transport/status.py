"""gRPC statuses and error codes of this project, in both directions."""

import grpc

from securealign.errors import ErrorCode, TransportError

#: Trailing metadata key under which a server names the error code.
ERROR_KEY = "securealign-error"

_STATUS = {
    ErrorCode.WRONG_ROLE: grpc.StatusCode.PERMISSION_DENIED,
    ErrorCode.PEER_UNTRUSTED: grpc.StatusCode.UNAUTHENTICATED,
    ErrorCode.CERTIFICATE_REVOKED: grpc.StatusCode.UNAUTHENTICATED,
    ErrorCode.SERVER_BUSY: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorCode.MEMORY_EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorCode.STARTING: grpc.StatusCode.UNAVAILABLE,
    ErrorCode.RATE_LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorCode.SESSION_UNKNOWN: grpc.StatusCode.NOT_FOUND,
    ErrorCode.DEADLINE_EXCEEDED: grpc.StatusCode.DEADLINE_EXCEEDED,
    ErrorCode.CANCELLED: grpc.StatusCode.CANCELLED,
    ErrorCode.INTERNAL: grpc.StatusCode.INTERNAL,
}

_CODES = {
    grpc.StatusCode.DEADLINE_EXCEEDED: ErrorCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED: ErrorCode.CANCELLED,
    grpc.StatusCode.PERMISSION_DENIED: ErrorCode.WRONG_ROLE,
    grpc.StatusCode.UNAUTHENTICATED: ErrorCode.PEER_UNTRUSTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ErrorCode.SERVER_BUSY,
    grpc.StatusCode.UNIMPLEMENTED: ErrorCode.NOT_SERVED,
    grpc.StatusCode.NOT_FOUND: ErrorCode.SESSION_UNKNOWN,
}

_HINTS = {
    ErrorCode.DEADLINE_EXCEEDED: "Raise the deadline in the configuration, or check the provider's load.",
    ErrorCode.PEER_UNREACHABLE: "Check that the provider runs and that its address and port are right.",
    ErrorCode.CONNECTION_LOST: "Nothing was written. Check that the provider still runs, then start again.",
    ErrorCode.PEER_UNTRUSTED: "Both parties need bundles of the same authority: see 'securealign certs init'.",
    ErrorCode.WRONG_ROLE: "The provider needs the bundle 'provider', the client the bundle 'client'.",
    ErrorCode.CERTIFICATE_REVOKED: "Ask whoever keeps the authority for a new bundle: 'securealign certs renew'.",
    ErrorCode.MEMORY_EXHAUSTED: "Wait for other sessions to end, or ask for fewer dimensions, classes or slots.",
    ErrorCode.RATE_LIMITED: "Wait a while; the provider's operator sets how many sessions and queries it allows.",
    ErrorCode.SESSION_UNKNOWN: "Start again: the provider has ended the session, or lost its state folder.",
    ErrorCode.SERVER_BUSY: "Wait for other sessions to end, then start again.",
    ErrorCode.STARTING: "Wait until the provider has embedded its public texts; its log says how far it is.",
    ErrorCode.HEAD_CHANGED: "Start again with another output: the head is another one from now on.",
    ErrorCode.NOT_OFFERED: "Its heads are listed by 'securealign-client heads'; its operator says who may ask them.",
    ErrorCode.NOT_SERVED: "Its operator adds a section [public] to train, or [head] to classify.",
}


def status_of(code: ErrorCode) -> grpc.StatusCode:
    """Return the gRPC status under which a server ends a session that failed with `code`."""
    return _STATUS.get(code, grpc.StatusCode.FAILED_PRECONDITION)


def transport_error(failure: grpc.RpcError, *, connected: bool) -> TransportError:
    """Return the error that tells a client's user why a call failed.

    `connected` says whether the provider had answered anything before.
    """
    code = _named_code(failure) or _code(failure, connected=connected)
    return TransportError(code.sentence, hint=_HINTS.get(code, ""), code=code)


def _named_code(failure: grpc.RpcError) -> ErrorCode | None:
    trailing = getattr(failure, "trailing_metadata", lambda: None)() or ()
    for key, value in trailing:
        if key == ERROR_KEY and isinstance(value, str):
            return next((code for code in ErrorCode if code.name == value), None)
    return None


def _code(failure: grpc.RpcError, *, connected: bool) -> ErrorCode:
    status = getattr(failure, "code", lambda: None)()
    details = (getattr(failure, "details", lambda: "")() or "").lower()
    if status is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
        return ErrorCode.FRAME_TOO_LARGE
    if status is not grpc.StatusCode.UNAVAILABLE:
        return next((code for known, code in _CODES.items() if known is status), ErrorCode.CONNECTION_LOST)
    # gRPC reports failed handshakes in prose only.
    if "hostname verification" in details or "peer name" in details or "is not in peer certificate" in details:
        return ErrorCode.WRONG_ROLE
    # A server that refuses a client's certificate closes the connection without a reason (TLS 1.3).
    if not connected and "socket closed" in details:
        return ErrorCode.PEER_UNTRUSTED
    if "certificate" in details or "ssl" in details or "handshake" in details:
        return ErrorCode.PEER_UNTRUSTED
    return ErrorCode.CONNECTION_LOST if connected else ErrorCode.PEER_UNREACHABLE
