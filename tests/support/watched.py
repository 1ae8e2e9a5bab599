"""A party's program as a process that tells each message to a watcher, and waits until the watcher lets it go on.

A watcher that kills a party while it waits strikes at a known place of the session, without looking at a clock. The
programs are those of the product: only what passes through their machines is told.
"""

from __future__ import annotations

import hashlib
import json
import os
import runpy
import socket
import socketserver
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

#: `party`, `pid`, `did` ("send" or "receive") and `message`; where `did` is "answer", also `session`, `slots` (pool,
#: first, count) and `query`, a digest.
Fact = dict[str, Any]


class Watcher:
    """Calls `hear` with every fact of watched processes, one at a time, while the process waits."""

    def __init__(self, hear: Callable[[Fact], object]) -> None:
        lock = threading.Lock()

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                # A process that is killed leaves its connection in the middle of a line.
                with suppress(OSError, json.JSONDecodeError):
                    for line in self.rfile:
                        fact = json.loads(line)
                        with lock:
                            hear(fact)
                        self.wfile.write(b"\n")

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def command(self, party: str, *arguments: str) -> list[str]:
        """Return the command line of the program of a party, "provider" or "client"."""
        return [sys.executable, str(Path(__file__)), str(self._server.server_address[1]), party, *arguments]

    def close(self) -> None:
        """Hear no more."""
        self._server.shutdown()
        self._server.server_close()


def _tell(port: int, party: str) -> None:
    """Have the machines of this process tell what passes."""
    from securealign.protocol.inference.provider import InferenceProvider
    from securealign.protocol.machine import SessionMachine

    lock = threading.Lock()
    channel = socket.create_connection(("127.0.0.1", port)).makefile("rwb")
    note, on_query = SessionMachine._note, InferenceProvider._on_query

    def tell(**fact: Any) -> None:
        with lock:
            channel.write(json.dumps({"party": party, "pid": os.getpid(), **fact}).encode() + b"\n")
            channel.flush()
            channel.readline()

    def telling_note(machine: Any, direction: Any, message: Any, data: bytes) -> None:
        note(machine, direction, message, data)
        tell(did=direction.value, message=type(message).__name__)

    def telling_query(machine: Any, message: Any) -> Any:
        slots, query = (message.pool, message.first_slot, message.count), hashlib.sha256(message.data).hexdigest()
        tell(did="answer", message="Query", session=machine.session.hex(), slots=slots, query=query)
        return on_query(machine, message)

    SessionMachine._note = telling_note  # type: ignore[method-assign]
    InferenceProvider._on_query = telling_query  # type: ignore[method-assign]


if __name__ == "__main__":
    _port, _party = int(sys.argv[1]), sys.argv[2]
    del sys.argv[1:3]
    # The folder of this file holds modules that no program expects.
    del sys.path[0]
    _tell(_port, _party)
    runpy.run_module(f"securealign.{_party}", run_name="__main__", alter_sys=True)
