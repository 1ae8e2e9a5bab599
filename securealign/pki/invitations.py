"""Invitations: what a client needs to meet a provider, in one file that the provider's authority has signed.

The file has three lines: the format, the fields as JSON, and the signature of the two lines above in hexadecimal. The
signature shows that no byte has changed since; that the authority is the right one, people see by its fingerprint. An
invitation that holds a private key is sealed under a passphrase as a whole.
"""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.utils import CryptographyDeprecationWarning
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from securealign.errors import ErrorCode, InputError, KeyStoreError
from securealign.keys.envelope import Envelope, MasterKey, ScryptCost
from securealign.pki.chains import CertificateProblem, check_dates
from securealign.pki.identity import PARTY_NAME
from securealign.pki.revocation import check_lists, parse_lists

#: Room for the texts of some 100,000 pages.
MAX_BYTES = 256 << 20
_KIND = b"securealign invitation "
_VERSION = b"1"
_SEALED = b"securealign sealed invitation 1\n"
#: Certificates and lists begin with 0x30, so no signature of an invitation is one of them.
_DOMAIN = b"securealign/invitation/v1\x00"
_HEX = r"[0-9a-f]{%d}"
_AGAIN = "Ask the provider's operator to send it again, and copy the file as it is."


class Invitation(BaseModel):
    """What an invitation says; PEM as text, the token as hexadecimal digits, times in UTC."""

    # An error of validation prints its input otherwise, which may hold a key.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    identifier: str = Field(pattern=f"^{_HEX % 32}$")
    #: Proves once that a request comes from who received this.
    token: str = Field(pattern=f"^{_HEX % 64}$", repr=False)
    name: str = Field(pattern=f"^{PARTY_NAME.pattern}$")
    expires: AwareDatetime
    #: Host and port; without characters that could end a line of a configuration.
    address: str = Field(pattern="^[!-~]{3,300}$")
    authority: str
    revocations: str
    suites: tuple[str, ...]
    heads: tuple[str, ...]
    #: Of the provider's public texts, distinct and in order; none where it does not train.
    digest: str | None = Field(default=None, pattern=f"^{_HEX % 64}$")
    rows: int | None = Field(default=None, ge=0)
    texts: tuple[str, ...] | None = Field(default=None, repr=False)
    #: For trials: the client's private key and its certificate.
    key: str | None = Field(default=None, repr=False)
    certificate: str | None = None

    def require_current(self, now: dt.datetime) -> None:
        """Raise `InputError` for an invitation that has expired."""
        if self.expires < now:
            raise InputError(
                f"The invitation expired on {self.expires:%Y-%m-%d %H:%M} UTC, and this machine's clock says "
                f"{now:%Y-%m-%d %H:%M} UTC.",
                hint="Ask the provider's operator for a new one: 'securealign invite'.",
            )


def render(invitation: Invitation, sign: Callable[[bytes], bytes]) -> bytes:
    """Return the file of an invitation; `sign` is the authority's."""
    body = _KIND + _VERSION + b"\n" + invitation.model_dump_json(exclude_none=True).encode() + b"\n"
    return body + sign(_DOMAIN + body).hex().encode() + b"\n"


def parse(data: bytes) -> Invitation:
    """Return what a file says if its authority signed every byte of it.

    Raises `InputError` for a file that is cut, altered, sealed, of another release or no invitation.
    """
    if is_sealed(data):
        raise InputError("This invitation is sealed.", hint="Give its passphrase.", code=ErrorCode.PASSPHRASE_WRONG)
    if not data.startswith(_KIND):
        raise _refused("is no invitation", "Name the file that 'securealign invite' wrote.")
    lines = data.split(b"\n")
    if lines[0] != _KIND + _VERSION:
        raise _refused(
            "has another format than this release reads, or its beginning was altered",
            "Run the same release on both sides, or have the file sent again.",
        )
    if len(lines) < 4:
        raise _refused("was cut", _AGAIN)
    body, signature = data[: len(lines[0]) + len(lines[1]) + 2], data[len(lines[0]) + len(lines[1]) + 2 :]
    try:
        invitation = Invitation.model_validate_json(lines[1])
        with warnings.catch_warnings():
            # A certificate is read before it is known whether it was altered; only then does a warning mean anything.
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            _verify(authority_of(invitation), body, signature)
    except (ValueError, InvalidSignature, UnsupportedAlgorithm, x509.InvalidVersion):
        # The cause is left out: it could print what the file holds.
        raise _refused("was altered: its signature does not fit", _AGAIN) from None
    return invitation


def authority_of(invitation: Invitation) -> x509.Certificate:
    """Return the certificate of the authority that signed the invitation."""
    return x509.load_pem_x509_certificate(invitation.authority.encode())


def check_authority(invitation: Invitation, now: dt.datetime) -> None:
    """Raise `InputError` unless the authority and its list of revoked certificates are valid now."""
    try:
        check_dates(authority_of(invitation), now, of="its authority")
        check_lists(parse_lists(invitation.revocations.encode()), [authority_of(invitation)], now)
    except CertificateProblem as problem:
        raise _refused(
            f"cannot be used: {problem.reason}",
            "Compare the clocks; if they agree, ask the provider's operator for a new invitation.",
        ) from problem


def is_sealed(data: bytes) -> bool:
    """Return whether a passphrase is needed to read an invitation."""
    return data.startswith(_SEALED)


def seal(data: bytes, passphrase: bytes) -> bytes:
    """Return the file of an invitation, sealed like a key store."""
    master = MasterKey.fresh(passphrase, ScryptCost())
    return _SEALED + master.seal(master.header(), data)


def check_sealed(data: bytes) -> Envelope:
    """Return a sealed invitation that is whole by its checksum; raises `InputError` for any other."""
    try:
        return Envelope.parse(data.removeprefix(_SEALED))
    except KeyStoreError:
        raise _refused("was cut or altered: its checksum does not fit", _AGAIN) from None


def unseal(data: bytes, passphrase: bytes) -> bytes:
    """Return what was sealed; raises `InputError` for a wrong passphrase and for a file that was altered."""
    envelope = check_sealed(data)
    try:
        return MasterKey.of(passphrase, envelope.header).open(envelope)
    except KeyStoreError as error:
        if error.code is not ErrorCode.PASSPHRASE_WRONG:
            raise _refused("was altered", _AGAIN) from None
        raise InputError(
            "The passphrase does not open this invitation.",
            hint="Ask the provider's operator which one it was sealed with.",
            code=ErrorCode.PASSPHRASE_WRONG,
        ) from None


def read_bounded(path: Path) -> bytes:
    """Return the content of a file; raises `InputError` for one that cannot be read or is larger than an invitation."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror or type(error).__name__}.",
            hint="Check the path and its permissions.",
            code=ErrorCode.FILE_INVALID,
        ) from error
    if len(data) > MAX_BYTES:
        raise _refused(f"has more than {MAX_BYTES >> 20} MiB", "Leave the public texts out of it.")
    return data


def spoken(digest: bytes) -> str:
    """Return the first 128 bits of a SHA-256 in groups of four digits, to compare by voice.

    Finding a second key or certificate with the same ones is as hard as breaking AES-128.
    """
    text = digest[:16].hex()
    return " ".join(text[start : start + 4] for start in range(0, len(text), 4))


def fingerprint(certificate: x509.Certificate) -> str:
    """Return by what people recognise an authority."""
    return spoken(certificate.fingerprint(hashes.SHA256()))


def _verify(authority: x509.Certificate, body: bytes, line: bytes) -> None:
    key, signature = authority.public_key(), bytes.fromhex(line.decode("ascii"))
    if not isinstance(key, ec.EllipticCurvePublicKey) or line != signature.hex().encode() + b"\n":
        raise ValueError("no signature of an authority")
    key.verify(signature, _DOMAIN + body, ec.ECDSA(hashes.SHA256()))


def _refused(what: str, hint: str) -> InputError:
    return InputError(f"The invitation {what}.", hint=hint, code=ErrorCode.FILE_INVALID)
