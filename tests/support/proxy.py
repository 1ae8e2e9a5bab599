"""A TCP proxy on loopback whose connections a test can cut, at once or when so many bytes have passed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress


class Proxy:
    """Passes bytes between clients and a port of loopback; use as a context manager."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._left: int | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._threads: list[threading.Thread] = []
        self.port = self._listener.getsockname()[1]
        #: How often connections were cut.
        self.cuts = 0
        #: Bytes that have passed, in both directions.
        self.passed = 0

    @property
    def address(self) -> str:
        """Where clients connect."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Proxy:
        self._acceptor.start()
        return self

    def __exit__(self, *unused: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        # Only then can no connection begin that the cut would miss.
        self._acceptor.join(600)
        self.cut()
        for thread in self._threads:
            thread.join(600)

    def cut(self, again_after: int | None = None) -> None:
        """Cut all connections, and once more when so many bytes have passed towards the provider."""
        with self._lock:
            sockets, self._sockets = self._sockets, set()
            self._left = again_after
        self.cuts += 1
        for item in sockets:
            _shut(item)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                near.close()
                continue
            with self._lock:
                self._sockets |= {near, far}
            thread = threading.Thread(target=self._connection, args=(near, far), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _connection(self, near: socket.socket, far: socket.socket) -> None:
        back = threading.Thread(target=_pump, args=(far, near, self._pass), daemon=True)
        back.start()
        _pump(near, far, self._count)
        back.join()
        near.close()
        far.close()

    def _pass(self, size: int) -> None:
        with self._lock:
            self.passed += size

    def _count(self, size: int) -> None:
        self._pass(size)
        if self._left is None:
            return
        self._left -= size
        if self._left <= 0:
            self.cut()


def _pump(source: socket.socket, sink: socket.socket, count: Callable[[int], object]) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 14):
            count(len(data))
            sink.sendall(data)
    _shut(source)
    _shut(sink)


def _shut(item: socket.socket) -> None:
    with suppress(OSError):
        item.shutdown(socket.SHUT_RDWR)
