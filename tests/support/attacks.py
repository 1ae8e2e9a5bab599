"""What a hostile peer does to a server with a socket, with and without a certificate."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc

from securealign.pki.identity import Role
from securealign.protocol import messages as m
from securealign.transport.grpc_server import INFERENCE_METHOD
from securealign.wire import InferenceCodec

from .messages import DIGEST

#: The preface of HTTP/2 and an empty SETTINGS frame.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)


def _tls(port: int, certificates: Path) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certificates / "ca.pem")
    context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
    context.set_alpn_protocols(["h2"])
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), 10), server_hostname=Role.PROVIDER.value)


def silent_sockets(port: int, certificates: Path, stop: threading.Event) -> None:
    """Open connections that never finish their handshake, a byte of one at a time."""
    with contextlib.ExitStack() as held:
        for _ in range(100):
            held.enter_context(socket.create_connection(("127.0.0.1", port), 10)).sendall(b"\x16")
        stop.wait()


def silent_streams(port: int, certificates: Path, stop: threading.Event) -> None:
    """Open TLS connections that begin to speak HTTP/2 and say no more."""
    with contextlib.ExitStack() as held:
        for _ in range(20):
            held.enter_context(_tls(port, certificates)).sendall(_PREFACE)
        stop.wait()


def handshakes(port: int, certificates: Path, stop: threading.Event) -> None:
    """Shake hands and hang up, over and over."""
    while not stop.is_set():
        with contextlib.suppress(OSError):
            _tls(port, certificates).close()


def streams(port: int, certificates: Path, stop: threading.Event) -> None:
    """Open streams with an enormous claim, a session that nobody keeps, or nothing; leave in the middle of each."""
    codec = InferenceCodec()
    claim = m.KeyChunk(total=2**31, offset=0, data=b"x" * 1000)
    frames = (codec.encode(claim), codec.encode(m.Resume(nonce=DIGEST, received=9)), b"\xff" * 4096)
    pem = [(certificates / name).read_bytes() for name in ("ca.pem", "key.pem", "cert.pem")]
    options = (("grpc.ssl_target_name_override", Role.PROVIDER.value),)
    with grpc.secure_channel(f"127.0.0.1:{port}", grpc.ssl_channel_credentials(*pem), options=options) as channel:
        while not stop.is_set():
            for frame in frames:
                call = channel.stream_stream(INFERENCE_METHOD)(iter([frame]), timeout=600)
                with contextlib.suppress(grpc.RpcError):
                    next(call, None)
                call.cancel()


ATTACKS: dict[str, Callable[[int, Path, threading.Event], None]] = {
    "silent sockets": silent_sockets,
    "silent streams": silent_streams,
    "handshakes": handshakes,
    "streams": streams,
}


@contextlib.contextmanager
def under(attack: str, port: int, certificates: Path) -> Iterator[None]:
    """Attack a server on loopback, with the bundle in a folder, while a block runs."""
    stop = threading.Event()
    thread = threading.Thread(target=ATTACKS[attack], args=(port, certificates, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(600)
