"""The HTTP endpoint that Prometheus scrapes."""

from __future__ import annotations

from urllib.parse import urlsplit

from prometheus_client import start_http_server

from securealign.errors import ConfigurationError
from securealign.ops.observability.metrics import Metrics

#: Metrics name clients, so they are served on this machine alone unless the operator chooses another address.
DEFAULT_ADDRESS = "127.0.0.1:9464"


class MetricsEndpoint:
    """Serves metrics over plain HTTP from construction until `close`; port 0 takes a free one.

    Raises `ConfigurationError` for an address that cannot be listened on.
    """

    def __init__(self, metrics: Metrics, address: str = DEFAULT_ADDRESS) -> None:
        host, port = _split(address)
        try:
            self._server, self._thread = start_http_server(port, host, registry=metrics.registry)
        except OSError as error:
            raise ConfigurationError(
                f"Cannot serve metrics on {address}: {error.strerror or type(error).__name__}.",
                hint="Choose a free port, or stop the program that uses it.",
            ) from error
        #: The port that is bound; of interest when the address asked for port 0.
        self.port = self._server.server_port

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> MetricsEndpoint:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()


def _split(address: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or port is None:
        raise ConfigurationError(
            f"{address!r} is no address to serve metrics on.", hint=f"Write host:port, such as {DEFAULT_ADDRESS}."
        )
    return host, port
