"""What a client's user hears for every way in which a gRPC call fails."""

from __future__ import annotations

import grpc
import pytest

from securealign.errors import ErrorCode
from securealign.transport.status import ERROR_KEY, status_of, transport_error

Status = grpc.StatusCode


class Failure(grpc.RpcError):
    """A failed call as gRPC hands it to the client."""

    def __init__(self, status, details="", trailing=()):
        super().__init__()
        self._status, self._details, self._trailing = status, details, trailing

    def code(self):
        return self._status

    def details(self):
        return self._details

    def trailing_metadata(self):
        return self._trailing


REFUSED = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Connection refused"
WRONG_NAME = (
    "failed to connect to all addresses; last error: UNKNOWN: Peer name provider.securealign is not in peer certificate"
)
HOSTNAME = "Ssl handshake failed: hostname verification check failed"
UNTRUSTED = "Ssl handshake failed: SSL_ERROR_SSL: CERTIFICATE_VERIFY_FAILED: unable to get local issuer certificate"
CLOSED = "Socket closed"
TOO_LARGE = "SERVER: Received message larger than max (5000000 vs. 4194304)"


@pytest.mark.parametrize(
    ("failure", "connected", "expected"),
    [
        (Failure(Status.UNAVAILABLE, REFUSED), False, ErrorCode.PEER_UNREACHABLE),
        (Failure(Status.UNAVAILABLE, "DNS resolution failed for nowhere.example:1"), False, ErrorCode.PEER_UNREACHABLE),
        (Failure(Status.UNAVAILABLE, None), False, ErrorCode.PEER_UNREACHABLE),
        (Failure(Status.UNAVAILABLE, ""), True, ErrorCode.CONNECTION_LOST),
        (Failure(Status.UNAVAILABLE, CLOSED), True, ErrorCode.CONNECTION_LOST),
        (Failure(Status.UNAVAILABLE, CLOSED), False, ErrorCode.PEER_UNTRUSTED),
        (Failure(Status.UNAVAILABLE, WRONG_NAME), False, ErrorCode.WRONG_ROLE),
        (Failure(Status.UNAVAILABLE, HOSTNAME), False, ErrorCode.WRONG_ROLE),
        (Failure(Status.UNAVAILABLE, UNTRUSTED), False, ErrorCode.PEER_UNTRUSTED),
        (Failure(Status.DEADLINE_EXCEEDED), True, ErrorCode.DEADLINE_EXCEEDED),
        (Failure(Status.CANCELLED), True, ErrorCode.CANCELLED),
        (Failure(Status.PERMISSION_DENIED), False, ErrorCode.WRONG_ROLE),
        (Failure(Status.UNAUTHENTICATED), False, ErrorCode.PEER_UNTRUSTED),
        (Failure(Status.RESOURCE_EXHAUSTED, "busy"), False, ErrorCode.SERVER_BUSY),
        (Failure(Status.RESOURCE_EXHAUSTED, TOO_LARGE), True, ErrorCode.FRAME_TOO_LARGE),
        (Failure(Status.UNIMPLEMENTED, "Method not found!"), False, ErrorCode.NOT_SERVED),
        (Failure(Status.INTERNAL, "RST_STREAM"), True, ErrorCode.CONNECTION_LOST),
        (Failure(Status.UNKNOWN, "Exception calling application"), True, ErrorCode.CONNECTION_LOST),
        (Failure(Status.DATA_LOSS), True, ErrorCode.CONNECTION_LOST),
        (grpc.RpcError(), False, ErrorCode.CONNECTION_LOST),
    ],
)
def test_every_failure_has_a_code(failure, connected, expected):
    error = transport_error(failure, connected=connected)
    assert error.code is expected
    assert error.message == expected.sentence


@pytest.mark.parametrize("connected", [True, False])
def test_no_status_goes_unexplained(connected):
    for status in Status:
        error = transport_error(Failure(status), connected=connected)
        assert error.code is not ErrorCode.INTERNAL
        assert error.message.endswith(".")


def test_the_code_that_a_server_names_wins_over_the_status():
    for code in ErrorCode:
        failure = Failure(Status.UNAVAILABLE, UNTRUSTED, (("other", "x"), (ERROR_KEY, code.name)))
        assert transport_error(failure, connected=True).code is code


@pytest.mark.parametrize(
    "trailing", [((ERROR_KEY, "NO_SUCH_CODE"),), ((ERROR_KEY, b"SERVER_BUSY"),), (("other", "SERVER_BUSY"),), None]
)
def test_a_name_that_is_not_known_here_is_ignored(trailing):
    failure = Failure(Status.DEADLINE_EXCEEDED, trailing=trailing)
    assert transport_error(failure, connected=True).code is ErrorCode.DEADLINE_EXCEEDED


#: Codes after which a client's user has nothing to correct.
NOTHING_TO_DO = {ErrorCode.CANCELLED, ErrorCode.FRAME_TOO_LARGE}


@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize("details", ["", TOO_LARGE, WRONG_NAME, UNTRUSTED])
def test_what_to_do_next_is_said_wherever_there_is_something_to_do(connected, details):
    for status in Status:
        error = transport_error(Failure(status, details), connected=connected)
        assert error.hint or error.code in NOTHING_TO_DO
        assert not error.hint or error.hint.endswith(".")


def test_a_server_ends_sessions_under_a_status_that_is_an_error():
    assert all(status_of(code) is not Status.OK for code in ErrorCode)


@pytest.mark.parametrize(
    "code",
    [
        ErrorCode.WRONG_ROLE,
        ErrorCode.PEER_UNTRUSTED,
        ErrorCode.SERVER_BUSY,
        ErrorCode.DEADLINE_EXCEEDED,
        ErrorCode.SESSION_UNKNOWN,
    ],
)
def test_a_code_survives_the_way_through_a_status_even_without_its_name(code):
    assert transport_error(Failure(status_of(code)), connected=True).code is code


@pytest.mark.parametrize(
    "code",
    [ErrorCode.CERTIFICATE_REVOKED, ErrorCode.MEMORY_EXHAUSTED, ErrorCode.RATE_LIMITED, ErrorCode.SESSION_UNKNOWN],
)
def test_refusals_that_a_server_names_say_what_to_do(code):
    failure = Failure(status_of(code), trailing=((ERROR_KEY, code.name),))
    assert transport_error(failure, connected=False).hint.endswith(".")
