"""Checks of an invitation before a client joins: whether it is whole, what it says, and who answers at its address."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from securealign.errors import SecurealignError
from securealign.he.registry import get_suite
from securealign.ops.doctor.findings import Finding, failed, fine, warning
from securealign.ops.doctor.peer import addresses_of, check_of
from securealign.pki.chains import now_utc
from securealign.pki.identity import printable
from securealign.pki.invitations import (
    Invitation,
    authority_of,
    check_authority,
    check_sealed,
    fingerprint,
    is_sealed,
    parse,
    read_bounded,
)
from securealign.transport.preflight import connect, look, split_target


def check_invitation(
    file: Path, *, timeout: float = 5.0, clock: Callable[[], dt.datetime] = now_utc
) -> Iterator[Finding]:
    """Yield the findings about an invitation, and about the provider at its address; `timeout` in seconds for a step.

    A sealed invitation is checked by its checksum alone.
    """
    try:
        data = read_bounded(file)
        if is_sealed(data):
            check_sealed(data)
            yield fine("invitation", "whole, sealed under a passphrase, with which 'securealign join' opens it")
            return
        invitation = parse(data)
    except SecurealignError as error:
        yield failed("invitation", error)
        return
    yield fine("invitation", f"whole, for {invitation.name} at {invitation.address}")
    yield _check(
        "expiry", lambda: invitation.require_current(clock()), f"until {invitation.expires:%Y-%m-%d %H:%M} UTC"
    )
    known = fingerprint(authority_of(invitation))
    yield fine("authority", f"{known}; the provider's operator must read the same")
    valid = "the authority and its list of revoked ones are valid"
    yield _check("revocation", partial(check_authority, invitation, clock()), valid)
    yield from _offers(invitation)
    yield from _answers(invitation, clock(), timeout)


def _check(name: str, check: Callable[[], object], message: str) -> Finding:
    try:
        check()
    except SecurealignError as error:
        return failed(name, error)
    return fine(name, message)


def _offers(invitation: Invitation) -> Iterator[Finding]:
    for name in invitation.suites:
        yield _check("suite", partial(get_suite, name), printable(name))
    heads = ", ".join(map(printable, invitation.heads))
    yield fine("head", heads) if heads else warning("head", "none: the provider only trains", "Ask its operator.")
    if invitation.digest is None:
        yield warning("public data", "none: the provider does not train", "Ask its operator for an alignment map.")
        return
    where = "in the invitation" if invitation.texts is not None else "to be sent as a file"
    yield fine("public data", f"{invitation.rows} texts, digest {invitation.digest[:16]}, {where}")


def _answers(invitation: Invitation, now: dt.datetime, timeout: float) -> Iterator[Finding]:
    try:
        host, port = split_target(invitation.address)
        yield fine("address", f"{host} is {', '.join(addresses_of(host, port))}")
        connect(host, port, timeout).close()
        yield fine("port", f"{port} is open")
        authority, lists = invitation.authority.encode(), invitation.revocations.encode()
        met = look(invitation.address, authority, lists, now=now, timeout=timeout)
    except SecurealignError as error:
        yield failed(check_of(error), error)
        return
    yield fine("role", f"provider {met.identity.name!r}, of the authority in the invitation, over {met.tls_version}")
