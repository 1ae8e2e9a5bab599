"""The provider's end of mutual TLS: credentials that are renewed without a restart, and who a peer is.

Files are checked for changes when a connection or a stream is opened; no thread watches them.
"""

import datetime as dt
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import grpc
import structlog

from securealign.errors import ErrorCode, InputError, TransportError
from securealign.pki.bundles import FILES, Bundle, load_bundle, renew_revocations, verify_peer
from securealign.pki.chains import now_utc
from securealign.pki.identity import Identity, Role

log = structlog.get_logger()


class FixedBundle:
    """A bundle that never changes: for tests, benchmarks, and whoever restarts the server to renew it."""

    def __init__(self, bundle: Bundle, *, clock: Callable[[], dt.datetime] = now_utc) -> None:
        self._bundle, self.clock = bundle, clock

    def current(self) -> Bundle:
        """Return the bundle."""
        return self._bundle


class BundleSource:
    """The bundle of a party as its folder holds it now; several threads may share one."""

    def __init__(self, folder: Path, role: Role, *, clock: Callable[[], dt.datetime] = now_utc) -> None:
        self.folder, self.role, self.clock = folder, role, clock
        self._lock = threading.Lock()
        self._state = self._look()
        self._bundle = load_bundle(folder, role, now=clock())

    def current(self) -> Bundle:
        """Return the bundle, read again if a file has changed.

        A bundle that cannot be used is refused: the one before is kept, and each change is logged once as a warning.
        Its list of revoked certificates is used even then if it is valid, so that a fault in another file does not
        keep a revoked client admitted.
        """
        with self._lock:
            state = self._look()
            if state != self._state:
                self._state = state
                self._bundle = self._reload()
            return self._bundle

    def _reload(self) -> Bundle:
        now = self.clock()
        try:
            bundle = load_bundle(self.folder, self.role, now=now)
        except InputError as error:
            log.warning("certificates not renewed", reason=error.message, hint=error.hint)
            return self._renew_list(now)
        log.info("certificates renewed", folder=str(self.folder))
        if self._bundle.revocations and not bundle.revocations:
            # A file is missing for a moment while it is copied; revoked clients must be refused meanwhile.
            log.warning("list of revoked certificates kept", reason="crl.pem has gone; a restart does without it.")
            return replace(bundle, revocations=self._bundle.revocations)
        return bundle

    def _renew_list(self, now: dt.datetime) -> Bundle:
        try:
            return renew_revocations(self._bundle, self.folder, now=now)
        except InputError as error:
            log.warning("list of revoked certificates not renewed", reason=error.message, hint=error.hint)
            return self._bundle

    def _look(self) -> list[tuple[int, int, int] | None]:
        """Return what changes with a file, for each file of the bundle: time, size and inode; None if it is missing."""
        return [_file_state(self.folder / name) for name in FILES]


#: Where the bundle of a party comes from, and what time it is there.
Source = FixedBundle | BundleSource


def server_credentials(source: Source) -> grpc.ServerCredentials:
    """Return credentials of a provider that asks every client for a certificate.

    Each new connection is made with the bundle that `source` holds then.
    """
    last = source.current()

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal last
        bundle = source.current()
        if bundle is last:
            return None
        last = bundle
        return _configuration(bundle)

    # The stubs of gRPC do not know that None means no change.
    return grpc.dynamic_ssl_server_credentials(_configuration(last), fetch, require_client_authentication=True)  # type: ignore[arg-type]


def peer_identity(context: grpc.ServicerContext, source: Source) -> Identity:
    """Return the client that opened a stream, whose certificate TLS has verified when it connected.

    Called for every new stream: a certificate that was revoked or has expired since the connection was made is refused
    here. Raises `TransportError` with `WRONG_ROLE`, `CERTIFICATE_REVOKED` or `PEER_UNTRUSTED`.
    """
    properties = context.auth_context()
    chain = b"".join((*properties.get("x509_pem_cert", ()), *properties.get("x509_pem_cert_chain", ())))
    if not chain:
        raise TransportError("The peer has shown no certificate.", code=ErrorCode.PEER_UNTRUSTED)
    return verify_peer(chain, source.current(), Role.CLIENT, now=source.clock())


def _configuration(bundle: Bundle) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(bundle.private_key, bundle.certificate)], root_certificates=bundle.authority
    )


def _file_state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
