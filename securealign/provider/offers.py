"""What the provider offers while it runs: nothing before its public texts are embedded, then what is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from securealign.commands import Progress
from securealign.errors import ConfigurationError, ErrorCode, RemoteProtocolError
from securealign.he.entropy import SystemEntropy
from securealign.he.interface import Suite
from securealign.ops.observability import Metrics
from securealign.protocol.context import Observer
from securealign.protocol.machine import SessionMachine
from securealign.protocol.policy.rank import charged_datasets
from securealign.provider.catalogue import Catalogue, ServedHead
from securealign.provider.config import ProviderSettings
from securealign.provider.loading import Heads, Loader
from securealign.provider.machines import LEDGERS, Machines
from securealign.storage.database import Ledger
from securealign.storage.opening import State
from securealign.storage.session_store import ProviderSessions
from securealign.transport.grpc_server import INFERENCE_METHOD, TRAINING_METHOD
from securealign.transport.session_manager import Counters, DurableSessionManager, Peer
from securealign.wire import (
    InferenceCodec,
    TrainingCodec,
    decode_listing_request,
    encode_listing,
)

_DAY_SECONDS = 86_400.0

M = TypeVar("M", bound=SessionMachine)


class Offers:
    """The catalogue of a provider, and the hosts of its sessions by gRPC method."""

    def __init__(self, settings: ProviderSettings, state: State, suites: Sequence[Suite], metrics: Metrics) -> None:
        self._settings = settings
        self._state = state
        self._suites = suites
        self._ledgers = {kind: Ledger(state.folder.database, kind) for kind in LEDGERS}
        self._catalogue = Catalogue([], [])
        #: Whether the public texts are embedded, so that clients are served.
        self.ready = False
        self._machines = Machines(
            self._catalogue,
            suites,
            entropy=SystemEntropy(),
            policy=settings.policy,
            ledgers=self._ledgers,
            metrics=metrics,
            privacy=settings.privacy,
        )
        self._sessions = ProviderSessions(
            state.folder,
            self._ledgers,
            keep_seconds=settings.state.keep_days * _DAY_SECONDS,
            max_per_hour=settings.policy.max_sessions_per_hour,
        )
        self.hosts: dict[str, DurableSessionManager] = {}
        if any(space.texts for space in settings.offered_spaces.values()):
            self.hosts[TRAINING_METHOD] = DurableSessionManager(
                "training", TrainingCodec(), self._once_ready(self._machines.training), self._sessions
            )
        if settings.offered_heads:
            self.hosts[INFERENCE_METHOD] = DurableSessionManager(
                "inference", InferenceCodec(), self._once_ready(self._machines.inference), self._sessions
            )

    def load(self, heads: Heads, report: Progress | None = None) -> None:
        """Embed the public texts, and offer spaces and heads; `heads` are those of the settings, as read."""
        settings, loader = self._settings, self._loader(self._settings, report)
        spaces = {}
        for name, entry in settings.offered_spaces.items():
            own = {
                head: heads[head] for head, named in settings.offered_heads.items() if settings.space_of(named) == name
            }
            if entry.texts or own:
                spaces[name] = loader.space(name, entry, own)
        self._catalogue.spaces = spaces
        self._catalogue.heads = self._heads(loader, settings, heads)
        self.ready = True

    def replace_heads(self, settings: ProviderSettings, heads: Heads) -> list[str]:
        """Offer the heads of changed settings, and return what differs, a line for each head.

        Raises `ConfigurationError`, and changes nothing, for a head that does not fit into its space.
        """
        before, after = self._catalogue.heads, self._heads(self._loader(settings), settings, heads)
        if INFERENCE_METHOD not in self.hosts and after:
            raise ConfigurationError("A provider without a head at its start serves none.", hint="Start it again.")
        self._catalogue.heads = after
        return [
            *(f"{name}: added" for name in after if name not in before),
            *(f"{name}: removed" for name in before if name not in after),
            *(f"{name}: {_difference(before[name], after[name])}" for name in after if name in before),
        ]

    @property
    def catalogue(self) -> Catalogue:
        """What is offered now."""
        return self._catalogue

    def charged(self) -> dict[str, float]:
        """Return what clients were charged for answers: queries and bits, by account."""
        ledger = self._ledgers["answers"]
        with ledger.lock:
            return dict(ledger.values)

    def list(self, peer: Peer, request: bytes) -> bytes:
        """Answer a client that asks for the list of what it is offered."""
        self._require_ready()
        return encode_listing(self._machines.listing(peer, decode_listing_request(request)))

    def summary(self) -> dict[str, object]:
        """Return what is offered, for the log."""
        told: dict[str, object] = {"suites": list(self._settings.policy.suites)}
        spaces, heads = self._catalogue.spaces, self._catalogue.heads
        if len(spaces) == 1:
            (served,) = spaces.values()
            told["space"] = served.space.identifier.hex()
            if served.public is not None:
                told |= {"public_rows": served.public.rows.shape[0], "dimension": served.space.dimension}
        else:
            told["spaces"] = {name: served.space.identifier.hex() for name, served in spaces.items()}
        if list(heads) == ["default"]:
            told["classes"] = len(heads["default"].head.class_names)
        elif heads:
            told["heads"] = {name: served.digest.hex()[:16] for name, served in heads.items()}
        return told

    def _heads(self, loader: Loader, settings: ProviderSettings, heads: Heads) -> dict[str, ServedHead]:
        spaces = self._catalogue.spaces
        return {
            name: loader.head(name, entry, heads[name], spaces[settings.space_of(entry)])
            for name, entry in settings.offered_heads.items()
        }

    def _loader(self, settings: ProviderSettings, report: Progress | None = None) -> Loader:
        charged = set().union(*(charged_datasets(self._ledgers[kind].values) for kind in ("rank", "privacy")))
        return Loader(settings, self._state, list(self._suites), charged, report)

    def _require_ready(self) -> None:
        if not self.ready:
            raise RemoteProtocolError("The public texts are not embedded yet.", code=ErrorCode.STARTING)

    def _once_ready(self, make: Callable[[Peer, Observer, Counters], M]) -> Callable[[Peer, Observer, Counters], M]:
        def made(peer: Peer, observer: Observer, counters: Counters) -> M:
            self._require_ready()
            return make(peer, observer, counters)

        return made


def _difference(before: ServedHead, after: ServedHead) -> str:
    if before.digest != after.digest:
        return "changed, sessions on it end"
    return "other rules or clients" if replace(before, head=after.head, space=after.space) != after else "as before"
