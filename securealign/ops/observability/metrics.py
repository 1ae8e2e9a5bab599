"""The numbers of a provider, as Prometheus reads them: counts, bytes, seconds and what is left, never contents.

Labels are few on purpose: phases, directions and error codes are fixed sets, and identities and heads are bounded.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from securealign.errors import ErrorCode, PeerAborted, SecurealignError, TransportError
from securealign.protocol.context import Event, Observer
from securealign.protocol.states import Direction
from securealign.transport.grpc_server import SessionReport

#: Pairs of identity and head shown at a time; the one that was heard of longest ago makes room for a new one.
MAX_SHOWN = 100

PHASES = ("training", "inference")
OUTCOMES = ("done", "refused", "left", "lost", "expired", "failed")

#: Seconds: from one small answer to an upload over a slow line.
_BUCKETS = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0, 1800.0)


class Metrics:
    """Counters, gauges and histograms in a registry of their own; every method may be called from any thread."""

    def __init__(self, *, max_shown: int = MAX_SHOWN) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._max_shown = max_shown
        self._shown: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._lock = threading.Lock()

        counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
        self._opened = counter("securealign_sessions_opened", "Sessions begun.", ["phase"])
        self._resumed = counter("securealign_sessions_resumed", "Times a session went on over a new stream.", ["phase"])
        self._suspended = counter(
            "securealign_sessions_suspended", "Times a session lost its stream and was kept for its peer.", ["phase"]
        )
        self._ended = counter(
            "securealign_sessions_ended",
            "Sessions over: done, refused by this side, left by the peer, lost, expired, or failed by a fault here.",
            ["phase", "outcome"],
        )
        self._active = gauge("securealign_sessions_active", "Sessions connected now.", ["phase"])
        self._kept = gauge("securealign_sessions_kept", "Sessions kept in the state folder.")
        self._refusals = counter("securealign_refusals", "Sessions and streams refused, by rule.", ["rule"])
        self._bytes = counter("securealign_payload_bytes", "Payload bytes, as they pass.", ["direction", "phase"])
        self._seconds = Histogram(
            "securealign_phase_seconds",
            "Compute of this side for one phase over one stream.",
            ["phase"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self._queries = counter("securealign_queries", "Queries debited.")
        self._pool = gauge("securealign_pool_slots", "Query slots prepared and not used, all sessions.")
        of = ["identity", "head"]
        self._left = {
            "queries": gauge("securealign_queries_left", "Queries left.", of),
            "bits": gauge("securealign_answer_bits_left", "Bits of answers left.", of),
            "rank": gauge("securealign_rank_left", "What is left of the rank of public embeddings.", of),
        }
        self._expires = gauge(
            "securealign_certificate_expiry_timestamp_seconds",
            "When a certificate or revocation list of this party expires, Unix time.",
            ["certificate"],
        )
        # Prometheus sees no increase in a counter that appears with its first event.
        for phase in PHASES:
            for sessions in (self._opened, self._resumed, self._suspended):
                sessions.labels(phase)
            for outcome in OUTCOMES:
                self._ended.labels(phase, outcome)
        for code in ErrorCode:
            self._refusals.labels(code.name)

    def render(self) -> bytes:
        """Return all numbers in the text format of Prometheus."""
        return generate_latest(self.registry)

    def watching(self, observer: Observer) -> Observer:
        """Return an observer for a machine that counts bytes as they pass and tells `observer` of each event too."""

        def observe(event: Event) -> None:
            direction = "sent" if event.direction is Direction.SEND else "received"
            self._bytes.labels(direction, event.stage).inc(event.size)
            observer(event)

        return observe

    def session_opened(self, phase: str, *, resumed: bool = False) -> None:
        """Count a session, "training" or "inference", that has got a stream: a new one, or one that goes on."""
        (self._resumed if resumed else self._opened).labels(phase).inc()
        self._active.labels(phase).inc()

    def session_ended(self, report: SessionReport) -> None:
        """Count what a stream did for its session, and its outcome unless it is kept for its peer."""
        self._active.labels(report.kind).dec()
        for phase, stats in report.stats.phases.items():
            self._seconds.labels(phase).observe(stats.provider_seconds)
        if report.suspended:
            self._suspended.labels(report.kind).inc()
            return
        outcome = outcome_of(report.error)
        self._ended.labels(report.kind, outcome).inc()
        if outcome == "refused" and report.error is not None:
            self.refused(report.error.code)

    def session_expired(self, phase: str) -> None:
        """Count a session that was given up because its client did not return in time."""
        self._ended.labels(phase, "expired").inc()

    def kept_sessions(self, count: Callable[[], int]) -> None:
        """Show what `count()` returns whenever the metrics are read, as the number of sessions kept."""
        self._kept.set_function(count)

    def refused(self, code: ErrorCode) -> None:
        """Count a refusal; `session_ended` does so for sessions, this is for streams that never became one."""
        self._refusals.labels(code.name).inc()

    def queries_debited(self, count: int) -> None:
        """Count queries charged to some identity."""
        self._queries.inc(count)

    def pool_depth(self, count: Callable[[], int]) -> None:
        """Show what `count()` returns whenever the metrics are read, as the query slots prepared and not used."""
        self._pool.set_function(count)

    def certificate_expires(self, certificate: str, when: Callable[[], float]) -> None:
        """Show what `when()` returns whenever the metrics are read, as the Unix time at which a certificate expires."""
        self._expires.labels(certificate).set_function(when)

    def show_left(self, identity: str, head: str = "", **left: float | None) -> None:
        """Set what an identity may still ask for, as "queries" or "bits" of a head, or "rank"; None is no limit."""
        pair = identity, head
        with self._lock:
            self._shown[pair] = None
            self._shown.move_to_end(pair)
            if len(self._shown) > self._max_shown:
                forgotten, _ = self._shown.popitem(last=False)
                for gauge in self._left.values():
                    with suppress(KeyError):  # a pair may be shown in some only
                        gauge.remove(*forgotten)
            for name, value in left.items():
                if value is not None:
                    self._left[name].labels(*pair).set(value)


def outcome_of(error: SecurealignError | None) -> str:
    """Return how a session with this error ended: "done", "left" by the peer, "lost", "failed" here or "refused"."""
    if error is None:
        return "done"
    if isinstance(error, PeerAborted):
        return "left"
    if isinstance(error, TransportError):
        return "lost"
    return "failed" if error.code is ErrorCode.INTERNAL else "refused"
