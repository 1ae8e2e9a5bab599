"""Checks of one party's own machine, which need no peer."""

from __future__ import annotations

import datetime as dt
import resource
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509

from securealign.alignment.head import LinearHead
from securealign.alignment.margins import UNEVEN_ADVICE, uneven_warning
from securealign.client.config import ClientSettings
from securealign.data import load_public
from securealign.errors import ConfigurationError, ErrorCode, InputError, SecurealignError
from securealign.he.registry import get_suite
from securealign.models.source import load_public_embeddings
from securealign.ops.doctor.budgets import (
    check_answers,
    known_dimension,
    trainings_of_clients,
    trainings_of_own,
    trainings_under_privacy,
)
from securealign.ops.doctor.configuration import PartySettings
from securealign.ops.doctor.encoder import check_encoder
from securealign.ops.doctor.findings import Finding, failed, fine, warning
from securealign.pki.bundles import load_bundle
from securealign.pki.chains import CertificateProblem, now_utc
from securealign.pki.identity import Role, identity_of
from securealign.pki.revocation import parse_lists
from securealign.provider.config import DEFAULT, ProviderSettings
from securealign.provider.loading import require_one_budget
from securealign.settings import EncoderChoice
from securealign.transport.grpc_client import is_loopback

#: Operators are warned so long before a certificate or a list expires: renewing it takes other people too.
_NOTICE = dt.timedelta(days=21)
_OTHERS = 0o077


@dataclass(frozen=True)
class PublicData:
    """Number and digest of this party's public texts; the dimension of their embeddings if those are in a file."""

    rows: int
    digest: bytes
    dimension: int | None


class Site:
    """A party's machine: its configuration, and the public texts that it names."""

    def __init__(self, file: PartySettings, *, clock: Callable[[], dt.datetime] = now_utc) -> None:
        self.file = file
        self.clock = clock
        if isinstance(file, ProviderSettings):
            self.role, self.suites = Role.PROVIDER, file.policy.suites
            self.address, certificates = file.server.address, file.server.certificates
            self.sections: dict[str, Any] = {
                name: section for name, section in file.offered_spaces.items() if section.texts
            }
            self.encoders: list[EncoderChoice] = list(self.sections.values())
        else:
            self.role, self.suites = Role.CLIENT, file.provider.suites
            self.address, certificates = file.provider.address, file.provider.certificates
            self.sections = {DEFAULT: file.public} if file.public else {}
            self.encoders = [file.encoder] if file.encoder else []
        self.folder = file.path(certificates)
        self._read: dict[str, PublicData] = {}

    def public(self, name: str = DEFAULT) -> PublicData | None:
        """Return the public texts of a space, None without; raises `InputError` where they cannot be read."""
        section = self.sections.get(name)
        if section is None:
            return None
        if name not in self._read:
            self._read[name] = self._load(section)
        return self._read[name]

    def _load(self, section: Any) -> PublicData:  # noqa: ANN401 - the section of either party
        public = load_public(self.file.path_or_name(section.texts))
        dimension = None
        if section.embeddings is not None:
            dimension = load_public_embeddings(self.file.path(section.embeddings), public).shape[1]
        return PublicData(len(public.texts), public.digest, dimension)


def check_locally(site: Site) -> Iterator[Finding]:
    """Yield the findings of all checks of this machine, causes before their consequences."""
    yield from _check_clock(site)
    yield from _check_certificates(site)
    yield from _check_permissions(site)
    yield from _check_suites(site)
    yield from _check_public(site)
    for choice in site.encoders:
        yield from check_encoder(choice, private=site.role is Role.CLIENT)
    if isinstance(site.file, ProviderSettings):
        yield from _check_head(site, site.file)
    yield _check_writable("state", site.file.path(site.file.state.folder))
    if isinstance(site.file, ClientSettings):
        yield _check_writable("alignment", site.file.path(site.file.alignment.folder))
    yield _check_core_dumps()


def _check_clock(site: Site) -> Iterator[Finding]:
    """Compare the clock with the dates of this party's bundle, which were in the past when it was made."""
    now, known = site.clock(), []
    try:
        known.append(x509.load_pem_x509_certificate((site.folder / "cert.pem").read_bytes()).not_valid_before_utc)
        known += [item.last_update_utc for item in parse_lists((site.folder / "crl.pem").read_bytes())]
    except (OSError, ValueError, CertificateProblem):
        # Other checks report missing files.
        pass
    if known and now < max(known):
        error = ConfigurationError(
            f"This machine's clock says {now:%Y-%m-%d %H:%M} UTC, before {max(known):%Y-%m-%d %H:%M} UTC, when its "
            "certificates were made.",
            hint="Set the clock and keep it right: timedatectl set-ntp true.",
        )
        yield failed("clock", error)
    else:
        yield fine("clock", f"{now:%Y-%m-%d %H:%M} UTC, after this party's certificates were made")


def _check_certificates(site: Site) -> Iterator[Finding]:
    now = site.clock()
    try:
        bundle = load_bundle(site.folder, site.role, now=now)
    except InputError as error:
        yield failed("revocation" if "crl.pem" in error.message else "certificates", error)
        return
    identity = identity_of(bundle.certificate)
    end = min(item.not_valid_after_utc for item in x509.load_pem_x509_certificates(bundle.certificate))
    yield _until("certificates", f"{identity.name}, {identity.role.label}, of an authority in ca.pem", end, now)
    lists = parse_lists(bundle.revocations)
    ends = [item.next_update_utc for item in lists if item.next_update_utc is not None]
    if not lists:
        yield warning(
            "revocation",
            f"There is no crl.pem in {site.folder}: a peer's certificate that was revoked is accepted here",
            "Ask whoever keeps the authority for it: 'securealign certs renew DIR --list-only'.",
        )
    elif ends:
        yield _until("revocation", "the list of revoked certificates is in order", min(ends), now)
    else:
        yield fine("revocation", "the list of revoked certificates is in order and never expires")


def _until(check: str, what: str, end: dt.datetime, now: dt.datetime) -> Finding:
    until = f"{what}; valid until {end:%Y-%m-%d}"
    if end - now < _NOTICE:
        hint = "Ask whoever keeps the authority for new files soon: 'securealign certs renew DIR'."
        return warning(check, f"{until}, {(end - now).days} days from now", hint)
    return fine(check, until)


def _check_permissions(site: Site) -> Iterator[Finding]:
    kept = sorted(path for path in site.file.path(site.file.state.folder).glob("*") if path.is_file())
    present = [path for path in (site.folder / "key.pem", *kept) if path.exists()]
    wide = [path for path in present if path.stat().st_mode & _OTHERS]
    for path in wide:
        error = InputError(
            f"{path} is open to other users of this machine (mode {path.stat().st_mode & 0o777:o}).",
            hint=f"Run: chmod 600 {path}. If others could read it, have the key replaced.",
            code=ErrorCode.FILE_INVALID,
        )
        yield failed("permissions", error)
    if present and not wide:
        yield fine("permissions", "private keys are for their owner alone")


def _check_suites(site: Site) -> Iterator[Finding]:
    usable = []
    for name in site.suites:
        try:
            suite = get_suite(name)
        except SecurealignError as error:
            yield failed("suite", error)
            continue
        usable.append(suite)
        if not suite.info.encrypts and not is_loopback(site.address):
            yield warning("suite", f"{name!r} does not encrypt and is refused beyond loopback", "Use the suite 'lwe'.")
    if len(usable) == len(site.suites):
        yield fine("suite", ", ".join(f"{suite.info.name} ({suite.info.parameter_set})" for suite in usable))


def _check_public(site: Site) -> Iterator[Finding]:
    for name in site.sections:
        try:
            public = site.public(name)
        except SecurealignError as error:
            yield failed("public data", error)
            continue
        except OSError as error:
            yield failed("public data", _unreadable(error))
            continue
        if public is None:
            continue
        columns = f" of dimension {public.dimension}" if public.dimension else ""
        which = "" if name == DEFAULT else f"{name}: "
        yield fine("public data", f"{which}{public.rows} texts{columns}, digest {public.digest.hex()[:16]}")
        if isinstance(site.file, ProviderSettings):
            yield trainings_of_clients(public.rows, site.file.policy.max_rank_fraction)
            if site.file.privacy is not None:
                yield trainings_under_privacy(site.file.privacy)
        elif (dimension := known_dimension(site.file, public.dimension)) is not None:
            yield trainings_of_own(public.rows, dimension)


def _unreadable(error: OSError) -> InputError:
    return InputError(
        f"{error.filename or 'A file'} cannot be used: {error.strerror or type(error).__name__}.",
        hint="Check the path and its permissions.",
        code=ErrorCode.FILE_INVALID,
    )


def _check_head(site: Site, file: ProviderSettings) -> Iterator[Finding]:
    heads = {}
    for name, entry in file.offered_heads.items():
        what = "head" if name == DEFAULT else f"head {name}"
        try:
            head = heads[name] = LinearHead.from_pretrained(file.path(entry.folder))
        except SecurealignError as error:
            yield failed(what, error)
            continue
        features, dimension = len(head.weight), _known_dimension(site, file.space_of(entry))
        if dimension not in {None, features}:
            problem = ConfigurationError(
                f"The public embeddings have {dimension} dimensions and the head takes {features}.",
                hint="Use the encoder that the head was fitted on.",
                code=ErrorCode.SHAPE_MISMATCH,
            )
            yield failed("dimension", problem)
        else:
            yield fine(what, f"{head.weight.shape[1]} classes over {features} dimensions")
        if (uneven := uneven_warning(head)) is not None:
            yield warning(what, uneven, UNEVEN_ADVICE)
        yield from check_answers(entry.rules(file.policy), file.policy.suites, head)
    try:
        require_one_budget(file, heads)
    except SecurealignError as error:
        yield failed("heads", error)


def _known_dimension(site: Site, space: str) -> int | None:
    try:
        public = site.public(space)
        return public.dimension if public else None
    except (SecurealignError, OSError):
        return None


def _check_writable(name: str, folder: Path) -> Finding:
    """Write a file where the party will, or would make the folder."""
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".securealign-doctor-"):
            pass
    except OSError as error:
        problem = InputError(
            f"The {name} folder {folder} cannot be written: {error.strerror or type(error).__name__} at {existing}.",
            hint="Make the folder for the user who runs this party, and leave it room: chown, df.",
            code=ErrorCode.FILE_INVALID,
        )
        return failed(name, problem)
    if name == "state" and folder.is_dir() and folder.stat().st_mode & _OTHERS:
        mode = f"{folder.stat().st_mode & 0o777:o}"
        return warning(name, f"{folder} is open to other users of this machine (mode {mode})", f"chmod 700 {folder}")
    return fine(name, f"{folder} can be written" if folder.exists() else f"{folder} will be made when it is needed")


def _check_core_dumps() -> Finding:
    if resource.getrlimit(resource.RLIMIT_CORE)[0] == 0:
        return fine("core dumps", "off")
    return warning(
        "core dumps",
        "programs that are started here may write their memory, keys included, to disk when they crash; the parties "
        "switch that off for themselves",
        "Run: ulimit -c 0, or set LimitCORE=0 in the service.",
    )
