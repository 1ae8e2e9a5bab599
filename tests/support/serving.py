"""A process that serves over a client without a provider: answers wait until a line comes from standard input."""

import asyncio
import sys
import threading

from securealign.client.service import ServiceLimits, open_access, serve
from securealign.logs import configure_logs
from support.open_clients import FakeClient


def open_client(head: str) -> FakeClient:
    """Return a client whose answers wait."""
    loop, gate = asyncio.get_running_loop(), asyncio.Event()

    def release() -> None:
        if sys.stdin.readline():
            loop.call_soon_threadsafe(gate.set)

    threading.Thread(target=release, daemon=True).start()
    return FakeClient(head=head, gate=gate)


if __name__ == "__main__":
    configure_logs(as_json=True, quiet=False)
    serve(open_client, open_access(sys.argv[1]), ServiceLimits(grace_seconds=float(sys.argv[2])), head="topics")
