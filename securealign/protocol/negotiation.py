"""Agreeing on version, suite and session id. The client's order of preference decides."""

import hashlib
from collections.abc import Sequence

from securealign.errors import ErrorCode, RemoteProtocolError, SuiteError
from securealign.he.entropy import Entropy
from securealign.he.interface import Suite
from securealign.limits import DIGEST_BYTES
from securealign.protocol.messages import Accept, Hello, SuiteOffer
from securealign.protocol.policy.rules import Policy

#: Protocol versions of this release, newest first.
VERSIONS = (3,)


def offer(suite: Suite) -> SuiteOffer:
    """Return how a suite is named in a handshake."""
    info = suite.info
    return SuiteOffer(name=info.name, parameter_set=info.parameter_set, parameter_digest=info.parameter_digest)


def make_hello(suites: Sequence[Suite], entropy: Entropy, *, allow_unencrypted: bool) -> Hello:
    """Return the client's opening; raises `SuiteError` for a suite without encryption on a real network."""
    for suite in suites:
        _require_encryption(suite, allow_unencrypted=allow_unencrypted)
    return Hello(
        versions=VERSIONS,
        suites=tuple(offer(suite) for suite in suites),
        nonce=entropy.octets(DIGEST_BYTES).tobytes(),
    )


def answer_hello(
    hello: Hello,
    suites: Sequence[Suite],
    entropy: Entropy,
    policy: Policy,
) -> tuple[Accept, Suite]:
    """Return the provider's choice among what the client offers; raises the reason when there is none."""
    version = max(set(hello.versions) & set(VERSIONS), default=None)
    if version is None:
        raise RemoteProtocolError(
            f"The peer speaks versions {hello.versions}, this release {VERSIONS}.", code=ErrorCode.VERSION_UNSUPPORTED
        )
    suite = _choose(hello.suites, suites)
    _require_encryption(suite, allow_unencrypted=policy.allow_unencrypted)
    if policy.require_function_private and not suite.info.function_private:
        raise SuiteError(
            f"Policy asks for function privacy, which {suite.info.name!r} does not have.", code=ErrorCode.SUITE_REFUSED
        )
    return Accept(version=version, suite=offer(suite), nonce=entropy.octets(DIGEST_BYTES).tobytes()), suite


def check_accept(accept: Accept, suites: Sequence[Suite]) -> Suite:
    """Return the suite that the provider chose; raises when it was not offered."""
    if accept.version not in VERSIONS:
        raise RemoteProtocolError(f"The peer chose version {accept.version}.", code=ErrorCode.VERSION_UNSUPPORTED)
    return _choose((accept.suite,), suites)


def session_id(kind: str, client_nonce: bytes, provider_nonce: bytes) -> bytes:
    """Return the id of a session, 32 bytes; neither party can choose it alone."""
    return hashlib.sha256(b"securealign/session/" + kind.encode() + client_nonce + provider_nonce).digest()


def _choose(offers: Sequence[SuiteOffer], suites: Sequence[Suite]) -> Suite:
    own = {(suite.info.name, suite.info.parameter_set): suite for suite in suites}
    known = [(item, own[item.name, item.parameter_set]) for item in offers if (item.name, item.parameter_set) in own]
    if not known:
        names = ", ".join(item.parameter_set for item in offers)
        raise SuiteError(f"None of the peer's suites ({names}) is allowed here.", code=ErrorCode.SUITE_UNKNOWN)
    for item, suite in known:
        if item.parameter_digest == suite.info.parameter_digest:
            return suite
    raise SuiteError(
        f"The peer holds other parameters under the name {known[0][0].parameter_set!r}.",
        code=ErrorCode.PARAMETERS_MISMATCH,
    )


def _require_encryption(suite: Suite, *, allow_unencrypted: bool) -> None:
    if not suite.info.encrypts and not allow_unencrypted:
        raise SuiteError(
            f"The suite {suite.info.name!r} does not encrypt; it runs on loopback and in simulation only.",
            hint="Use the suite 'lwe'.",
            code=ErrorCode.SUITE_REFUSED,
        )
