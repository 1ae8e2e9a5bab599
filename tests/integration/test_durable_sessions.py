"""Sessions that go on over real connections: cut, taken over, refused, restarted, on a full disk, or given up."""

from __future__ import annotations

import errno
import threading
from contextlib import suppress

import grpc
import numpy as np
import pytest
from support.machines import training_client
from support.peers import (
    DurableProvider,
    clear_weight,
    embeddings,
    open_cheaply,
    random_head,
    three_bundles,
    tries,
    two_clients,
    when,
)
from support.proxy import Proxy
from support.tiers import quick
from support.toy import TOY

from securealign.errors import ErrorCode, RemoteProtocolError, SecurealignError, TransportError
from securealign.he.entropy import SystemEntropy
from securealign.he.lwe.suite import LweSuite
from securealign.limits import ServerSettings
from securealign.pki.certificates import Role
from securealign.protocol.messages import Answer, Confirm, PoolChunk, Query, RowBatch
from securealign.protocol.policy.rank import rank_charge
from securealign.protocol.states import Direction
from securealign.storage.folder import BlobFolder
from securealign.storage.journal import SessionJournal
from securealign.transport import session_manager
from securealign.transport.grpc_client import GrpcLink
from securealign.transport.grpc_server import THREAD_PREFIX, TRAINING_METHOD
from securealign.transport.meter import Meter
from securealign.wire import TrainingCodec

ROWS, DIM_A, DIM_B = 60, 6, 4
#: What a training session is charged.
CHARGE = rank_charge(DIM_B + 1, ROWS)
SUITES = [LweSuite(TOY)]
CANARY = "canary-7f3a"

# A proxy that cuts connections leaves sockets to the garbage collector, in whichever test that runs.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """The bundles of a provider and of two clients of one authority."""
    return three_bundles(tmp_path_factory.mktemp("certificates") / "certs")


@pytest.fixture(autouse=True)
def many_messages(monkeypatch):
    """Cut rows into pieces, so that a short session has many messages."""
    from securealign.protocol.training import client

    monkeypatch.setattr(client, "MAX_CHUNK_BYTES", 300)


@pytest.fixture
def provider(tmp_path, certificates):
    head = random_head(DIM_A, "abc")
    provider = DurableProvider(tmp_path / "provider", embeddings(ROWS, DIM_A, 2), head, list(SUITES))
    provider.address = provider.start(certificates[0])
    yield provider
    provider.stop()


@pytest.fixture
def clients(tmp_path, certificates):
    """Two clients with certificates and folders of their own."""
    with two_clients(tmp_path, certificates[1:], SUITES) as made:
        yield made


@pytest.fixture
def client(clients):
    return clients[0]


@pytest.fixture
def z_b():
    return embeddings(ROWS, DIM_B, 3)


@pytest.fixture
def queries():
    return embeddings(9, DIM_A, 4)


def counting(kind, direction):
    """Return an observer that counts messages of a kind, and the list whose length is their number."""
    seen = []
    return lambda event: event.message is kind and event.direction is direction and seen.append(1), seen


def both(*observers):
    def observe(event):
        for observer in observers:
            observer(event)

    return observe


def assert_clear(provider, z_b, fitted):
    assert np.allclose(fitted.weight, clear_weight(z_b, provider.rows), atol=1e-3)


def assert_answers(provider, queries, logits):
    assert np.allclose(logits, provider.head.logits(queries), atol=0.01)


def outcomes(provider):
    """Return how streams ended: the code of their error, and whether the session waits."""
    return [(None if report.error is None else report.error.code, report.suspended) for report in provider.reports]


@pytest.mark.parametrize("moment", [1, 4, 9])
def test_training_goes_on_over_a_new_connection_and_nothing_is_processed_twice(provider, client, z_b, moment):
    count_sent, sent = counting(RowBatch, Direction.SEND)
    provider.on_event, received = counting(RowBatch, Direction.RECEIVE)
    with Proxy(provider.server.port) as proxy:
        client.on_event = both(count_sent, when(moment, RowBatch, proxy.cut))
        fitted = client.align(proxy.address, z_b)
    assert_clear(provider, z_b, fitted)
    assert len(sent) == len(received) > 4
    assert outcomes(provider) == [(ErrorCode.CONNECTION_LOST, True), (None, False)]
    first, second = provider.reports
    assert first.party.session == second.party.session
    assert second.resumed
    assert not first.resumed
    assert provider.counters("rank") == dict.fromkeys(provider.counters("rank"), CHARGE) != {}


def test_classification_goes_on_over_a_new_connection_and_every_query_is_charged_once(provider, client, queries):
    count_sent, sent = counting(Query, Direction.SEND)
    with Proxy(provider.server.port) as proxy:
        client.on_event = both(
            count_sent,
            when(2, Query, proxy.cut),
            when(3, Answer, proxy.cut),
            when(2, PoolChunk, proxy.cut),
            when(1, Confirm, proxy.cut),
        )
        logits = client.classify(proxy.address, queries)
    assert_answers(provider, queries, logits)
    assert provider.counters("answers")["client/queries"] == len(queries)
    assert len({report.party.session for report in provider.reports}) == 1
    assert len(provider.reports) >= 4
    # Nine queries, two at a time in pools of four.
    assert len(sent) == 5


# However far the provider is when the first cut comes, the rows that are left to send then make up for these bytes.
@pytest.mark.parametrize("after", quick(range(500, 12_000, 1_000), (500, 4_500, 8_500, 11_500)))
def test_a_connection_may_be_cut_at_any_byte_of_its_beginning_and_after_it(provider, client, z_b, after):
    with Proxy(provider.server.port) as proxy:
        client.on_event = when(1, RowBatch, lambda: proxy.cut(after))
        fitted = client.align(proxy.address, z_b)
        assert proxy.cuts == 2
    assert_clear(provider, z_b, fitted)
    assert set(provider.counters("rank").values()) == {CHARGE}


def test_training_goes_on_with_a_provider_that_was_stopped_and_started_at_the_same_port(provider, client, z_b):
    client.on_event = when(4, RowBatch, provider.stop)
    fitted = client.align(provider.address, z_b, tries(then=once(provider.restart)))
    assert_clear(provider, z_b, fitted)
    assert provider.reports[-1].resumed
    assert set(provider.counters("rank").values()) == {CHARGE}


@pytest.mark.thorough
def test_a_server_that_was_stopped_has_left_its_sessions(provider, client, z_b):
    client.on_event = when(4, RowBatch, provider.server.stop)
    with pytest.raises(TransportError):
        client.align(provider.address, z_b, tries(0))
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith(THREAD_PREFIX)] == []
    assert [report.suspended for report in provider.reports] == [True]


def test_classification_goes_on_with_a_provider_that_was_stopped_and_started(provider, client, queries):
    client.on_event = when(3, Query, provider.stop)
    logits = client.classify(provider.address, queries, tries(then=once(provider.restart)))
    assert_answers(provider, queries, logits)
    assert provider.counters("answers")["client/queries"] == len(queries)


def once(act):
    """Return what acts when it is first called, and then no more."""
    done = []

    def first():
        if not done:
            done.append(1)
            act()

    return first


def test_a_client_without_patience_goes_on_when_it_is_started_again(provider, client, z_b):
    client.on_event = when(4, RowBatch, provider.stop)
    with pytest.raises(TransportError):
        client.align(provider.address, z_b, tries(0))
    client.state.close()
    provider.restart()
    client.state = open_cheaply(client.state.keys.path.parent)
    assert_clear(provider, z_b, client.align(provider.address, z_b))
    assert provider.reports[-1].resumed


class RawStream:
    """A stream whose frames a test writes itself."""

    def __init__(self, address, bundle, method=TRAINING_METHOD):
        credentials = grpc.ssl_channel_credentials(bundle.authority, bundle.private_key, bundle.certificate)
        options = (("grpc.ssl_target_name_override", Role.PROVIDER.value), ("grpc.use_local_subchannel_pool", 1))
        self._channel = grpc.secure_channel(address, credentials, options=options)
        self._over = threading.Event()
        self._first = None
        self._method = method

    def open(self, frame):
        """Send the first frame, keep the stream open, and return the first answer or the name of the refusal."""

        def frames():
            yield frame
            self._over.wait(600)

        self.call = self._channel.stream_stream(self._method)(frames(), timeout=600)
        try:
            return next(self.call)
        except grpc.RpcError as error:
            return dict(error.trailing_metadata()).get("securealign-error")

    def end(self):
        """Return the status with which the provider ended the stream."""
        with suppress(grpc.RpcError):
            list(self.call)
        return self.call.code()

    def close(self):
        self._over.set()
        self._channel.close()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()


def begin_and_leave(provider, bundle, greeting):
    """Open a session, drop its stream once it is answered, and wait until the provider has reported that."""
    ended = threading.Event()
    provider.on_report = lambda report: ended.set()
    with RawStream(provider.address, bundle) as stream:
        stream.open(greeting)
    assert ended.wait(600)


@pytest.fixture
def hello(z_b):
    """A machine that has said hello, and its greeting."""
    from securealign.matrices import Rows

    def make(dataset=bytes(range(32))):
        rows = Rows(np.hstack([z_b, np.ones((ROWS, 1))]))
        party = training_client(SUITES, rows, dataset, entropy=SystemEntropy())
        return party, party.start()[0]

    return make


def resume_frame(nonce, received):
    from securealign.protocol.messages import Resume

    return TrainingCodec().encode(Resume(nonce=nonce, received=received))


def decoded(frame):
    assert isinstance(frame, bytes), frame
    return type(TrainingCodec().decode(frame)).__name__


def test_a_second_stream_takes_the_session_over_and_the_first_ends(provider, certificates, hello):
    party, greeting = hello()
    with RawStream(provider.address, certificates[1]) as first, RawStream(provider.address, certificates[1]) as second:
        assert decoded(first.open(greeting)) == "TrainingAccept"
        assert decoded(second.open(resume_frame(party.nonce, 1))) == "Resumed"
        assert first.end() is grpc.StatusCode.CANCELLED
        assert [report.suspended for report in provider.reports] == [True]
    assert set(provider.counters("rank").values()) == {CHARGE}


def test_a_stream_that_does_not_let_go_of_its_session_keeps_it_however_many_come(provider, hello, monkeypatch):
    # Two machines on one session would spend its slots and its noise twice.
    monkeypatch.setattr(session_manager, "_TAKE_OVER_SECONDS", 0.01)
    host, peer, cancelled = (
        provider.hosts[TRAINING_METHOD],
        session_manager.Peer("here", loopback=True, identity="client"),
        [],
    )

    def attach(frame):
        return host.attach(peer, lambda event: None, frame, lambda: cancelled.append(1))

    party, greeting = hello()
    stuck = attach(greeting)
    assert len(list(stuck.open(greeting))) == 1
    for number in range(1, 4):
        with pytest.raises(RemoteProtocolError) as caught:
            attach(resume_frame(party.nonce, 1))
        assert caught.value.code is ErrorCode.SERVER_BUSY
        assert len(cancelled) == number
    stuck.leave(TransportError("lost"))
    assert attach(resume_frame(party.nonce, 1)).resumed


def test_of_streams_that_wait_for_one_session_the_newest_gets_it(provider, hello):
    host, peer = provider.hosts[TRAINING_METHOD], session_manager.Peer("here", loopback=True, identity="client")
    party, greeting = hello()
    waiting = {name: threading.Event() for name in ("holder", "second", "third")}

    settled = threading.Event()

    def cancel(name):
        waiting[name].set()
        if name == "second":
            settled.set()

    def attach(frame, name):
        return host.attach(peer, lambda event: None, frame, lambda: cancel(name))

    held = attach(greeting, "holder")
    list(held.open(greeting))
    ended = {}

    def run(name):
        try:
            ended[name] = attach(resume_frame(party.nonce, 1), name)
        except RemoteProtocolError as error:
            ended[name] = error
        if name == "third":
            settled.set()

    threads = []
    for name in ("second", "third"):
        # Each of them asks the holder to leave before it waits.
        waiting["holder"].clear()
        threads.append(threading.Thread(target=run, args=(name,)))
        threads[-1].start()
        assert waiting["holder"].wait(600)
    held.leave(TransportError("lost"))
    assert settled.wait(600)
    if "third" in ended:
        # The third came first, and the second, which is older, gives up.
        threads[0].join(600)
        assert ended["second"].code is ErrorCode.SERVER_BUSY
    else:
        # The second came first, and is asked to leave at once.
        threads[0].join(600)
        ended["second"].leave(TransportError("lost"))
    threads[1].join(600)
    assert ended["third"].resumed


def test_an_unknown_session_is_not_resumed_unless_nothing_was_received(provider, certificates):
    with RawStream(provider.address, certificates[1]) as stream:
        assert stream.open(resume_frame(bytes(32), 1)) == ErrorCode.SESSION_UNKNOWN.name
    assert not provider.kept()
    with RawStream(provider.address, certificates[1]) as stream:
        assert decoded(stream.open(resume_frame(bytes(32), 0))) == "Resumed"


def test_a_session_of_another_identity_is_unknown_and_its_owner_can_still_go_on(provider, certificates, hello):
    party, greeting = hello()
    with RawStream(provider.address, certificates[1]) as owner:
        assert decoded(owner.open(greeting)) == "TrainingAccept"
        with RawStream(provider.address, certificates[2]) as thief:
            assert thief.open(resume_frame(party.nonce, 1)) == ErrorCode.SESSION_UNKNOWN.name
        with RawStream(provider.address, certificates[2]) as thief:
            # Under its own name, the nonce is free: it gets a session of its own, and not that of the owner.
            assert decoded(thief.open(resume_frame(party.nonce, 0))) == "Resumed"
        assert not provider.reports[:-1]
    # The control: the same frame from the owner finds the session.
    with RawStream(provider.address, certificates[1]) as owner:
        assert decoded(owner.open(resume_frame(party.nonce, 1))) == "Resumed"
    assert [key.rpartition("/")[2] for key, value in provider.counters("rank").items() if value] == ["client"]


def test_a_greeting_with_a_used_nonce_is_refused(provider, certificates, hello):
    _, greeting = hello()
    with RawStream(provider.address, certificates[1]) as stream:
        assert decoded(stream.open(greeting)) == "TrainingAccept"
    with RawStream(provider.address, certificates[1]) as stream:
        assert stream.open(greeting) == ErrorCode.SESSION_UNKNOWN.name
    assert provider.refusals[-1].code is ErrorCode.SESSION_UNKNOWN
    assert set(provider.counters("rank").values()) == {CHARGE}


def test_a_refused_greeting_leaves_nothing_and_charges_nothing(provider, certificates, hello):
    for _ in range(3):
        _, greeting = hello(dataset=bytes(32))
        with RawStream(provider.address, certificates[1]) as stream:
            assert decoded(stream.open(greeting)) == "Abort"
            assert stream.end() is grpc.StatusCode.OK
    assert provider.kept() == []
    assert not any(provider.counters("rank").values())
    # The control: a greeting that is accepted is kept.
    with RawStream(provider.address, certificates[1]) as stream:
        assert decoded(stream.open(hello()[1])) == "TrainingAccept"
        assert provider.kept() == [""]


def test_a_frame_that_opens_nothing_leaves_nothing(provider, certificates):
    from securealign.protocol.messages import Finish

    with RawStream(provider.address, certificates[1]) as stream:
        assert decoded(stream.open(TrainingCodec().encode(Finish()))) == "Abort"
        stream.end()
    assert provider.kept() == []
    assert not any(provider.counters("rank").values())


def test_sessions_that_nobody_comes_back_to_are_given_up_and_refunded(provider, certificates, hello):
    party, greeting = hello()
    host = provider.hosts[TRAINING_METHOD]
    with RawStream(provider.address, certificates[1]) as stream:
        assert decoded(stream.open(greeting)) == "TrainingAccept"
        provider.now += provider.keep_seconds + 1
        assert host.expire() == 0, "a stream carries it"
        ended = threading.Event()
        provider.on_report = lambda report: ended.set()
    assert ended.wait(600)
    assert host.expire() == 0, "it was recorded a moment ago"
    assert set(provider.counters("rank").values()) == {CHARGE}
    provider.now += provider.keep_seconds + 1
    assert host.expire() == 1
    assert provider.kept() == []
    assert set(provider.counters("rank").values()) == {0}
    assert provider.ledgers["rank"].values == provider.counters("rank")
    assert host.expire() == 0
    with RawStream(provider.address, certificates[1]) as stream:
        assert stream.open(resume_frame(party.nonce, 1)) == ErrorCode.SESSION_UNKNOWN.name


def test_sessions_that_had_ended_are_deleted_without_being_counted_as_given_up(provider, client, z_b):
    client.align(provider.address, z_b)
    provider.now += provider.keep_seconds + 1
    assert provider.hosts[TRAINING_METHOD].expire() == 0
    assert provider.kept() == []
    assert set(provider.counters("rank").values()) == {CHARGE}


@pytest.mark.parametrize("change", ["suite", "damage"])
def test_a_session_whose_record_cannot_be_used_is_given_up_all_the_same(provider, certificates, hello, change):
    _, greeting = hello()
    begin_and_leave(provider, certificates[1], greeting)
    if change == "suite":
        provider.suites.clear()
    else:
        with provider.state.database.transaction() as connection:
            connection.execute("UPDATE session SET fields = zeroblob(40)")
    provider.now += provider.keep_seconds + 1
    assert provider.hosts[TRAINING_METHOD].expire() == 1
    assert provider.kept() == []
    # What cannot be read cannot be refunded.
    assert set(provider.counters("rank").values()) == {CHARGE}


def test_a_session_sealed_under_a_destroyed_key_is_deleted(provider, certificates, hello):
    party, greeting = hello()
    begin_and_leave(provider, certificates[1], greeting)
    with provider.state.database.transaction() as connection:
        connection.execute("UPDATE session SET sealed_by = 'gone'")
    with RawStream(provider.address, certificates[1]) as stream:
        assert stream.open(resume_frame(party.nonce, 1)) == ErrorCode.SESSION_UNKNOWN.name
    provider.now += provider.keep_seconds + 1
    provider.hosts[TRAINING_METHOD].expire()
    assert provider.kept() == []


@pytest.mark.parametrize("space", [bytes(16), b"another space..."], ids=["the same space", "another space"])
def test_a_session_begun_in_another_space_is_unknown(provider, certificates, hello, space):
    """Half of a product in each of two coordinate systems would be a map into neither."""
    party, greeting = hello()
    with RawStream(provider.address, certificates[1]) as stream:
        assert decoded(stream.open(greeting)) == "TrainingAccept"
    provider.space = space
    provider.stop()
    provider.restart()
    with RawStream(provider.address, certificates[1]) as stream:
        answer = stream.open(resume_frame(party.nonce, 1))
    if space == bytes(16):
        assert decoded(answer) == "Resumed"
    else:
        assert answer == ErrorCode.SESSION_UNKNOWN.name


def test_a_session_under_a_suite_that_is_no_longer_offered_is_unknown(provider, certificates, hello):
    party, greeting = hello()
    with RawStream(provider.address, certificates[1]) as stream:
        stream.open(greeting)
    provider.suites.clear()
    with RawStream(provider.address, certificates[1]) as stream:
        assert stream.open(resume_frame(party.nonce, 1)) == ErrorCode.SESSION_UNKNOWN.name


FULL = OSError(errno.ENOSPC, "No space left on device")


def failing(monkeypatch, owner, name, numbers, error=FULL, *, concerns=lambda called: True):
    """Have calls of a method fail, by their number from 1, among those on the objects that `concerns` picks."""
    original, calls = getattr(owner, name), []

    def call(self, *arguments, **named):
        if concerns(self):
            calls.append(name)
            if len(calls) in numbers:
                raise error
        return original(self, *arguments, **named)

    monkeypatch.setattr(owner, name, call)
    return calls


def provider_only(monkeypatch, provider, name, numbers, error=FULL):
    """Have calls of the provider's journals fail, and not those of the client."""
    return failing(
        monkeypatch, SessionJournal, name, numbers, error, concerns=lambda journal: journal._folder is provider.state
    )


@pytest.mark.parametrize("number", range(1, 8))
def test_a_disk_that_is_full_for_a_moment_does_not_end_a_classification(provider, client, queries, monkeypatch, number):
    calls = provider_only(monkeypatch, provider, "record", {number})
    logits = client.classify(provider.address, queries)
    assert len(calls) > 8
    assert_answers(provider, queries, logits)
    # What was charged and not recorded is taken back: nothing of it was sent.
    assert provider.counters("answers")["client/queries"] == len(queries)
    assert provider.ledgers["answers"].values == provider.counters("answers")
    assert any("cannot be recorded" in error.message for error in provider.refusals)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_disk_that_is_full_for_a_moment_does_not_end_a_training(provider, client, z_b, monkeypatch, number):
    provider_only(monkeypatch, provider, "record", {number})
    assert_clear(provider, z_b, client.align(provider.address, z_b))
    assert set(provider.counters("rank").values()) == {CHARGE}
    assert provider.ledgers["rank"].values == provider.counters("rank")


def test_a_blob_that_cannot_be_written_does_not_end_a_training(provider, client, z_b, monkeypatch):
    from securealign.storage import folder

    monkeypatch.setattr(folder, "_INLINE_BYTES", 1)
    failing(monkeypatch, BlobFolder, "write", {8})
    patience = tries()
    try:
        fitted = client.align(provider.address, z_b, patience)
    except OSError:  # it was the client's own disk; nothing is lost
        fitted = client.align(provider.address, z_b, patience)
    assert_clear(provider, z_b, fitted)


def test_a_disk_that_stays_full_ends_the_clients_patience_and_not_the_session(provider, client, queries, monkeypatch):
    with monkeypatch.context() as full:
        provider_only(full, provider, "record", set(range(4, 1000)))
        with pytest.raises(TransportError) as caught:
            client.classify(provider.address, queries, tries(5))
    assert caught.value.code is ErrorCode.CONNECTION_LOST
    assert all(report.suspended for report in provider.reports)
    assert_answers(provider, queries, client.classify(provider.address, queries))
    assert provider.counters("answers")["client/queries"] == len(queries)


def test_what_is_charged_and_not_recorded_is_not_known_after_a_crash(provider, client, queries, monkeypatch):
    def crash(self, *arguments):
        if self._folder is provider.state and self._counters[1]._changes:
            raise FULL
        return original(self, *arguments)

    original = SessionJournal.record
    with monkeypatch.context() as crashing:
        crashing.setattr(SessionJournal, "record", crash)
        with pytest.raises(TransportError):
            client.classify(provider.address, queries, tries(0))
    provider.stop()
    provider.restart()
    assert not any(provider.counters("answers").values())
    assert_answers(provider, queries, client.classify(provider.address, queries))
    assert provider.counters("answers")["client/queries"] == len(queries)


class Fault(Exception):
    """Something that nobody expected."""


def raising(*_arguments):
    raise Fault(CANARY)


@pytest.mark.parametrize("where", ["attach", "opened", "report", "machine", "refused"])
def test_a_fault_of_the_provider_reaches_the_client_without_its_words(provider, client, z_b, monkeypatch, where):
    if where == "attach":
        monkeypatch.setattr(session_manager.DurableSessionManager, "attach", raising)
    elif where == "opened":
        provider.on_opened = raising
    elif where == "report":
        provider.on_report = raising
    elif where == "refused":
        monkeypatch.setattr(session_manager.DurableSessionManager, "attach", raising)
        provider.on_refused = raising
    else:
        provider.on_event = when(2, RowBatch, raising)
    seen = told(client, provider.address, z_b)
    assert CANARY not in seen
    if where == "report":
        return  # the session was over before
    assert ErrorCode.INTERNAL.sentence in seen


def told(client, address, z_b):
    """Return all that a client is told about a failure, to the last cause."""
    try:
        client.align(address, z_b, tries(0))
    except SecurealignError as error:
        chain, cause = [str(error), repr(error)], error.__cause__
        while cause is not None:
            chain += [str(cause), repr(cause), str(getattr(cause, "debug_error_string", lambda: "")())]
            chain += [str(getattr(cause, "trailing_metadata", lambda: "")())]
            cause = cause.__cause__
        return "\n".join(chain)
    return ""


def test_a_provider_serves_on_after_faults(provider, client, z_b, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(session_manager.DurableSessionManager, "attach", raising)
        told(client, provider.address, z_b)
    assert_clear(provider, z_b, client.align(provider.address, z_b))


def test_a_provider_that_refuses_does_not_end_the_streams_of_others(provider, clients, z_b):
    one, two = clients
    assert_clear(provider, z_b, one.align(provider.address, z_b))
    assert_clear(provider, z_b, two.align(provider.address, z_b))
    names = {name.rpartition("/")[2] for name in provider.counters("rank")}
    assert names == {"client", "other"}


@pytest.mark.thorough
def test_a_stream_that_is_cut_off_by_a_deadline_leaves_a_session_that_goes_on(provider, client, queries, certificates):
    provider.stop()
    provider.settings = ServerSettings(session_seconds=2)
    provider.restart()
    hold = threading.Event()
    provider.on_report = lambda report: hold.set()
    client.on_event = when(2, Query, lambda: hold.wait(600))

    def lift():
        provider.settings = None
        provider.stop()
        provider.restart()

    logits = client.classify(provider.address, queries, tries(then=once(lift)))
    assert_answers(provider, queries, logits)
    assert provider.reports[0].error.code is ErrorCode.DEADLINE_EXCEEDED
    assert provider.reports[0].suspended


def test_a_stream_without_a_frame_is_no_session(provider, certificates):
    credentials = grpc.ssl_channel_credentials(
        certificates[1].authority, certificates[1].private_key, certificates[1].certificate
    )
    options = (("grpc.ssl_target_name_override", Role.PROVIDER.value),)
    with grpc.secure_channel(provider.address, credentials, options=options) as channel:
        assert list(channel.stream_stream(TRAINING_METHOD)(iter([]), timeout=600)) == []
    assert not provider.reports
    assert not provider.kept()


def test_the_deadline_of_the_client_covers_all_its_connections(provider, client, z_b, monkeypatch):
    party_event = when(2, RowBatch, lambda: (expire(), provider.server.stop(0)))
    links = []
    original = GrpcLink.__init__

    def remember(self, *arguments, **named):
        original(self, *arguments, **named)
        links.append(self)

    def expire():
        links[0]._end = 0.0

    monkeypatch.setattr(GrpcLink, "__init__", remember)
    client.on_event = party_event
    with pytest.raises(TransportError) as caught:
        client.align(provider.address, z_b)
    assert caught.value.code is ErrorCode.DEADLINE_EXCEEDED


def test_a_bare_machine_does_not_go_on_over_another_connection(provider, certificates, hello):
    party, greeting = hello()
    with Proxy(provider.server.port) as proxy:
        link = GrpcLink(
            proxy.address, certificates[1], TRAINING_METHOD, party, Meter(counted="client"), deadline_seconds=600
        )
        with link, pytest.raises(TransportError) as caught:
            link.drive([greeting], lambda: party.received and (proxy.cut() or False))
    assert caught.value.code is ErrorCode.CONNECTION_LOST
