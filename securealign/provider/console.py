"""What the console of a provider shows of it: read from what is offered, the ledgers, the metrics and the audit log."""

from __future__ import annotations

import calendar
import math
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from prometheus_client import CollectorRegistry

from securealign.console.access import open_access, stays_here
from securealign.console.state import BudgetState, ClientState, HeadState, ProviderState, SpaceState
from securealign.errors import DependencyError
from securealign.provider.catalogue import ServedHead, ServedSpace
from securealign.provider.config import ConsoleSection, ProviderSettings
from securealign.provider.offers import Offers
from securealign.provider.operating import Given, budgets, visits

if TYPE_CHECKING:
    from securealign.console.serving import ConsoleServer

log = structlog.get_logger()

_SECONDS = "%Y-%m-%dT%H:%M:%S"


class Visits:
    """When each client was here last, and how many of its streams were refused.

    What was before this process comes from the audit log, which is read when somebody asks first: it may be long.
    """

    def __init__(self, audit_file: Path, clock: Callable[[], float] = time.time) -> None:
        self._file, self._clock = audit_file, clock
        #: Unix seconds.
        self.started = clock()
        self._lock = threading.Lock()
        self._seen: dict[str, float] = {}
        self._refused: dict[str, int] = {}
        self._earlier: tuple[dict[str, float], dict[str, int]] | None = None

    def opened(self, client: str) -> None:
        """Note that a client opened a session, or goes on with one."""
        with self._lock:
            self._seen[client] = self._clock()

    def refused(self, client: str) -> None:
        """Note that a stream was refused; one of nobody that is known is not counted."""
        if client:
            with self._lock:
                self._refused[client] = self._refused.get(client, 0) + 1

    def so_far(self) -> tuple[dict[str, float], dict[str, int]]:
        """Return by client when it was here last (Unix seconds), and its refused streams."""
        if self._earlier is None:
            seen, refused = visits(self._file, before=time.strftime(_SECONDS, time.gmtime(self.started)))
            self._earlier = {client: _unix(at) for client, at in seen.items()}, refused
        earlier, before = self._earlier
        with self._lock:
            clients = {*before, *self._refused}
            counts = {client: before.get(client, 0) + self._refused.get(client, 0) for client in clients}
            return {**earlier, **self._seen}, counts


@dataclass(frozen=True)
class Watched:
    """A provider that runs, as its console reads it."""

    address: str
    settings: ProviderSettings
    offers: Offers
    registry: CollectorRegistry
    visits: Visits

    def state(self) -> ProviderState:
        """Return what the page shows now; sessions go on meanwhile."""
        numbers = _Numbers(self.registry)
        charged, catalogue = self.offers.charged(), self.offers.catalogue
        heads = catalogue.heads
        given = budgets(charged, {name: head.rules for name, head in heads.items()})
        seen, refused = self.visits.so_far()
        asked: dict[str, int] = {}
        for of_client in given.values():
            for each in of_client:
                asked[each.head] = asked.get(each.head, 0) + each.queries
        return ProviderState(
            address=self.address,
            ready=self.offers.ready,
            started=self.visits.started,
            suites=self.settings.policy.suites,
            sessions_open=int(numbers.total("securealign_sessions_active")),
            sessions_kept=int(numbers.total("securealign_sessions_kept")),
            queries=sum(asked.values()),
            heads=tuple(_head(head, asked.get(name, 0)) for name, head in heads.items()),
            spaces=tuple(_space(space) for space in catalogue.spaces.values()),
            clients=tuple(
                ClientState(
                    name=client,
                    seen=seen.get(client),
                    refused=refused.get(client, 0),
                    budgets=tuple(_budget(each, offered=each.head in heads) for each in given.get(client, ())),
                )
                for client in sorted({*seen, *refused, *given})
            ),
            refusals=tuple(
                (rule, int(count)) for rule, count in numbers.by("securealign_refusals_total", "rule") if count
            ),
            certificates=tuple(
                (name, end)
                for name, end in numbers.by("securealign_certificate_expiry_timestamp_seconds", "certificate")
                if math.isfinite(end)
            ),
        )


def open_console(section: ConsoleSection, watched: Watched) -> ConsoleServer:
    """Serve the page from a thread until it is closed.

    Raises `ConfigurationError` for an address that cannot be used, or that others can reach without a token;
    `DependencyError` without the packages of the extra `service`.
    """
    try:
        from securealign.console.provider import provider_app
        from securealign.console.serving import ConsoleServer
    except ModuleNotFoundError as error:
        raise DependencyError(
            f"The console needs {error.name}, which is not installed.", hint="Run: pip install 'securealign[service]'"
        ) from error
    token_file = None if section.token_file is None else watched.settings.path(section.token_file)
    access = open_access(section.address, token_file=token_file, hosts=section.hosts)
    if not stays_here(access):
        log.warning("the console crosses the network in clear", hint="Put a proxy with TLS before it.")
    server = ConsoleServer(provider_app(watched.state, access), access)
    log.info("console", address=access.host, port=server.port)
    return server


@dataclass(frozen=True)
class _Numbers:
    """The numbers of a registry, read once."""

    registry: CollectorRegistry
    samples: dict[str, list[tuple[dict[str, str], float]]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for metric in self.registry.collect():
            for sample in metric.samples:
                self.samples.setdefault(sample.name, []).append((sample.labels, sample.value))

    def total(self, name: str) -> float:
        return sum(value for _, value in self.samples.get(name, ()))

    def by(self, name: str, label: str) -> Iterable[tuple[str, float]]:
        return [(labels[label], value) for labels, value in self.samples.get(name, ())]


def _head(served: ServedHead, asked: int) -> HeadState:
    dimension, classes = served.head.weight.shape
    return HeadState(
        name=served.name,
        space=served.space.name,
        output="label_confidence" if served.rules.confidence_thresholds else served.rules.output,
        classes=classes,
        dimension=dimension,
        digest=served.digest.hex(),
        queries=asked,
        clients=None if served.clients is None else tuple(sorted(served.clients)),
    )


def _space(served: ServedSpace) -> SpaceState:
    public = served.public
    return SpaceState(
        name=served.name,
        identifier=served.space.identifier.hex(),
        dimension=served.space.dimension,
        rows=None if public is None else public.rows.shape[0],
        digest=None if public is None else public.digest.hex(),
    )


def _budget(given: Given, *, offered: bool) -> BudgetState:
    return BudgetState(
        head=given.head,
        queries=given.queries,
        queries_left=given.queries_left if offered else None,
        bits=given.bits,
        bits_left=given.bits_left,
    )


def _unix(at: str) -> float:
    return float(calendar.timegm(time.strptime(at[: len("2026-01-31T12:00:00")], _SECONDS)))
