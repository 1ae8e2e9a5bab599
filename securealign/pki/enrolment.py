"""The provider's side of pairing: which invitations are open, and certificates for those who answer them.

DIR/ca/invitations/IDENTIFIER.json         an invitation without a certificate so far; deleting it withdraws it
DIR/ca/invitations/used/IDENTIFIER.json    one that has its certificate
"""

from __future__ import annotations

import datetime as dt
import hmac
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from securealign.errors import ConfigurationError, ErrorCode, InputError
from securealign.files import write_atomically
from securealign.he.entropy import Entropy
from securealign.pki.authority import Authority, private_pem
from securealign.pki.chains import now_utc
from securealign.pki.identity import Role
from securealign.pki.invitations import Invitation
from securealign.pki.issuing import check_name
from securealign.pki.requests import Request, prove

#: Days in which an invitation has to be used.
INVITATION_DAYS = 7
#: Days for which the certificate in a sealed invitation is valid.
TRIAL_DAYS = 30


class _Record(BaseModel):
    """What the authority keeps of an invitation."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str
    token: str
    expires: AwareDatetime
    #: Whether the party has certificates already, and gets another under its name.
    renew: bool


class Enrolment:
    """The invitations of an authority."""

    def __init__(self, authority: Authority, entropy: Entropy, *, clock: Callable[[], dt.datetime] = now_utc) -> None:
        self._authority = authority
        self._entropy = entropy
        self._clock = clock
        self._open = authority.records / "invitations"
        self._used = self._open / "used"

    def invite(self, template: Callable[..., Invitation], name: str, *, days: int, renew: bool) -> Invitation:
        """Return an invitation, which is on record, for a client whose private key stays with it.

        `template` makes it of its identifier, token, name, end and authority. Raises `ConfigurationError` for a name
        that is taken, or with `renew` for one that no client has.
        """
        invitation = self._fill(template, name, days, renew)
        self._write(self._open, invitation, renew=renew)
        return invitation

    def invite_with_key(self, template: Callable[..., Invitation], name: str, *, days: int, renew: bool) -> Invitation:
        """Return an invitation that holds a private key and its certificate, and counts as used; raises as `invite`."""
        invitation = self._fill(template, name, days, renew)
        key = ec.generate_private_key(ec.SECP256R1())
        self._write(self._used, invitation, renew=renew)
        certificate = self._authority.certify(name, key.public_key(), days=TRIAL_DAYS)
        return invitation.model_copy(update={"key": private_pem(key).decode(), "certificate": _pem(certificate)})

    def sign(self, request: Request, *, days: int) -> bytes:
        """Return the file for a client that answers its invitation: certificate, authority and current list, in PEM.

        Raises `InputError` when the invitation is unknown, used or expired, or for another name or key.
        """
        record = self._record(request.invitation)
        if record.name != request.name:
            raise InputError(
                f"The request is for the name {request.name!r}, and its invitation was made for {record.name!r}.",
                hint=f"Invite it under that name: 'securealign invite {request.name}'.",
            )
        if record.expires < self._clock():
            raise InputError(
                f"The invitation of {record.name!r} expired on {record.expires:%Y-%m-%d %H:%M} UTC.",
                hint=f"Make a new one: 'securealign invite {record.name}'.",
            )
        if not hmac.compare_digest(prove(record.token, request.key), request.proof):
            raise InputError(
                "The request does not prove that whoever made it holds the invitation: its key was exchanged.",
                hint="Have the client send its request again, over another channel.",
                code=ErrorCode.PEER_UNTRUSTED,
            )
        self._check_name(record.name, renew=record.renew)
        with self._used_up(request.invitation):
            certificate = self._authority.certify(record.name, request.key, days=days)
        return (_pem(certificate) + _pem(self._authority.certificate)).encode() + self._authority.revocations

    def _fill(self, template: Callable[..., Invitation], name: str, days: int, renew: bool) -> Invitation:
        self._check_name(check_name(name), renew=renew)
        return template(
            identifier=self._entropy.octets(16).tobytes().hex(),
            token=self._entropy.octets(32).tobytes().hex(),
            name=name,
            expires=(self._clock() + dt.timedelta(days=days)).replace(microsecond=0),
            authority=_pem(self._authority.certificate),
            revocations=self._authority.revocations.decode(),
        )

    def _check_name(self, name: str, *, renew: bool) -> None:
        clients = any(
            item.identity.name == name and item.identity.role is Role.CLIENT for item in self._authority.issued()
        )
        if renew and not clients:
            raise ConfigurationError(
                f"No client has a certificate under the name {name!r}.", hint="Leave --renew out, or check the name."
            )
        if not renew and self._authority.knows(name):
            raise ConfigurationError(
                f"The name {name!r} is taken: a party has a certificate under it.",
                hint="Choose another name; for a new certificate of the same party, invite it with --renew.",
            )

    def _record(self, identifier: str) -> _Record:
        try:
            return _Record.model_validate_json((self._open / f"{identifier}.json").read_bytes())
        except FileNotFoundError:
            raise self._gone(identifier) from None
        except (OSError, ValidationError) as error:
            raise InputError(
                f"The record of the invitation in {self._open} cannot be read: {type(error).__name__}.",
                hint="Restore it from a backup, or invite the client again.",
                code=ErrorCode.FILE_INVALID,
            ) from None

    def _gone(self, identifier: str) -> InputError:
        if (self._used / f"{identifier}.json").exists():
            return InputError(
                "The invitation of this request was used before; it counts once.",
                hint="Find out who used it: 'securealign certs show'. Invite the client again with --renew.",
            )
        return InputError(
            f"The authority in {self._authority.records.parent} has made no such invitation, or it was withdrawn.",
            hint="Name the authority that made it with --certs, or invite the client again.",
        )

    @contextmanager
    def _used_up(self, identifier: str) -> Iterator[None]:
        """Mark an invitation as used while its certificate is made; of two processes, one succeeds."""
        source, target = self._open / f"{identifier}.json", self._used / f"{identifier}.json"
        self._used.mkdir(exist_ok=True)
        try:
            source.rename(target)
        except FileNotFoundError:
            raise self._gone(identifier) from None
        try:
            yield
        except BaseException:
            target.rename(source)
            raise

    def _write(self, folder: Path, invitation: Invitation, *, renew: bool) -> None:
        record = _Record(name=invitation.name, token=invitation.token, expires=invitation.expires, renew=renew)
        path = folder / f"{invitation.identifier}.json"
        write_atomically(path, record.model_dump_json().encode() + b"\n", mode=0o600)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
