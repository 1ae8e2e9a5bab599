"""The client's end of mutual TLS: meeting the provider before gRPC does.

gRPC for Python shows neither the server's certificate nor why a handshake failed, and reads no list of revoked
certificates. So this opens a TLS connection of its own first, checks the provider's certificate in full, and then lets
a gRPC channel trust that one certificate and nothing else. An attacker between the two connections would need its
private key.
"""

import datetime as dt
import secrets
import socket
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NoReturn

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from securealign.errors import ConfigurationError, ErrorCode, TransportError
from securealign.pki.bundles import Bundle, verify_own, verify_peer
from securealign.pki.identity import Identity, Role, describe_authority, printable

#: Length and type of the first frame of a server in HTTP/2, which has to be SETTINGS.
_FRAME_HEADER_BYTES = 9
_SETTINGS = 4
_CLOCK = "%Y-%m-%d %H:%M UTC"
# Codes of X509_STORE_CTX_get_error.
_NOT_YET_VALID, _EXPIRED, _HOSTNAME = 9, 10, 62
_NO_AUTHORITY = frozenset({2, 18, 19, 20, 21})

_UNREACHABLE_HINT = "Check that the provider runs, and that its address, its port and the firewalls between are right."


class Stage(Enum):
    """The step of the first connection that failed, for programs that look for the cause."""

    NAME = "name"
    PORT = "port"
    TLS = "tls"
    DATES = "dates"
    AUTHORITY = "authority"
    ROLE = "role"
    OWN_CERTIFICATE = "own certificate"
    GRPC = "grpc"


class PreflightError(TransportError):
    """The first connection to the provider failed at `stage`."""

    def __init__(self, stage: Stage, message: str, *, hint: str, code: ErrorCode = ErrorCode.PEER_UNREACHABLE) -> None:
        super().__init__(message, hint=hint, code=code)
        self.stage = stage


@dataclass(frozen=True)
class Preflight:
    """What the first connection found: the provider's identity, its certificate in PEM, and the version of TLS."""

    identity: Identity
    certificate: bytes
    tls_version: str


def pinned_channel(
    target: str, bundle: Bundle, certificate: bytes, options: Sequence[tuple[str, Any]] = ()
) -> grpc.Channel:
    """Return a channel that trusts a provider with exactly this certificate, in PEM."""
    credentials = grpc.ssl_channel_credentials(certificate, bundle.private_key, bundle.certificate)
    # Through a proxy of HTTP, gRPC would go another way than the first connection went.
    fixed = (("grpc.ssl_target_name_override", Role.PROVIDER.value), ("grpc.enable_http_proxy", 0))
    return grpc.secure_channel(target, credentials, options=(*options, *fixed))


def meet(target: str, bundle: Bundle, *, now: dt.datetime, timeout: float) -> Preflight:
    """Return the provider at `target` once both sides have accepted each other's certificate; raises `TransportError`.

    `timeout` in seconds bounds each step: connecting, each message of the handshake, the first bytes of HTTP/2.
    """
    # Checked first: what the provider refuses afterwards is then no fault that could be found here.
    verify_own(bundle, now=now)
    return _meet(target, bundle, now, timeout, own=True)


def look(target: str, authority: bytes, revocations: bytes, *, now: dt.datetime, timeout: float) -> Preflight:
    """Return the provider that `target` shows to a client that has no certificate yet; raises as `meet`.

    It is one that `authority` issued, in PEM, and the list `revocations` does not name.
    """
    return _meet(target, Bundle(authority, authority, b"", Role.CLIENT, revocations), now, timeout, own=False)


def _meet(target: str, bundle: Bundle, now: dt.datetime, timeout: float, *, own: bool) -> Preflight:
    host, port = split_target(target)
    context = _context(bundle, own=own)
    with connect(host, port, timeout) as connection:
        try:
            with context.wrap_socket(connection, server_hostname=Role.PROVIDER.value) as secured:
                leaf = ssl.DER_cert_to_PEM_cert(secured.getpeercert(binary_form=True) or b"").encode()
                identity = verify_peer(leaf + _intermediates(secured), bundle, Role.PROVIDER, now=now)
                if own:
                    _await_settings(secured, target)
                return Preflight(identity, leaf, secured.version() or "")
        except ssl.SSLCertVerificationError as error:
            failure = error
        except OSError as error:
            _raise_no_tls(target, error)
    raise _untrusted(failure, _shown_certificate(host, port, timeout), bundle, now) from failure


def split_target(target: str) -> tuple[str, int]:
    """Return host and port of a target; raises `ConfigurationError` for anything but host:port."""
    host, separator, port = target.removeprefix("dns:///").rpartition(":")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ConfigurationError(
            f"{target!r} is no address of a provider: an IPv6 address has colons itself, and no brackets here.",
            hint="Write the address in brackets, and a port behind them, such as [2001:db8::1]:50051.",
        )
    host = host.removeprefix("[").removesuffix("]")
    if not (separator and host and port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        raise ConfigurationError(
            f"{target!r} is no address of a provider.", hint="Write host:port, such as provider.example.org:50051."
        )
    return host, int(port)


def connect(host: str, port: int, timeout: float) -> socket.socket:
    """Return a TCP connection; raises `TransportError` that says how far it came."""
    where = f"{host} port {port}"
    try:
        return socket.create_connection((host, port), timeout=timeout)
    except (socket.gaierror, UnicodeError) as error:
        reason, hint = f"The name {host} does not resolve", "Check the spelling of the address, and this machine's DNS."
        raise _unreachable(Stage.NAME, reason, hint) from error
    except ConnectionRefusedError as error:
        hint = "Check the port, and that the provider runs and listens on that address."
        raise _unreachable(Stage.PORT, f"Nothing listens at {where}: the connection was refused", hint) from error
    except TimeoutError as error:
        hint = "A firewall may drop the packets, or the host is down: ask its operator."
        raise _unreachable(Stage.PORT, f"No answer from {where} within {timeout:g} seconds", hint) from error
    except OSError as error:
        raise _unreachable(Stage.PORT, f"{where} cannot be reached: {error.strerror or error}") from error


def _unreachable(stage: Stage, reason: str, hint: str = _UNREACHABLE_HINT) -> PreflightError:
    return PreflightError(stage, f"{reason}.", hint=hint)


def _context(bundle: Bundle, *, own: bool = True) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    context.hostname_checks_common_name = False
    # As in gRPC, every certificate in ca.pem is an authority of its own, also one that is not self-signed.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=bundle.authority.decode("ascii"))
    if own:
        _load_own(context, bundle)
    return context


def _load_own(context: ssl.SSLContext, bundle: Bundle) -> None:
    """Give the context this party's certificate and key, as `bundle` has them; OpenSSL takes them from files only.

    The key is written under a random passphrase that stays in this function, so that no second file holds it in clear.
    A memory file in /proc is no way out: processes that allow no core dumps cannot open it.
    """
    passphrase = secrets.token_hex(32).encode()
    key = serialization.load_pem_private_key(bundle.private_key, password=None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase),
    )
    with tempfile.TemporaryDirectory(prefix="securealign-") as folder:
        path = Path(folder) / "own.pem"
        path.write_bytes(bundle.certificate + b"\n" + key)
        context.load_cert_chain(path, password=passphrase)


def _intermediates(secured: ssl.SSLSocket) -> bytes:
    """Return the certificates above the leaf that the provider has sent, in PEM."""
    public = getattr(secured, "get_unverified_chain", None)
    if public is not None:
        chain = [bytes(item) for item in public()]
    else:
        # Python before 3.13 has the method on the inner object only.
        chain = [ssl.PEM_cert_to_DER_cert(item.public_bytes()) for item in secured._sslobj.get_unverified_chain()]  # type: ignore[attr-defined]
    return "".join(ssl.DER_cert_to_PEM_cert(item) for item in chain[1:]).encode()


def _await_settings(secured: ssl.SSLSocket, target: str) -> None:
    """Wait for the first frame: in TLS 1.3 the server looks at our certificate after our handshake is over."""
    if secured.selected_alpn_protocol() != "h2":
        raise _unreachable(Stage.GRPC, f"{target} speaks TLS but not HTTP/2, so it is no provider")
    try:
        header = _read(secured, _FRAME_HEADER_BYTES)
    except TimeoutError as error:
        raise _unreachable(Stage.GRPC, f"{target} says nothing after the handshake, so it is no provider") from error
    except OSError as error:
        raise _refused(target, getattr(error, "reason", None) or "") from error
    if not header:
        raise _refused(target, "")
    if len(header) < _FRAME_HEADER_BYTES or header[3] != _SETTINGS:
        raise _unreachable(Stage.GRPC, f"{target} speaks TLS but not gRPC, so it is no provider")


def _read(secured: ssl.SSLSocket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = secured.recv(count - len(data))
        if not piece:
            break
        data += piece
    return data


def _refused(target: str, alert: str) -> PreflightError:
    """Return the error for a provider that hung up on our certificate, which this side has found in order."""
    said = f"with the alert {printable(alert)!r}" if alert else "without a word, as gRPC does"
    return PreflightError(
        Stage.OWN_CERTIFICATE,
        f"The provider at {target} refused this party's certificate {said}; here its authority and dates are in order.",
        hint="Its operator compares ca.pem of both parties and looks at the provider's clock; 'securealign certs show' "
        "prints keys and dates.",
        code=ErrorCode.PEER_UNTRUSTED,
    )


def _raise_no_tls(target: str, error: OSError) -> NoReturn:
    if isinstance(error, TimeoutError):
        raise _unreachable(Stage.TLS, f"{target} accepts connections but does not answer in TLS") from error
    reason = (getattr(error, "reason", None) or error.strerror or type(error).__name__).lower().replace("_", " ")
    raise _unreachable(Stage.TLS, f"{target} accepts connections but speaks no TLS 1.3 ({reason})") from error


def _shown_certificate(host: str, port: int, timeout: float) -> x509.Certificate | None:
    """Return the certificate that a server shows, unverified, to say what is wrong with it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with (
            connect(host, port, timeout) as connection,
            context.wrap_socket(connection, server_hostname=Role.PROVIDER.value) as secured,
        ):
            return x509.load_der_x509_certificate(secured.getpeercert(binary_form=True) or b"")
    except (OSError, ValueError, TransportError):
        return None


def _untrusted(
    error: ssl.SSLCertVerificationError, shown: x509.Certificate | None, bundle: Bundle, now: dt.datetime
) -> PreflightError:
    """Return why the provider's certificate was refused, in words."""
    stage, hint = Stage.DATES, "Ask the provider's operator to renew it: 'securealign certs renew'."
    clock = f"this machine's clock says {now:{_CLOCK}}"
    if error.verify_code == _EXPIRED:
        message = f"The provider's certificate{_date(shown, 'not_valid_after_utc', ' expired on')}, and {clock}."
    elif error.verify_code == _NOT_YET_VALID:
        message = (
            f"The provider's certificate{_date(shown, 'not_valid_before_utc', ' is valid from')} only, and {clock}."
        )
        hint = "Compare this machine's clock with the provider's; one of them is wrong."
    elif error.verify_code == _HOSTNAME:
        stage = Stage.ROLE
        message = f"The peer's certificate is not for the name {Role.PROVIDER.value}{_names(shown)}."
        hint = "The provider needs the bundle 'provider', the client the bundle 'client'."
    else:
        stage = Stage.AUTHORITY
        message = (
            f"The provider's certificate was not issued by an authority in ca.pem{_issuer(shown)}; trusted here: "
            f"{_trusted(bundle)}."
            if error.verify_code in _NO_AUTHORITY
            else f"The provider's certificate is not accepted: {error.verify_message}."
        )
        hint = "Both parties need bundles of the same authority: see 'securealign certs init'."
    code = ErrorCode.WRONG_ROLE if stage is Stage.ROLE else ErrorCode.PEER_UNTRUSTED
    return PreflightError(stage, message, hint=hint, code=code)


def _date(shown: x509.Certificate | None, field: str, verb: str) -> str:
    return f"{verb} {getattr(shown, field):{_CLOCK}}" if shown is not None else f"{verb} another day"


def _names(shown: x509.Certificate | None) -> str:
    if shown is None:
        return ""
    try:
        names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return "; it names none"
    return f"; it names {printable(', '.join(names.get_values_for_type(x509.DNSName))) or 'none'}"


def _issuer(shown: x509.Certificate | None) -> str:
    if shown is None:
        return ""
    try:
        key = shown.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except (x509.ExtensionNotFound, ValueError):
        key = None
    return f" but by {describe_authority(shown.issuer, key)}"


def _trusted(bundle: Bundle) -> str:
    authorities = x509.load_pem_x509_certificates(bundle.authority)
    keys = (x509.SubjectKeyIdentifier.from_public_key(item.public_key()).digest for item in authorities)
    return "; ".join(describe_authority(item.subject, key) for item, key in zip(authorities, keys, strict=True))
