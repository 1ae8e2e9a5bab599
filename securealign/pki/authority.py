"""A private certificate authority in a folder: bundles for parties, their renewal and their revocation.

DIR/ca/ca.pem, ca.key, crl.pem    the authority, its key, and the list of what it revoked
DIR/ca/issued/SERIAL.pem          every certificate it ever issued, so that all of a party can be revoked
DIR/ca/invitations/               open invitations; used/ holds those with a certificate (enrolment.py)
DIR/NAME/                         the bundle of a party; previous/ holds the one before its last renewal
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from securealign.errors import ConfigurationError, ErrorCode, InputError, TransportError
from securealign.files import write_atomically
from securealign.pki.chains import CertificateProblem, is_issued_by, now_utc
from securealign.pki.identity import Identity, Role, identity_of_certificate
from securealign.pki.issuing import (
    Issuer,
    Subject,
    Window,
    check_name,
    make_authority,
    make_certificate,
    make_list,
    parse_hosts,
    revoked_entry,
)
from securealign.pki.revocation import parse_lists

#: Years in which parties renew certificates under the same authority.
AUTHORITY_DAYS = 3650
#: Days after which a party that has not received a newer list of revoked certificates refuses its peers.
LIST_DAYS = 90

_Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Issued:
    """A certificate that an authority issued, and when it was revoked, if it was."""

    identity: Identity
    certificate: x509.Certificate
    revoked: dt.datetime | None


def create_certificates(
    folder: Path,
    *,
    days: int,
    provider_hosts: Sequence[str] = (),
    client_hosts: Sequence[str] = (),
    roles: Sequence[Role] = tuple(Role),
    authority_days: int = AUTHORITY_DAYS,
    list_days: int = LIST_DAYS,
) -> list[Path]:
    """Write a new CA and a bundle for each of `roles` below `folder` and return the bundle folders.

    Private keys get mode 0600 in folders of mode 0700. Raises `ConfigurationError` for a host that no certificate can
    name, and when `folder` already holds an authority or a bundle: replacing it would cut off both parties.
    """
    if any((folder / name).exists() for name in ("ca", *(role.label for role in Role))):
        raise ConfigurationError(
            f"{folder} already holds a certificate authority or what one issued.",
            hint="Name an empty folder, or delete the old one first.",
        )
    hosts = {Role.PROVIDER: provider_hosts, Role.CLIENT: client_hosts}
    for names in hosts.values():
        parse_hosts(names)
    key = ec.generate_private_key(ec.SECP256R1())
    window = Window.of_days(now_utc(), max(days, authority_days))
    issuer = Issuer(make_authority(key, window), key)
    empty = make_list(issuer, (), 1, Window.of_days(now_utc(), list_days))
    ca = _private_folder(folder / "ca")
    _write_key(ca / "ca.key", key)
    write_atomically(ca / "crl.pem", empty.public_bytes(serialization.Encoding.PEM))
    write_atomically(ca / "ca.pem", _pem(issuer.certificate))
    authority = Authority(folder)
    return [authority.issue(role, role.label, days=days, hosts=hosts[role]) for role in roles]


class Authority:
    """The authority that `create_certificates` made in a folder; one process works with it at a time."""

    def __init__(self, folder: Path, *, clock: Callable[[], dt.datetime] = now_utc) -> None:
        self._folder = folder
        self._clock = clock
        self._ca = folder / "ca"
        self._issuer = self._load()

    def issue(self, role: Role, name: str, *, days: int, hosts: Sequence[str] = ()) -> Path:
        """Make a bundle for a further party and return its folder.

        Raises `ConfigurationError` for a name that is taken or cannot be one, and for a host that cannot be named.
        """
        subject = Subject(role, check_name(name), parse_hosts(hosts))
        bundle = self._folder / name
        if self.knows(name):
            raise ConfigurationError(
                f"The authority in {self._folder} has already issued a bundle named {name!r}.",
                hint=f"Choose another name, or renew it: 'securealign certs renew {self._folder} --bundle {name}'.",
            )
        new = self._folder / f".{name}.new"
        # Left by an interrupted call; no party has received it.
        shutil.rmtree(new, ignore_errors=True)
        _private_folder(new)
        key, certificate = self._sign(subject, days)
        _write_key(new / "key.pem", key)
        self._write_public(new, certificate)
        new.rename(bundle)
        return bundle

    def certify(self, name: str, key: ec.EllipticCurvePublicKey, *, days: int) -> x509.Certificate:
        """Return a certificate for a client that keeps its private key itself; recorded, but without a bundle here."""
        return self._certify(Subject(Role.CLIENT, check_name(name)), key, days)

    def knows(self, name: str) -> bool:
        """Return whether a party of this name has a bundle, or ever had a certificate."""
        return (self._folder / name).exists() or any(item.identity.name == name for item in self.issued())

    def renew(self, names: Sequence[str] = (), *, days: int, list_days: int = LIST_DAYS) -> list[Path]:
        """Give bundles new keys and certificates for the same parties, and the list of revoked ones a later end.

        Without names, all bundles in the folder except those that were revoked. What a bundle held stays in its folder
        `previous`. Raises `InputError` for a bundle that is not there.
        """
        chosen = list(names) or [bundle.name for bundle in self._bundles() if not self._is_revoked(bundle)]
        subjects = {name: self._subject(name) for name in chosen}
        self._write_list(self._revoked(), list_days)
        for name, subject in subjects.items():
            bundle = self._folder / name
            _keep(bundle)
            key, certificate = self._sign(subject, days)
            # The key first: a party that reads in between sees a pair that does not match, and keeps its current one.
            _write_key(bundle / "key.pem", key)
            self._write_public(bundle, certificate)
        return [self._folder / name for name in chosen]

    def revoke(self, name: str, *, list_days: int = LIST_DAYS) -> list[Issued]:
        """Revoke every certificate that a party of this name ever got, and return them.

        Writes the new list into the authority and all bundles in the folder; other parties have to be given it. Raises
        `InputError` for a name to which nothing was issued.
        """
        known = [item for item in self.issued() if item.identity.name == name]
        if not known:
            raise InputError(
                f"The authority in {self._folder} has issued nothing to {name!r}.",
                hint=f"See the names it knows: 'securealign certs show {self._folder}'.",
                code=ErrorCode.FILE_INVALID,
            )
        entries = self._revoked()
        have = {entry.serial_number for entry in entries}
        serials = {item.certificate.serial_number for item in known} - have
        self._write_list([*entries, *(revoked_entry(serial, self._clock()) for serial in serials)], list_days)
        return [item for item in self.issued() if item.identity.name == name]

    def renew_list(self, *, list_days: int = LIST_DAYS) -> Path:
        """Sign the list of revoked certificates anew, so that it expires later, and return its file."""
        self._write_list(self._revoked(), list_days)
        return self._ca / "crl.pem"

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate of the authority itself."""
        return self._issuer.certificate

    @property
    def records(self) -> Path:
        """The folder of what the authority keeps about itself."""
        return self._ca

    @property
    def revocations(self) -> bytes:
        """The current list of revoked certificates, in PEM; empty without one."""
        return b"".join(item.public_bytes(serialization.Encoding.PEM) for item in self._lists())

    def sign(self, statement: bytes) -> bytes:
        """Return the authority's ECDSA signature of a statement, which must not begin like a certificate or a list."""
        return self._issuer.key.sign(statement, ec.ECDSA(hashes.SHA256()))

    def issued(self) -> list[Issued]:
        """Return all certificates ever issued, by name and age."""
        records = {item.serial_number: item for item in map(_read_certificate, self._record_files())}
        revoked = {entry.serial_number: entry.revocation_date_utc for entry in self._revoked()}
        found = [Issued(identity_of_certificate(item), item, revoked.get(serial)) for serial, item in records.items()]
        return sorted(found, key=lambda item: (item.identity.name, item.certificate.not_valid_before_utc))

    def _load(self) -> Issuer:
        try:
            certificate = _read_certificate(self._ca / "ca.pem")
            key = serialization.load_pem_private_key((self._ca / "ca.key").read_bytes(), password=None)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            reason = str(error) if isinstance(error, OSError) else type(error).__name__
            raise self._unusable(reason) from error
        if not isinstance(key, _Key) or key.public_key() != certificate.public_key():
            raise self._unusable("ca.key does not belong to ca.pem")
        return Issuer(certificate, key)

    def _unusable(self, reason: str) -> InputError:
        return InputError(
            f"There is no usable authority in {self._folder}: {reason}.",
            hint="Point to the folder that 'securealign certs init' made, where ca/ca.key is.",
            code=ErrorCode.FILE_INVALID,
        )

    def _record_files(self) -> list[Path]:
        # Authorities made by an earlier release kept no record; their certificates are in the bundles.
        return [*sorted((self._ca / "issued").glob("*.pem")), *(item / "cert.pem" for item in self._bundles())]

    def _bundles(self) -> list[Path]:
        found = (item.parent for item in sorted(self._folder.glob("[!.]*/cert.pem")))
        return [item for item in found if is_issued_by(_read_certificate(item / "cert.pem"), self._issuer.certificate)]

    def _is_revoked(self, bundle: Path) -> bool:
        serial = _read_certificate(bundle / "cert.pem").serial_number
        return any(entry.serial_number == serial for entry in self._revoked())

    def _subject(self, name: str) -> Subject:
        """Return whom the bundle of a name is for, with the hosts that its certificate names."""
        file = self._folder / name / "cert.pem"
        if not file.is_file():
            raise InputError(
                f"There is no bundle {name!r} in {self._folder}.",
                hint="Make it with 'securealign certs issue', or name one of the folders there.",
                code=ErrorCode.FILE_INVALID,
            )
        certificate = _read_certificate(file)
        try:
            identity = identity_of_certificate(certificate)
        except TransportError as error:
            raise self._unusable(f"{file} is for no party") from error
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        kept = (x509.DNSName, x509.IPAddress)
        hosts = tuple(item for item in names if isinstance(item, kept) and item.value != identity.role.value)
        # Certificates made by an earlier release name no party; the folder does.
        named = any(isinstance(item, x509.UniformResourceIdentifier) for item in names)
        return Subject(identity.role, identity.name if named else check_name(name), hosts)

    def _sign(self, subject: Subject, days: int) -> tuple[_Key, x509.Certificate]:
        key = ec.generate_private_key(ec.SECP256R1())
        return key, self._certify(subject, key.public_key(), days)

    def _certify(self, subject: Subject, key: ec.EllipticCurvePublicKey, days: int) -> x509.Certificate:
        certificate = make_certificate(subject, key, self._issuer, Window.of_days(self._clock(), days))
        # Recorded before anybody can have it: only what is on record can be revoked.
        write_atomically(self._ca / "issued" / f"{certificate.serial_number:040x}.pem", _pem(certificate))
        return certificate

    def _write_public(self, bundle: Path, certificate: x509.Certificate) -> None:
        if not (bundle / "ca.pem").exists():
            write_atomically(bundle / "ca.pem", _pem(self._issuer.certificate))
        write_atomically(bundle / "crl.pem", (self._ca / "crl.pem").read_bytes())
        write_atomically(bundle / "cert.pem", _pem(certificate))

    def _lists(self) -> tuple[x509.CertificateRevocationList, ...]:
        path = self._ca / "crl.pem"
        try:
            lists = parse_lists(path.read_bytes()) if path.exists() else ()
        except CertificateProblem as problem:
            raise self._unusable(problem.reason) from problem
        if any(not item.is_signature_valid(self._issuer.key.public_key()) for item in lists):
            raise self._unusable("it did not sign ca/crl.pem")
        return lists

    def _revoked(self) -> list[x509.RevokedCertificate]:
        return [entry for item in self._lists() for entry in item]

    def _write_list(self, entries: Sequence[x509.RevokedCertificate], days: int) -> None:
        number = 1 + max((_number(item) for item in self._lists()), default=0)
        new = make_list(self._issuer, entries, number, Window.of_days(self._clock(), days))
        data = new.public_bytes(serialization.Encoding.PEM)
        for folder in (self._ca, *self._bundles()):
            write_atomically(folder / "crl.pem", data)


def _number(item: x509.CertificateRevocationList) -> int:
    try:
        return item.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return 0


def _read_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError as error:
        raise InputError(
            f"{path} holds no certificate in PEM.",
            hint="Restore it from a backup, or move it away if it is not of this program.",
            code=ErrorCode.FILE_INVALID,
        ) from error


def _keep(bundle: Path) -> None:
    """Copy the key and certificate of a bundle to where a renewal does not reach them, unless they do not fit."""
    certificate = _read_certificate(bundle / "cert.pem")
    try:
        data = (bundle / "key.pem").read_bytes()
        key = serialization.load_pem_private_key(data, password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
        return
    if key.public_key() == certificate.public_key():
        previous = _private_folder(bundle / "previous")
        write_atomically(previous / "key.pem", data, mode=0o600)
        write_atomically(previous / "cert.pem", (bundle / "cert.pem").read_bytes())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    os.chmod(folder, 0o700)  # noqa: PTH101 - mkdir's mode is subject to the umask
    return folder


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key as a bundle holds it."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write_key(path: Path, key: _Key) -> None:
    write_atomically(path, private_pem(key), mode=0o600)
