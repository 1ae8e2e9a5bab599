"""The numbers of the service, as Prometheus reads them: counts, bytes, seconds and what is left, never contents."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from securealign.client.predictions import ClientStatus
from securealign.client.service.clients import Clients
from securealign.errors import ErrorCode

#: Seconds: from a text whose pool is ready to a request that opens a session.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 10.0, 60.0)


class ServiceMetrics:
    """Counters of requests, and what the open clients say of themselves whenever the numbers are read."""

    def __init__(self, clients: Clients) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "securealign_service_requests", "Requests answered.", ["path", "status"], registry=registry
        )
        self._failures = Counter("securealign_service_errors", "Errors given, by code.", ["code"], registry=registry)
        self._texts = Counter("securealign_service_texts", "Texts answered.", registry=registry)
        self._seconds = Histogram(
            "securealign_service_request_seconds",
            "From the head of a request to the end of its response.",
            ["path"],
            buckets=_BUCKETS,
            registry=registry,
        )
        registry.register(_OfClients(clients))
        # Prometheus sees no increase in a counter that appears with its first event.
        for code in ErrorCode:
            self._failures.labels(code.name)

    def render(self) -> bytes:
        """Return all numbers in the text format of Prometheus."""
        return generate_latest(self.registry)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count a request, of one of a few paths; status 499 is a caller that has gone."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def classified(self, texts: int) -> None:
        """Count texts that were answered."""
        self._texts.inc(texts)

    def failed(self, code: ErrorCode) -> None:
        """Count an error that a caller was given."""
        self._failures.labels(code.name).inc()


class _OfClients(Collector):
    """What the clients count themselves. Heads are a bounded number: those with an open client, and those offered."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def collect(self) -> Iterator[Metric]:
        """Yield the numbers of all clients, by head."""
        found = {head or "default": client.status() for head, client in list(self._clients.clients.items())}
        yield from _counts(found)
        yield from _gauges(found)
        queries = GaugeMetricFamily("securealign_client_queries_left", "Queries left at the provider.", labels=["head"])
        bits = GaugeMetricFamily("securealign_client_answer_bits_left", "Bits of answers left.", labels=["head"])
        for head in self._clients.told:
            queries.add_metric([head.name], head.queries_left)
            if head.bits_left is not None:
                bits.add_metric([head.name], head.bits_left)
        yield queries
        yield bits


def _counts(found: dict[str, ClientStatus]) -> Iterator[Metric]:
    sessions = CounterMetricFamily("securealign_client_sessions", "Sessions opened.", labels=["head"])
    queries = CounterMetricFamily("securealign_client_queries", "Queries, without check rows.", labels=["head"])
    checks = CounterMetricFamily("securealign_client_check_rows", "Check rows asked beside them.", labels=["head"])
    messages, sizes = (
        CounterMetricFamily(f"securealign_client_{name}", about, labels=["head", "kind", "direction"])
        for name, about in (("messages", "Messages of a kind."), ("bytes", "Their bytes as encoded."))
    )
    for head, status in found.items():
        sessions.add_metric([head], status.sessions)
        queries.add_metric([head], status.queries)
        checks.add_metric([head], status.checks)
        for passed in status.traffic:
            labels = [head, passed.kind, "sent" if passed.sent else "received"]
            messages.add_metric(labels, passed.messages)
            sizes.add_metric(labels, passed.bytes)
    yield from (sessions, queries, checks, messages, sizes)


def _gauges(found: dict[str, ClientStatus]) -> Iterator[Metric]:
    is_open = GaugeMetricFamily("securealign_client_session_open", "Whether a session is open.", labels=["head"])
    waiting = GaugeMetricFamily("securealign_client_waiting", "Inputs that wait for an answer.", labels=["head"])
    online = GaugeMetricFamily(
        "securealign_client_round_trip_seconds",
        "Of the last thousand round trips: median and 95th percentile.",
        labels=["head", "quantile"],
    )
    for head, status in found.items():
        is_open.add_metric([head], status.open)
        waiting.add_metric([head], status.waiting)
        for quantile, ms in (("0.5", status.online_ms_median), ("0.95", status.online_ms_p95)):
            if ms is not None:
                online.add_metric([head, quantile], ms / 1000)
    yield from (is_open, waiting, online)
