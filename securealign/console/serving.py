"""A console's server in a thread of a party's process: its own event loop, few connections, and its own stop."""

from __future__ import annotations

import threading
from types import TracebackType

import uvicorn
from fastapi import FastAPI

from securealign.console.access import Access, listen

#: Connections at a time, and seconds for which one is kept without a request.
_CONNECTIONS, _IDLE_SECONDS = 64, 5
#: Seconds that requests under way get at the end.
_GRACE_SECONDS = 2


class ConsoleServer:
    """Listens from construction and serves until `close`; port 0 takes a free one.

    Raises `ConfigurationError` for an address that cannot be listened on.
    """

    def __init__(self, app: FastAPI, access: Access) -> None:
        self._socket = listen(access)
        #: The port that is bound.
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_CONNECTIONS,
            timeout_keep_alive=_IDLE_SECONDS,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="console", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop serving; a browser that does not end is left behind."""
        self._server.should_exit = True
        self._thread.join(2 * _GRACE_SECONDS)
        self._server.force_exit = True
        self._thread.join(_GRACE_SECONDS)
        self._socket.close()

    def __enter__(self) -> ConsoleServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
