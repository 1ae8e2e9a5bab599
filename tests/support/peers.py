"""A real gRPC server and real certificates on loopback, with the suites that are fast in tests."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from securealign.alignment.coordinates import Space
from securealign.alignment.head import LinearHead
from securealign.alignment.maps import AlignmentMap
from securealign.alignment.secure import ClientProblem
from securealign.errors import SecurealignError
from securealign.he.entropy import SystemEntropy
from securealign.he.interface import Suite
from securealign.he.registry import get_suite
from securealign.keys.envelope import ScryptCost
from securealign.keys.handles import Purpose
from securealign.keys.store import KeyStore
from securealign.limits import ServerSettings
from securealign.matrices import FloatMatrix, Rows
from securealign.ops.observability import Metrics
from securealign.pki.certificates import Bundle
from securealign.protocol.context import Event, Observer
from securealign.protocol.inference.provider import InferenceProvider
from securealign.protocol.messages import UNNAMED_SPACE, OutputMode
from securealign.protocol.policy.admission import Admission
from securealign.protocol.policy.rules import Policy
from securealign.protocol.resume.session import ResumableClient
from securealign.protocol.states import Direction
from securealign.protocol.training.provider import TrainingProvider
from securealign.provider import spaces
from securealign.provider.catalogue import Catalogue, PublicData, ServedHead, ServedSpace
from securealign.provider.config import DEFAULT, PolicySection, PrivacySection, ProviderSettings
from securealign.provider.loading import read_heads
from securealign.provider.machines import LEDGERS, Machines
from securealign.provider.offers import Offers
from securealign.storage.database import Ledger
from securealign.storage.folder import Sealers, StateFolder
from securealign.storage.opening import KeyLimits, State, usable_key
from securealign.storage.session_store import ProviderSessions
from securealign.storage.work import durable_attempts, work_name
from securealign.transport.grpc_client import GrpcLink
from securealign.transport.grpc_server import (
    INFERENCE_METHOD,
    LISTING_METHOD,
    TRAINING_METHOD,
    Peer,
    ProviderServer,
    SessionReport,
)
from securealign.transport.meter import Meter
from securealign.transport.retrying import RetryPolicy
from securealign.transport.session_manager import DurableSessionManager
from securealign.transport.sessions import InferenceSession, train
from securealign.wire import InferenceCodec, TrainingCodec, decode_listing_request, encode_listing

from .durable import FixedRoot
from .machines import inference_client, inference_provider, training_client, training_provider

DIGEST = bytes(range(32))
#: The paper's penalty: one number gives the same map in whichever coordinates the provider answers.
RIDGE = 1e-3


def raw_space(rows: FloatMatrix, identifier: bytes = UNNAMED_SPACE) -> Space:
    """Return a space that leaves embeddings as they are, so that a test can compare with what it computes itself."""
    plain = Space.fixed(rows.shape[1], SystemEntropy())
    return replace(plain, identifier=identifier, norms=np.linalg.norm(rows, axis=0), count=len(rows))


def clear_weight(z_b: FloatMatrix, z_a: FloatMatrix) -> FloatMatrix:
    """Return the weight of the paper's map in clear, also for embeddings that do not belong together."""
    x, y = z_b - z_b.mean(axis=0), z_a - z_a.mean(axis=0)
    return np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y)


_BEFORE_LISTENING = {"starting", "space made", "precision is short", "the head is shared", "endpoint used"}


def settled(process: subprocess.Popen) -> dict:
    """Return the line of a provider's log that says where it listens, after those that came before it."""
    for line in process.stdout:
        entry = json.loads(line)
        if entry["event"] == "listening":
            return entry
        assert entry["event"] in _BEFORE_LISTENING, entry
    raise AssertionError("the provider ended before it listened")


@contextmanager
def loaded_offers(settings: ProviderSettings) -> Iterator[Offers]:
    """Yield what a provider with these settings offers, without a server."""
    state = open_cheaply(settings.path(settings.state.folder))
    try:
        offers = Offers(settings, state, [get_suite(name) for name in settings.policy.suites], Metrics())
        offers.load(read_heads(settings))
        yield offers
    finally:
        state.close()


def next_event(process: subprocess.Popen) -> dict:
    """Return the next line of a provider's log that says more than that a session was opened."""
    entry = json.loads(process.stdout.readline())
    return entry if entry["event"] != "session opened" else next_event(process)


def stored_space(site: Path, file: str = "provider.toml") -> Space:
    """Return the space that a provider of a folder keeps on disk."""
    return spaces.stored_space(site / file)


@dataclass
class Provider:
    """What a test provider owns, and what it reported of its sessions."""

    rows: FloatMatrix
    head: LinearHead
    suites: list[Suite]
    policy: Policy = field(default_factory=lambda: Policy(allow_unencrypted=True))
    reports: list[SessionReport] = field(default_factory=list)
    reported: threading.Event = field(default_factory=threading.Event)
    #: Called with every event of every session, before it is handled.
    on_event: Callable[[object], None] = lambda event: None

    def _observer(self, observer: Observer) -> Observer:
        def observe(event):
            observer(event)
            self.on_event(event)

        return observe

    def make_training(self, _peer: Peer, observer: Observer) -> TrainingProvider:
        return training_provider(
            self.suites,
            self.rows,
            DIGEST,
            entropy=SystemEntropy(),
            policy=self.policy,
            observer=self._observer(observer),
        )

    def make_inference(self, _peer: Peer, observer: Observer) -> InferenceProvider:
        return inference_provider(
            self.suites, self.head, entropy=SystemEntropy(), policy=self.policy, observer=self._observer(observer)
        )

    def report(self, report: SessionReport) -> None:
        self.reports.append(report)
        self.reported.set()

    def next_report(self) -> SessionReport:
        assert self.reported.wait(600)
        self.reported.clear()
        return self.reports[-1]


@contextmanager
def serving(
    provider: Provider, bundle: Bundle, settings: ServerSettings | None = None
) -> Iterator[tuple[str, ProviderServer]]:
    """Serve on a free port of loopback; yields the address."""
    methods = {TRAINING_METHOD: provider.make_training, INFERENCE_METHOD: provider.make_inference}
    server = ProviderServer("127.0.0.1:0", bundle, methods, settings=settings, report=provider.report)
    server.start()
    try:
        yield f"127.0.0.1:{server.port}", server
    finally:
        server.stop(0)


def align(
    address: str,
    bundle: Bundle,
    embeddings: FloatMatrix,
    suites: list[Suite],
    *,
    digest: bytes = DIGEST,
    deadline: float = 600,
) -> AlignmentMap:
    """Train over gRPC and return the map."""
    meter = Meter(counted="client")
    problem = ClientProblem(embeddings, RIDGE)
    client = training_client(suites, problem.rows, digest, entropy=SystemEntropy(), observer=meter.observer("client"))
    with GrpcLink(address, bundle, TRAINING_METHOD, client, meter, deadline_seconds=deadline) as link:
        return problem.solve(train(link, client, meter), client.total_squares)


@contextmanager
def inference(
    address: str, bundle: Bundle, features: int, suites: list[Suite], *, slots: int = 4
) -> Iterator[InferenceSession]:
    """Open an inference session over gRPC."""
    meter = Meter(counted="client")
    client = inference_client(suites, features, entropy=SystemEntropy(), slots=slots, observer=meter.observer("client"))
    with GrpcLink(address, bundle, INFERENCE_METHOD, client, meter, deadline_seconds=600) as link:
        yield InferenceSession(link, client, meter)


def bundles(folder: Path) -> tuple[Bundle, Bundle]:
    """Make certificates and return the bundles of provider and client."""
    from securealign.pki.certificates import Role, create_certificates, load_bundle

    create_certificates(folder, days=1)
    return load_bundle(folder / "provider", Role.PROVIDER), load_bundle(folder / "client", Role.CLIENT)


def three_bundles(folder: Path) -> tuple[Bundle, Bundle, Bundle]:
    """Make certificates and return the bundles of a provider and of two clients of one authority."""
    from securealign.pki.certificates import Authority, Role, load_bundle

    provider, client = bundles(folder)
    return provider, client, load_bundle(Authority(folder).issue(Role.CLIENT, "other", days=1), Role.CLIENT)


def embeddings(rows: int, columns: int, seed: int = 0) -> FloatMatrix:
    """Return random embeddings."""
    return np.random.default_rng(seed).normal(size=(rows, columns))


def random_head(dimension: int, names: Sequence[str]) -> LinearHead:
    """Return a head of random weights."""
    rng = np.random.default_rng(1)
    return LinearHead(rng.normal(size=(dimension, len(names))), rng.normal(size=len(names)), tuple(names))


@dataclass
class DurableProvider:
    """A provider whose sessions outlive its streams and itself; everything that it keeps lies in one folder."""

    folder: Path
    rows: FloatMatrix
    head: LinearHead
    suites: list[Suite]
    policy: PolicySection = field(default_factory=lambda: PolicySection(max_rank_fraction=1.0))
    privacy: PrivacySection | None = None
    settings: ServerSettings | None = None
    keep_seconds: float = 1000.0
    #: Name of its coordinates.
    space: bytes = UNNAMED_SPACE
    #: Unix seconds on the clock of the state folder.
    now: float = 1e9
    reports: list[SessionReport] = field(default_factory=list)
    refusals: list[SecurealignError] = field(default_factory=list)
    #: Called with every event of every machine, before it is handled.
    on_event: Callable[[Event], object] = lambda event: None
    #: Called with every report and every refusal, after they are kept.
    on_report: Callable[[SessionReport], object] = lambda report: None
    on_refused: Callable[[SecurealignError], object] = lambda error: None
    on_opened: Callable[[], object] = lambda: None

    def start(self, bundle: Bundle, port: int = 0) -> str:
        """Begin to serve, on a free port unless one is named; returns the address."""
        self.bundle = bundle
        self.state = StateFolder(self.folder, Sealers(FixedRoot()), clock=lambda: self.now)
        self.metrics = Metrics()
        self.ledgers = {kind: Ledger(self.state.database, kind) for kind in LEDGERS}
        space = ServedSpace(DEFAULT, raw_space(self.rows, self.space), PublicData(DIGEST, Rows(self.rows), "encoder"))
        self.catalogue = Catalogue([space], [ServedHead(DEFAULT, self.head, space, bytes(32), self.policy)])
        machines = Machines(
            self.catalogue,
            self.suites,
            entropy=SystemEntropy(),
            policy=self.policy,
            ledgers=self.ledgers,
            metrics=self.metrics,
            privacy=self.privacy,
        )
        sessions = ProviderSessions(
            self.state,
            self.ledgers,
            keep_seconds=self.keep_seconds,
            max_per_hour=self.policy.max_sessions_per_hour,
        )

        def training(peer, observer, counters):
            return machines.training(peer, self._observer(observer), counters)

        def inference(peer, observer, counters):
            return machines.inference(peer, self._observer(observer), counters)

        def listing(peer, request):
            return encode_listing(machines.listing(peer, decode_listing_request(request)))

        self.hosts = {
            TRAINING_METHOD: DurableSessionManager("training", TrainingCodec(), training, sessions),
            INFERENCE_METHOD: DurableSessionManager("inference", InferenceCodec(), inference, sessions),
        }
        self.server = ProviderServer(
            f"127.0.0.1:{port}",
            bundle,
            self.hosts,
            settings=self.settings,
            calls={LISTING_METHOD: listing},
            report=self._report,
            opened=lambda peer, phase, resumed: self.on_opened(),
            refused=self._refused,
            admission=Admission(
                max_peer_sessions=self.policy.max_peer_sessions,
                max_memory_bytes=self.policy.max_memory_bytes,
                lock=threading.Lock(),
            ),
        )
        self.server.start()
        return f"127.0.0.1:{self.server.port}"

    def stop(self) -> None:
        """End all streams and close the folder, as a process does that is told to stop."""
        self.server.stop(0)
        self.state.close()

    def restart(self) -> None:
        """Start again at the same port on the same folder."""
        self.start(self.bundle, self.server.port)

    def counters(self, kind: str) -> dict[str, float]:
        """Return the counters of a ledger as they are on disk."""
        query = "SELECT name, value FROM counter WHERE ledger = ?"
        with self.state.database.reading() as connection:
            return dict(connection.execute(query, (kind,)).fetchall())

    def kept(self) -> list[str]:
        """Return the outcomes of the sessions in the database; that of one that can go on is empty."""
        with self.state.database.reading() as connection:
            return [outcome for (outcome,) in connection.execute("SELECT outcome FROM session")]

    def _observer(self, observer: Observer) -> Observer:
        def observe(event: Event) -> None:
            observer(event)
            self.on_event(event)

        return observe

    def _report(self, report: SessionReport) -> None:
        self.reports.append(report)
        self.on_report(report)

    def _refused(self, _peer: Peer, error: SecurealignError) -> None:
        self.refusals.append(error)
        self.on_refused(error)


@contextmanager
def policies(
    folder: Path, bundle: Bundle, rows: FloatMatrix, head: LinearHead, suites: Sequence[Suite], **usual: object
) -> Iterator[Callable[..., DurableProvider]]:
    """Yield what starts a provider under rules, or starts it again under other ones at the same port.

    `usual` are rules that hold unless others are given.
    """
    started: list[DurableProvider] = []

    def start(privacy=None, suites=suites, **rules):
        port = 0
        for last in started:
            last.stop()
            port = last.server.port
        policy = PolicySection(**{**usual, **rules})
        provider = DurableProvider(folder, rows, head, list(suites), policy=policy, privacy=privacy)
        provider.address = provider.start(bundle, port)
        started[:] = [provider]
        return provider

    try:
        yield start
    finally:
        for provider in started:
            provider.stop()


class FixedPassphrase:
    """A passphrase that a test knows."""

    def __init__(self, passphrase: bytes = b"correct horse battery") -> None:
        self._passphrase = passphrase

    def read(self, *, new: bool) -> bytes:
        return self._passphrase


#: Enough for a test.
CHEAP = ScryptCost(log2_n=1, r=1, p=1)


def open_cheaply(folder: Path, limits: KeyLimits | None = None) -> State:
    """Open the state of a party without the cost of a real passphrase."""
    keys = KeyStore.open_or_create(folder / "keys.store", FixedPassphrase(), cost=CHEAP)
    sealing = usable_key(keys, Purpose.STORAGE)
    return State(keys, StateFolder(folder, Sealers(sealing, keys.get)), limits or KeyLimits())


def tries(count: int = 20, then: Callable[[], object] = lambda: None) -> RetryPolicy:
    """Return a policy of so many tries that takes no time; `then` is called in place of every wait."""
    waited = 0

    def sleep(_seconds: float) -> None:
        nonlocal waited
        waited += 1
        then()

    return RetryPolicy(seconds=count, first_meeting_seconds=count, clock=lambda: waited, sleep=sleep)


@dataclass
class DurableClient:
    """A client whose work outlives its connections and itself."""

    state: State
    bundle: Bundle
    suites: list[Suite]
    #: Called with every event of every machine.
    on_event: Callable[[Event], object] = lambda event: None
    keep_seconds: float = 1e9
    outputs: tuple[OutputMode, ...] = tuple(OutputMode)

    def align(self, address: str, rows: FloatMatrix, retry: RetryPolicy | None = None, **options: object):
        """Train and return the map, or the product if the provider adds noise."""
        meter = Meter(counted="client")
        problem = ClientProblem(rows, RIDGE)

        work = work_name("align", rows)
        with durable_attempts(self.state, Purpose.TRAINING, work, keep_seconds=self.keep_seconds) as attempts:
            for attempt in attempts:
                with attempt:
                    client = training_client(
                        self.suites,
                        problem.rows,
                        DIGEST,
                        entropy=SystemEntropy(),
                        observer=self._observer(meter),
                        root=attempt.root,
                        **options,
                    )
                    with self._link(address, TRAINING_METHOD, attempt.session(client), meter, retry) as link:
                        product = train(link, client, meter)
        # Under noise there is no squared norm, and the problem is another one.
        return product if client.privacy is not None else problem.solve(product, client.total_squares)

    def classify(
        self, address: str, queries: FloatMatrix, retry: RetryPolicy | None = None, *, slots: int = 4, batch: int = 2
    ) -> FloatMatrix:
        """Return the answers to queries, asked a batch at a time: logits, or labels under such a policy."""
        meter = Meter(counted="client")

        work = work_name("classify", queries)
        with durable_attempts(self.state, Purpose.INFERENCE, work, keep_seconds=self.keep_seconds) as attempts:
            for attempt in attempts:
                with attempt:
                    client = inference_client(
                        self.suites,
                        queries.shape[1],
                        entropy=SystemEntropy(),
                        slots=slots,
                        outputs=self.outputs,
                        observer=self._observer(meter),
                        root=attempt.root,
                    )
                    with self._link(address, INFERENCE_METHOD, attempt.session(client), meter, retry) as link:
                        session = InferenceSession(link, client, meter)
                        rest = range(session.submitted, len(queries), batch)
                        asked = [session.answers(queries[first : first + batch]) for first in rest]
                        session.close()
        return np.vstack([*(answers for _, answers in session.restored), *asked])

    @contextmanager
    def inference(self, address: str, dimension: int, *, head: str) -> Iterator[InferenceSession]:
        """Yield an open session of one attempt on a head, and confirm it in the end."""
        meter = Meter(counted="client")
        work = work_name(head, np.zeros((1, dimension)))
        with (
            durable_attempts(self.state, Purpose.INFERENCE, work, keep_seconds=self.keep_seconds) as attempts,
            next(attempts) as attempt,
        ):
            context = {"entropy": SystemEntropy(), "observer": self._observer(meter), "root": attempt.root}
            client = inference_client(self.suites, dimension, slots=4, head=head, **context)
            with self._link(address, INFERENCE_METHOD, attempt.session(client), meter, None) as link:
                session = InferenceSession(link, client, meter)
                yield session
                session.close()

    def _link(
        self, address: str, method: str, session: ResumableClient, meter: Meter, retry: RetryPolicy | None
    ) -> GrpcLink:
        return GrpcLink(address, self.bundle, method, session, meter, deadline_seconds=600, retry=retry or tries())

    def _observer(self, meter: Meter) -> Observer:
        count = meter.observer("client")

        def observe(event: Event) -> None:
            count(event)
            self.on_event(event)

        return observe


@contextmanager
def two_clients(folder: Path, bundles: Sequence[Bundle], suites: list[Suite]) -> Iterator[list[DurableClient]]:
    """Yield two clients with certificates and folders of their own."""
    names = zip(("one", "two"), bundles, strict=True)
    made = [DurableClient(open_cheaply(folder / name), bundle, suites) for name, bundle in names]
    yield made
    for client in made:
        client.state.close()


def when(number: int, kind: type, act: Callable[[], object], direction: Direction | None = None):
    """Return what acts at the event number `number` of a message, counted from 1, and at no other."""
    seen = 0

    def on_event(event: Event) -> None:
        nonlocal seen
        if event.message is kind and direction in (None, event.direction):
            seen += 1
            if seen == number:
                act()

    return on_event
